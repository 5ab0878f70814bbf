"""Conditional and range requests over a file of known size and date (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import NamedTuple

MAX_RANGES = 100
MAX_OVERLAPS = 2
NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)


class Part(NamedTuple):
    """`length` bytes from `start`."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


class Unreadable(Exception):
    """The Range header makes no sense."""


class Unsatisfiable(Exception):
    """No range of the header touches the file."""


def http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def read_date(text: str) -> datetime | None:
    """Read an HTTP date; None for anything else."""
    try:
        moment = parsedate_to_datetime(text.strip())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def precondition(headers: Mapping[str, str], modified: datetime) -> int | None:
    """The status that a condition decides (304 or 412), None to go on. Files have no ETag.

    So `If-Match` and `If-None-Match` can only match with `*`.
    """
    if if_match := headers.get("if-match"):
        if if_match.strip() != "*":
            return 412
    elif (limit := read_date(headers.get("if-unmodified-since", ""))) and modified > limit:
        return 412
    if if_none_match := headers.get("if-none-match"):
        if if_none_match.strip() == "*":
            return 304
    elif (since := read_date(headers.get("if-modified-since", ""))) and modified <= since:
        return 304
    return None


def wanted_parts(headers: Mapping[str, str], size: int, modified: datetime) -> list[Part]:
    """The ranges to send, empty for the whole file; raises Unreadable and Unsatisfiable."""
    text = headers.get("range", "")
    if not text:
        return []
    if (if_range := headers.get("if-range")) and read_date(if_range) != modified:
        return []
    try:
        parts = parse_range(text, size)
    except Unsatisfiable:
        if size == 0:
            return []
        raise
    # Asking for more than there is, or for the same again and again, costs more than it can be worth (RFC 9110,
    # 14.2 and 17.15); a client must take the whole file as an answer.
    if sum(part.length for part in parts) > size or overlaps(parts) > MAX_OVERLAPS:
        return []
    return parts


def overlaps(parts: list[Part]) -> int:
    """How many ranges begin inside another one."""
    count, end = 0, 0
    for part in sorted(parts):
        count += part.start < end
        end = max(end, part.start + part.length)
    return count


def parse_range(text: str, size: int) -> list[Part]:
    if not text.startswith("bytes="):
        raise Unreadable()
    specs = [spec.strip() for spec in text[len("bytes=") :].split(",")]
    if len(specs) > MAX_RANGES:
        raise Unreadable()
    parts = []
    missed = False
    for spec in specs:
        if not spec:
            continue
        first, dash, last = (each.strip() for each in spec.partition("-"))
        if not dash or (first and not NUMBER.fullmatch(first)) or (last and not NUMBER.fullmatch(last)):
            raise Unreadable()
        if not first:
            if not last:
                raise Unreadable()
            length = min(int(last), size)
            start = size - length
        else:
            start = int(first)
            end = min(int(last), size - 1) if last else size - 1
            if last and int(last) < start:
                raise Unreadable()
            length = end - start + 1
        if start >= size:
            missed = True
        else:
            parts.append(Part(start, length))
    if missed and not parts:
        raise Unsatisfiable()
    return parts
