"""The current time, the one place that all of the server asks for it, and dates as they look on the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

_read: Callable[[], float] | None = None  # what tests have put in place of the computer's clock


def unix_time() -> float:
    """Return the seconds since 1970."""
    return time.time() if _read is None else _read()


def now() -> datetime:
    """Return the current UTC time, cut (not rounded) to milliseconds like every stored date."""
    moment = datetime.now(UTC) if _read is None else datetime.fromtimestamp(_read(), UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def set_time() -> datetime | None:
    """The time when somebody has set it; None while it is the real one.

    For statements that take the database's time otherwise, the same for all processes.
    """
    return None if _read is None else now()


def replace_clock(read: Callable[[], float] | None) -> None:
    """Have this process take the seconds since 1970 from `read`, in tests; None is the computer's clock again.

    What only measures (timeouts, leases of workers, deadlines) goes on in real time.
    """
    global _read
    _read = read


def wire_date(moment: datetime | None) -> str:
    """Render an aware UTC datetime as `2030-01-02 03:04:05.678Z`; None, an unset date, is the empty string."""
    if moment is None:
        return ""
    text = moment.isoformat(" ", "milliseconds")
    return text[:-6] + "Z"
