"""The date macros: `@now`, `@todayStart` and the rest (contract, filters §4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from groundplane.clock import wire_date


def day_start(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def day_end(moment: datetime) -> datetime:
    return moment.replace(hour=23, minute=59, second=59, microsecond=999_000)


def month_end(moment: datetime) -> datetime:
    # The 28th plus four days is in the next month, whatever the month.
    following = moment.replace(day=28) + timedelta(days=4)
    return day_end(following - timedelta(days=following.day))


MACROS: dict[str, Callable[[datetime], datetime | int]] = {
    "@day": lambda now: now.day,
    "@hour": lambda now: now.hour,
    "@minute": lambda now: now.minute,
    "@month": lambda now: now.month,
    "@monthEnd": month_end,
    "@monthStart": lambda now: day_start(now.replace(day=1)),
    "@now": lambda now: now,
    "@second": lambda now: now.second,
    "@todayEnd": day_end,
    "@todayStart": day_start,
    "@tomorrow": lambda now: now + timedelta(days=1),
    "@weekday": lambda now: now.isoweekday() % 7,
    "@year": lambda now: now.year,
    "@yearEnd": lambda now: day_end(now.replace(month=12, day=31)),
    "@yearStart": lambda now: day_start(now.replace(month=1, day=1)),
    "@yesterday": lambda now: now - timedelta(days=1),
}


def macro(name: str, now: datetime) -> str | int | None:
    """Return the macro's value at `now` (UTC): a date as wire text, a number, or None if unknown."""
    make = MACROS.get(name)
    if make is None:
        return None
    value = make(now)
    return wire_date(value) if isinstance(value, datetime) else value
