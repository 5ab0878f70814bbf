"""The current time, and dates as they look on the wire."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current UTC time, cut (not rounded) to milliseconds like every stored date."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def wire_date(moment: datetime | None) -> str:
    """Render an aware UTC datetime as `2030-01-02 03:04:05.678Z`; None, an unset date, is the empty string."""
    if moment is None:
        return ""
    text = moment.isoformat(" ", "milliseconds")
    return text[:-6] + "Z"
