"""Time that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from groundplane.clock import now, replace_clock


class FrozenClock:
    """The clock of the server in this process: dates of records, lifetimes of tokens, jobs that wait, cron.

    It shows one moment until it is moved. What only measures, as the deadlines of hooks, goes on in real time.
    """

    def __init__(self) -> None:
        self._at = now()
        replace_clock(self._read)

    def _read(self) -> float:
        return self._at.timestamp()

    def now(self) -> datetime:
        """The moment that the server takes for the present, in UTC."""
        return self._at

    def travel(
        self, *, weeks: float = 0, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> datetime:
        """Move on, or back with negative numbers; returns the new present."""
        step = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self.travel_to(self._at + step)

    def travel_to(self, moment: datetime | str) -> datetime:
        """Go to a moment: an aware datetime, or a text like `2030-01-31 12:00` that is taken for UTC."""
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        if moment.tzinfo is None:
            raise ValueError("a moment without a time zone may be any of twenty-four: give it one")
        moment = moment.astimezone(UTC)
        # Stored dates have milliseconds; the clock shows what they will hold.
        self._at = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        return self._at


@pytest.fixture
def clock() -> Iterator[FrozenClock]:
    """The server's clock, frozen at the present; `clock.travel(days=1)` moves it."""
    try:
        yield FrozenClock()
    finally:
        replace_clock(None)
