"""JSON values as the compact text that is stored and sent (contract, collections §5.11)."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from groundplane.schema.casting import NUL, clean_text, json_number, nearest_float, short_number

INVALID = ""  # no JSON text is empty, so this can stand for a value that must be refused
MAX_DEPTH = 500  # levels; the database's parser has a stack of its own

NUMBER_OR_STRUCTURE = frozenset('0123456789-"[{')
LITERALS = {"null": None, "true": "true", "false": "false"}
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

INTEGER = re.compile(r"-?[0-9]+")
# Strings as a whole, so that blanks inside them stay; the possessive parts keep it linear.
STRING_OR_BLANKS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[ \t\r\n]+', re.DOTALL)
BLANK = re.compile(r"[ \t\r\n]")
UNSAFE = re.compile("[<>&\u2028\u2029]")
UNSAFE_ESCAPES = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}
SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
TO_ESCAPE = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029]')


class TooDeep(Exception):
    """The value has more levels than we keep."""


def json_text(raw: Any) -> str | None:
    """Normalise a submitted value; None is JSON null, INVALID a value to refuse.

    A text that is JSON itself is taken as that JSON, with its member order and its numbers as they are
    written; everything structured is written anew with sorted members and 64-bit float numbers.
    """
    if raw is None:
        return None
    if isinstance(raw, str):
        return text_of_string(raw)
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        value = nearest_float(raw) if isinstance(raw, int) else raw
        return bare_number(value) if math.isfinite(value) else INVALID
    try:
        parts: list[str] = []
        write(raw, parts, 0)
    except (TooDeep, RecursionError):
        return INVALID
    return "".join(parts)


def text_of_string(raw: str) -> str | None:
    if NUL in raw:
        return INVALID
    raw = clean_text(raw)
    if raw in LITERALS:
        return LITERALS[raw]
    if raw and raw[0] in NUMBER_OR_STRUCTURE and is_json(raw):
        if raw[0] in '[{"':
            return compact(raw)
        return number_of_text(raw.strip(" \t\r\n"))
    return quoted(raw)


def is_json(text: str) -> bool:
    """Whether the text is one JSON value of at most MAX_DEPTH levels."""
    try:
        # Numbers stay text: their size has no limit and their value does not matter here.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return False
    return text.count("[") + text.count("{") <= MAX_DEPTH or depth_of(text) <= MAX_DEPTH


def refuse_constant(name: str) -> Any:
    raise ValueError(name)


def depth_of(text: str) -> int:
    """Return how many levels a valid JSON text has."""
    depth = deepest = 0
    for character in STRING_OR_BLANKS.sub("", text):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def compact(text: str) -> str:
    """Drop the blanks between the tokens of a valid JSON text and escape what HTML could take for markup."""
    if BLANK.search(text):
        text = STRING_OR_BLANKS.sub(lambda match: match[0] if match[0][0] == '"' else "", text)
    return UNSAFE.sub(lambda match: UNSAFE_ESCAPES[match[0]], text)


def number_of_text(text: str) -> str:
    """The canonical form of a number given as text; integers that fit 64 bits keep every digit."""
    if INTEGER.fullmatch(text) and len(text) < 25:
        integer = int(text)
        if MIN_INT64 <= integer <= MAX_INT64:
            return str(integer)
    value = float(text)
    if math.isinf(value):
        return '"+Inf"' if value > 0 else '"-Inf"'
    return bare_number(value)


def bare_number(value: float) -> str:
    """The canonical form of a number: digits if it is integral and fits 64 bits, else its shortest form."""
    if value == math.trunc(value) and -(2.0**63) < value < 2.0**63:
        return str(int(value))
    return short_number(value)


def quoted(text: str) -> str:
    """Return a text as JSON string with everything escaped that the wire escapes."""
    return f'"{TO_ESCAPE.sub(escape, clean_text(text))}"'


def escape(match: re.Match[str]) -> str:
    character = match[0]
    return SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"


def write(value: Any, parts: list[str], depth: int) -> None:
    """Append the JSON text of decoded JSON: members sorted bytewise, numbers as 64-bit floats."""
    if isinstance(value, str):
        parts.append(quoted(value))
    elif value is None:
        parts.append("null")
    elif isinstance(value, bool):
        parts.append("true" if value else "false")
    elif isinstance(value, (int, float)):
        number = nearest_float(value) if isinstance(value, int) else value
        parts.append(json_number(number) if math.isfinite(number) else "null")
    elif depth >= MAX_DEPTH:
        raise TooDeep
    elif isinstance(value, dict):
        separator = "{"
        for key in sorted(map(str, value)):
            parts.append(f"{separator}{quoted(key)}:")
            write(value[key], parts, depth + 1)
            separator = ","
        parts.append("}" if value else "{}")
    elif isinstance(value, (list, tuple)):
        separator = "["
        for item in value:
            parts.append(separator)
            write(item, parts, depth + 1)
            separator = ","
        parts.append("]" if value else "[]")
    else:
        parts.append("null")
