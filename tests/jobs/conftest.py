"""A queue on a database of its own, with a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from groundplane.db.engine import Database
from groundplane.jobs.job import Job
from groundplane.jobs.queue import Jobs


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime(2030, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def move(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class Seen:
    """A handler that remembers what it got; `raises` are raised by the next runs, None meaning success."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.raises: list[Exception | None] = []

    async def __call__(self, job: Job) -> None:
        self.jobs.append(job)
        if self.raises and (error := self.raises.pop(0)) is not None:
            raise error

    @property
    def ids(self) -> list[str]:
        return [job.id for job in self.jobs]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def jobs(db: Database, clock: Clock) -> Jobs:
    """A queue with the clock of the test."""
    return Jobs(db, clock=clock)


@pytest.fixture
async def other_db(database_url: str) -> AsyncIterator[Database]:
    """A second process's connections to the same database."""
    database = await Database.connect(database_url, max_size=8)
    yield database
    await database.close()
