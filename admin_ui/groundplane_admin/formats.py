"""Times, numbers and sizes as people read them (in the viewer's zone, in groups, with units)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from groundplane.clock import now

DAY = timedelta(days=1)
SIZES = ("B", "kB", "MB", "GB", "TB")


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo | None:
    """The zone of this name; None for one that nobody knows."""
    if (
        not name
        or len(name) > 64
        or not name.replace("/", "").replace("_", "").replace("-", "").replace("+", "").isalnum()
    ):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def moment_in(moment: datetime, zone: str, *, seconds: bool = False, millis: bool = False) -> str:
    """`2026-11-22 14:02` in a zone ("" is UTC)."""
    local = moment.astimezone(zone_of(zone) or UTC)
    if millis:
        return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}"
    return f"{local:%Y-%m-%d %H:%M:%S}" if seconds else f"{local:%Y-%m-%d %H:%M}"


def ago(moment: datetime) -> str:
    """`2 min ago`, up to a day; "" for what is longer ago, or to come."""
    passed = now() - moment
    if passed < timedelta(0) or passed > DAY:
        return ""
    if passed < timedelta(minutes=1):
        return f"{int(passed.total_seconds())} s ago"
    if passed < timedelta(hours=1):
        return f"{int(passed.total_seconds() // 60)} min ago"
    return f"{int(passed.total_seconds() // 3600)} h ago"


def number(value: float) -> str:
    """`12,400`; whole numbers without a point, others with all their digits."""
    if isinstance(value, float) and not value.is_integer():
        whole, point, rest = repr(value).partition(".")
        return f"{int(whole):,}{point}{rest}" if "e" not in rest and whole not in ("-0",) else repr(value)
    return f"{int(value):,}"


def about(value: int) -> str:
    """An estimate in three digits at most: `12,400`, `1.0 M`."""
    if value >= 999_500_000:
        return f"{value / 1e9:.1f} G"
    if value >= 999_500:
        return f"{value / 1e6:.1f} M"
    if value >= 1000:
        digits = len(str(value)) - 3
        return f"{round(value, -digits):,}"
    return str(value)


def size(count: float) -> str:
    """`212 kB`: bytes in steps of a thousand."""
    value = float(count)
    for unit in SIZES:
        if value < 1000 or unit == SIZES[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def duration(milliseconds: float) -> str:
    """`3.1 ms`, `1.2 s`, `4 min`."""
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
