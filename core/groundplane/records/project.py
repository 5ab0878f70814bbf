"""The `fields` parameter: which members of an answer a client wants, and excerpts of long texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from groundplane.records.excerpts import excerpt
from groundplane.records.wire import compact

MAX_FIELDS_BYTES = 16_000  # far above any real list; keeps a hostile one from costing time
MAX_DEPTH = 32

PAGE_KEYS = frozenset({"items", "page", "perPage", "totalItems", "totalPages"})
TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})

Modifier: TypeAlias = Callable[[Any], Any]


class BadFields(Exception):
    """The list is malformed: an unknown modifier, bad arguments or a missing parenthesis."""


class Selection:
    """What to keep of one object: `keep` means everything, else only the named members."""

    def __init__(self) -> None:
        self.keep = False
        self.modifier: Modifier | None = None
        self.members: dict[str, Selection] = {}


def project(value: Any, fields: str) -> Any:
    """Return the value cut down to `fields`; of a page only the items are cut, of an array each element.

    Everything is read anew from JSON, so members come out sorted and numbers as float64, also those inside
    stored json values. Raises BadFields.
    """
    if len(fields) > MAX_FIELDS_BYTES:
        raise BadFields("the list is too long")
    selection = parse_fields(fields)
    plain = reread(value)
    if not selection.members:
        return plain
    if isinstance(plain, dict) and plain.keys() - {"nextCursor"} == PAGE_KEYS:
        return plain | {"items": picked(plain["items"], selection)}
    return picked(plain, selection)


def reread(value: Any) -> Any:
    """Take a value through JSON text with sorted members."""
    return sorted_members(msgspec.json.decode(compact(value)))


def sorted_members(value: Any) -> Any:
    match value:
        case dict():
            return {key: sorted_members(value[key]) for key in sorted(value)}
        case list():
            return [sorted_members(item) for item in value]
    return value


@lru_cache(maxsize=512)
def parse_fields(text: str) -> Selection:
    """Read the comma-separated list into a tree; treat the result as read-only."""
    root = Selection()
    for entry in split_entries(text):
        path, colon, modifier = entry.partition(":")
        node = root
        for depth, name in enumerate(path.split(".")):
            if depth > MAX_DEPTH:
                raise BadFields("a path is too deep")
            node = node.members.setdefault(name, Selection())
        if colon:
            node.modifier = parse_modifier(modifier)
        node.keep = True
    return root


def split_entries(text: str) -> list[str]:
    """Split at commas outside parentheses; empty entries vanish."""
    entries: list[str] = []
    depth = start = 0
    for position, char in enumerate(text):
        if char == "(":
            depth += 1
        elif char == ")":
            if not depth:
                raise BadFields("a parenthesis too many")
            depth -= 1
        elif char == "," and not depth:
            entries.append(text[start:position])
            start = position + 1
    if depth:
        raise BadFields("a missing parenthesis")
    entries.append(text[start:])
    return [stripped for entry in entries if (stripped := entry.strip())]


def parse_modifier(text: str) -> Modifier:
    name, parenthesis, rest = text.partition("(")
    if name.strip() != "excerpt" or not parenthesis or not rest.rstrip().endswith(")"):
        raise BadFields("an unknown or incomplete modifier")
    arguments = [each.strip() for each in rest.rstrip()[:-1].split(",")]
    if len(arguments) > 2:
        raise BadFields("too many arguments")
    limit = arguments[0].removeprefix("+")
    if not (limit.isascii() and limit.isdigit()) or len(limit) > 9 or int(limit) <= 0:
        raise BadFields("the length must be a positive number")
    maximum = int(limit)
    with_ellipsis = len(arguments) == 2 and arguments[1] in TRUE_WORDS
    return lambda value: excerpt(value, maximum, with_ellipsis) if isinstance(value, str) else value


def picked(value: Any, selection: Selection) -> Any:
    match value:
        case dict():
            return picked_object(value, selection)
        case [dict(), *_]:
            return [picked_object(item, selection) if isinstance(item, dict) else item for item in value]
    return value


def picked_object(value: dict[str, Any], selection: Selection) -> dict[str, Any]:
    rest = selection.members.get("*")
    kept: dict[str, Any] = {}
    for key, item in value.items():
        wanted = selection.members.get(key) or rest
        if wanted is None:
            continue
        if wanted.keep:
            kept[key] = wanted.modifier(item) if wanted.modifier else item
        else:
            kept[key] = picked(item, wanted)
    return kept
