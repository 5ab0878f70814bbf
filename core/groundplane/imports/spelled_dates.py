"""Dates as people and spreadsheets write them, beyond the forms that the API accepts."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from groundplane.schema.dates import MONTHS, to_date

LONGEST = 40  # characters
CLOCK = r"(?:[ T,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?)?"
MONTH = r"(?P<month_name>[A-Za-z]{3,9})\.?"
FORMS = tuple(
    re.compile(form + CLOCK)
    for form in (
        # Jun 12 1998, June 12, 1998
        rf"{MONTH}[ -](?P<day>\d{{1,2}}),?[ -](?P<year>\d{{4}}|\d{{2}})",
        # 12-Jun-98, 12 June 1998
        rf"(?P<day>\d{{1,2}})[ -]{MONTH}[ ,-]+(?P<year>\d{{4}}|\d{{2}})",
        # 1998/6/12, 1998-06-12 10:30
        r"(?P<year>\d{4})[/.-](?P<month>\d{1,2})[/.-](?P<day>\d{1,2})",
        # 12.6.1998
        r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
    )
)
# Which of the two comes first is for the whole column to say.
SLASHED = re.compile(r"(?P<one>\d{1,2})/(?P<two>\d{1,2})/(?P<year>\d{4})" + CLOCK)
FULL_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "sept",
    "october",
    "november",
    "december",
)
MONTH_NUMBERS = {name: MONTHS[name[:3]] for name in FULL_MONTHS} | MONTHS
# Two digits mean 1969 to 2068, as in POSIX.
PIVOT = 69


def read_date(text: str, order: str = "") -> datetime | None:
    """Read a date; None when it is none. `order` is "dm" or "md" for forms such as 6/12/1998."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        return None
    known = to_date(text)
    if known is not None:
        return known
    for form in FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return _moment(match, match.groupdict())
    match = SLASHED.fullmatch(text)
    if match is None or not order:
        return None
    day, month = (match["one"], match["two"]) if order == "dm" else (match["two"], match["one"])
    return _moment(match, match.groupdict() | {"day": day, "month": month})


def slashed(text: str) -> tuple[int, int] | None:
    """The two first numbers of a date such as 6/12/1998; None for anything else."""
    match = SLASHED.fullmatch(text.strip()) if len(text) <= LONGEST else None
    return (int(match["one"]), int(match["two"])) if match is not None else None


def _moment(match: re.Match[str], parts: dict[str, str | None]) -> datetime | None:
    name = parts.get("month_name")
    month = MONTH_NUMBERS.get(name.lower()) if name else int(parts.get("month") or 0)
    if not month:
        return None
    year_text = parts["year"] or ""
    year = int(year_text)
    if len(year_text) == 2:
        year += 1900 if year >= PIVOT else 2000
    hour, minute, second = (int(parts.get(key) or 0) for key in ("hour", "minute", "second"))
    try:
        return datetime(year, month, int(parts["day"] or 0), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
