"""Jobs by the clock: cron expressions, the list of cron jobs, and who of many processes fires a tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.errors import NotFound
from groundplane.jobs.job import Job
from groundplane.jobs.queue import QUERIES, Jobs
from groundplane.settings.formats import CRON_FIELDS, cron_error

log = logging.getLogger(__name__)

MACROS = {
    "@annually": "0 0 1 1 *",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@midnight": "0 0 * * *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@yearly": "0 0 1 1 *",
}
UNKNOWN_CRON = "Missing or invalid cron job."
KIND_PREFIX = "cron:"
SLOTS_KEPT = timedelta(days=2)  # longer than clocks of nodes may differ
RETRY_S = 2.0
BUILT_IN = "__"  # ids of built-in jobs begin so

Act: TypeAlias = Callable[[], Awaitable[None]]
Present: TypeAlias = Callable[[], Awaitable[bool]]


class Schedule(NamedTuple):
    """The values that each field of an expression allows; a minute matches when all five do (in UTC)."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday

    def matches(self, moment: datetime) -> bool:
        moment = moment.astimezone(UTC)
        return (
            moment.minute in self.minutes
            and moment.hour in self.hours
            and moment.day in self.days
            and moment.month in self.months
            and moment.isoweekday() % 7 in self.weekdays
        )


def parse(expression: str) -> Schedule:
    """Read five fields or a macro, as PocketBase 0.39 has them; raises ValueError with a sentence.

    Unlike in cron, day and weekday must both match.
    """
    if (wrong := cron_error(expression)) is not None:
        raise ValueError(wrong)
    fields = MACROS.get(expression, expression).split(" ")
    return Schedule(
        *(
            frozenset(value for part in text.split(",") for value in values(part, low, high))
            for text, (_, low, high) in zip(fields, CRON_FIELDS, strict=True)
        )
    )


def values(part: str, low: int, high: int) -> range:
    """Return the values of `*`, `n`, `a-b`, `*/step` or `a-b/step`, which `cron_error` has accepted."""
    span, _, step = part.partition("/")
    first, _, last = span.partition("-")
    if first == "*":
        return range(low, high + 1, int(step or 1))
    return range(int(first), int(last or first) + 1, int(step or 1))


class Cron(NamedTuple):
    """A job by the clock; `expression` may depend on settings, and "" then means that there is none now."""

    id: str
    expression: Callable[[], str]
    present: Present | None


class Listed(NamedTuple):
    id: str
    expression: str  # macros as the fields they stand for


class Crons:
    """The cron jobs of this server. Each tick becomes a job of the kind `cron:<id>`, in one process only."""

    def __init__(self, db: Database, jobs: Jobs) -> None:
        self._db = db
        self._jobs = jobs
        self._crons: dict[str, Cron] = {}

    def add(
        self,
        id: str,
        expression: str | Callable[[], str],
        act: Act,
        *,
        timeout_s: float = 600.0,
        max_attempts: int = 3,
        present: Present | None = None,
    ) -> None:
        """Run `act` whenever `expression` (UTC) matches the minute; raises ValueError.

        What was missed while no worker ran is not made up for; runs may overlap. A run that fails is tried
        again like every job. `present` says whether the job exists now.
        """
        if isinstance(expression, str):
            parse(expression)

        async def handler(_: Job) -> None:
            await act()

        self._jobs.register(KIND_PREFIX + id, handler, timeout_s=timeout_s, max_attempts=max_attempts)
        text = expression
        self._crons[id] = Cron(id, (lambda: text) if isinstance(text, str) else text, present)

    async def all(self) -> list[Listed]:
        """Return what exists now: jobs of the application by id, then built-in ones."""
        found = []
        for cron in sorted(self._crons.values(), key=lambda cron: (cron.id.startswith(BUILT_IN), cron.id)):
            expression = cron.expression()
            if expression and (cron.present is None or await cron.present()):
                found.append(Listed(cron.id, MACROS.get(expression, expression)))
        return found

    async def run(self, id: str) -> str:
        """Run a job in the background now; return the id of the queued job. Raises NotFound."""
        if id not in {each.id for each in await self.all()}:
            raise NotFound(UNKNOWN_CRON)
        return await self._jobs.add(KIND_PREFIX + id, priority=1)

    async def fire(self, moment: datetime) -> list[str]:
        """Queue what matches the minute of `moment`, unless another process has; return the ids that fired here."""
        slot = moment.astimezone(UTC).replace(second=0, microsecond=0)
        fired = []
        for id, expression in await self.all():
            try:
                due = parse(expression).matches(slot)
            except ValueError as error:
                log.warning("The cron job %s has no valid expression: %s", id, error)
                continue
            if due and await self._fire_one(id, slot):
                fired.append(id)
        return fired

    async def _fire_one(self, id: str, slot: datetime) -> bool:
        # The slot and its job are there together or not at all; a second process waits for the first here.
        async with self._db.transaction():
            if await self._db.fetchval(QUERIES["take_slot"], id, slot) is None:
                return False
            job = await self._jobs.add(KIND_PREFIX + id, {"slot": slot.isoformat()})
            await self._db.execute(QUERIES["fill_slot"], id, slot, job)
        return True

    async def forget_old_slots(self) -> None:
        await self._db.execute(QUERIES["forget_slots"], now() - SLOTS_KEPT)


class Scheduler:
    """Fires the cron jobs minute by minute; runs in every job worker, and each tick is fired once."""

    def __init__(
        self, crons: Crons, *, clock: Callable[[], datetime] = now, longest_wait_s: float = 60.0
    ) -> None:
        self._crons = crons
        self._clock = clock
        self._longest_wait_s = longest_wait_s

    async def run(self) -> None:
        """Fire until cancelled, beginning with the minute that is now: a quick restart misses nothing."""
        done: datetime | None = None
        while True:
            moment = self._clock()
            slot = moment.replace(second=0, microsecond=0)
            wait_s = (slot + timedelta(minutes=1) - moment).total_seconds()
            if slot != done:
                try:
                    await self._crons.fire(slot)
                    done = slot
                except Exception as error:  # noqa: BLE001  # only trying again helps
                    # The database is away, most likely; within the minute it may be back.
                    log.warning("Cron jobs cannot be fired: %s: %s", type(error).__name__, error)
                    wait_s = min(wait_s, RETRY_S)
            await asyncio.sleep(min(max(wait_s, 0.001), self._longest_wait_s))
