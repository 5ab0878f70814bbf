"""Dates as clients write them, read by the list of forms of the contract (collections §5.6)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

LONGEST = 100  # characters; no accepted form comes near

# One that could not be told from "unset" on the wire, so it counts as unset.
ZERO = datetime(1, 1, 1, tzinfo=UTC)

MONTHS = {
    "jan": 1,
    "feb": 2,
    "mar": 3,
    "apr": 4,
    "may": 5,
    "jun": 6,
    "jul": 7,
    "aug": 8,
    "sep": 9,
    "oct": 10,
    "nov": 11,
    "dec": 12,
}
LONG_DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
SHORT_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"

DAY = r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?"
# Forms made of digits: with T any of three zones, with a blank also a zone after a further blank. A zone's
# name has no meaning beside its offset.
NUMERIC = re.compile(
    rf"{DAY}(?:"
    rf"T{TIME}(?P<zone_t>Z|[+-][0-9]{{2}}:?[0-9]{{2}})?"
    r"| (?P<hour_b>[0-9]{2}):(?P<minute_b>[0-9]{2}):(?P<second_b>[0-9]{2})(?:[.,](?P<fraction_b>[0-9]+))?"
    r"(?P<zone_b>Z|[+-][0-9]{2}:?[0-9]{2}| [+-][0-9]{2}:?[0-9]{2}|"
    r" [+-][0-9]{4} (?:[A-Z]{3,5}|[+-][0-9]{2}))?"
    r")?"
)

MONTH_NAME = r"(?P<month_name>[A-Za-z]{3})"
ZONE_NAME = r"(?P<zone_name>[A-Z]{3,5}|[+-][0-9]{2}|GMT[+-][0-9]{1,2})"
OFFSET = r"(?P<zone>[+-][0-9]{4})"
SHORT_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
FREE_DAY = r"(?P<day>[0-9]{1,2})"
PADDED_DAY = r"(?P<day> ?[0-9]{1,2})"

NAMED = tuple(
    re.compile(form, re.IGNORECASE if form.startswith("(?i:") else 0)
    for form in (
        # RFC 1123 with a zone name or an offset
        rf"(?i:{SHORT_DAYS}), {FREE_DAY} {MONTH_NAME} (?P<year>[0-9]{{4}}) {TIME} (?:{OFFSET}|{ZONE_NAME})",
        # RFC 822 likewise
        rf"{FREE_DAY} {MONTH_NAME} (?P<short_year>[0-9]{{2}}) {SHORT_TIME} (?:{OFFSET}|{ZONE_NAME})",
        # RFC 850
        rf"(?i:{LONG_DAYS}), {FREE_DAY}-{MONTH_NAME}-(?P<short_year>[0-9]{{2}}) {TIME} {ZONE_NAME}",
        # ANSI C, Unix and Ruby
        rf"(?i:{SHORT_DAYS}) {MONTH_NAME} {PADDED_DAY} {TIME} (?P<year>[0-9]{{4}})",
        rf"(?i:{SHORT_DAYS}) {MONTH_NAME} {PADDED_DAY} {TIME} {ZONE_NAME} (?P<year>[0-9]{{4}})",
        rf"(?i:{SHORT_DAYS}) {MONTH_NAME} {FREE_DAY} {TIME} {OFFSET} (?P<year>[0-9]{{4}})",
        # DD Mon YYYY
        rf"{FREE_DAY} {MONTH_NAME} (?P<year>[0-9]{{4}})",
    )
)


def to_date(raw: Any) -> datetime | None:
    """Cast any input to an aware UTC datetime cut to milliseconds; None for whatever is no date text."""
    if isinstance(raw, str):
        return parse_date(raw)
    if isinstance(raw, datetime):
        return cut(raw if raw.tzinfo is not None else raw.replace(tzinfo=UTC))
    return None


def parse_date(text: str) -> datetime | None:
    """Read a date text; None when it has none of the accepted forms, or year 0, or is the zero date."""
    if len(text) > LONGEST or not text.isascii():
        return None
    if (
        len(text) == 24
        and text[23] == "Z"
        and text[10] == " "
        and text[19] == "."
        and text[4] == text[7] == "-"
    ):
        # The form of our own answers, by far the most frequent one.
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return None if moment == ZERO else moment
    match = NUMERIC.fullmatch(text)
    if match is not None:
        part = match.groupdict()
        second = "second_b" if part["second_b"] is not None else "second"
        suffix = "_b" if second == "second_b" else ""
        zone = part["zone_b"] if suffix else part["zone_t"]
        return instant(
            int(part["year"]),
            int(part["month"]),
            int(part["day"]),
            int(part["hour" + suffix] or 0),
            int(part["minute" + suffix] or 0),
            int(part[second] or 0),
            part["fraction" + suffix],
            zone.strip()[:6] if zone else None,
        )
    if not text[:1].isalnum():
        return None
    for form in NAMED:
        match = form.fullmatch(text)
        if match is not None:
            return named(match.groupdict())
    return None


def named(part: dict[str, str | None]) -> datetime | None:
    month = MONTHS.get((part["month_name"] or "").lower())
    if month is None:
        return None
    if part.get("short_year") is not None:
        # Two digits mean 1969 to 2068.
        year = int(part["short_year"] or 0)
        year += 1900 if year >= 69 else 2000
    else:
        year = int(part["year"] or 0)
    return instant(
        year,
        month,
        int((part["day"] or "").strip()),
        int(part.get("hour") or 0),
        int(part.get("minute") or 0),
        int(part.get("second") or 0),
        part.get("fraction"),
        part.get("zone") or zone_of_name(part.get("zone_name")),
    )


def zone_of_name(name: str | None) -> str | None:
    """Return the offset in a zone name; names without one mean UTC, since they say nothing certain."""
    if name is None:
        return None
    if name.startswith("GMT") and len(name) > 3:
        return f"{name[3]}{int(name[4:]):02d}00"
    return None


def instant(
    year: int,
    month: int,
    day: int,
    hour: int,
    minute: int,
    second: int,
    fraction: str | None,
    zone: str | None,
) -> datetime | None:
    """Put the parts together; None when they name no moment between the years 1 and 9999."""
    try:
        microsecond = int(f"{fraction:0<3}"[:3]) * 1000 if fraction else 0
        moment = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
        if zone is not None and zone != "Z":
            digits = zone[1:].replace(":", "")[:4]
            hours, minutes = int(digits[:2]), int(digits[2:])
            if hours > 24 or minutes > 59:
                return None
            offset = timedelta(hours=hours, minutes=minutes)
            moment = moment + offset if zone[0] == "-" else moment - offset
    except (ValueError, OverflowError):
        return None
    return None if moment == ZERO else moment


def cut(moment: datetime) -> datetime | None:
    """Return the aware datetime in UTC without what is below a millisecond; None for the zero date."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        return None
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return None if moment == ZERO else moment


def fraction_of(moment: datetime) -> str:
    return f".{moment.microsecond:06d}".rstrip("0").rstrip(".")


def rfc3339(moment: datetime) -> str:
    """Render as `2030-01-02T00:00:00Z`, for the parameters of messages."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}".zfill(19) + fraction_of(moment) + "Z"


def shown_date(moment: datetime) -> str:
    """Render as `2030-01-02 00:00:00 +0000 UTC`, for the text of messages."""
    return f"{moment:%Y-%m-%d %H:%M:%S}".zfill(19) + fraction_of(moment) + " +0000 UTC"
