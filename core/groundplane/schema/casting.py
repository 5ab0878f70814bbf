"""Casts of arbitrary input to the few plain types that fields are made of (contract, collections §5.1)."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from groundplane.errors import FieldError

NUL = "\x00"
NUL_VALUE = FieldError("validation_invalid_value", "Invalid value.")

MAX_EXACT_INTEGER = 2**53 - 1
HEXADECIMAL = re.compile(
    # Possessive throughout, so that a long text is looked at once.
    r"[+-]?0x(?:(?:_?[0-9a-f])++(?:\.(?:[0-9a-f](?:_?[0-9a-f])*+)?)?|\.[0-9a-f](?:_?[0-9a-f])*+)"
    r"p[+-]?[0-9](?:_?[0-9])*+",
    re.IGNORECASE | re.ASCII,
)
TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def plain_number(value: float) -> str:
    """Return the shortest decimal that reads back as the same float, never with an exponent."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        return format(Decimal(text), "f")
    return text.removesuffix(".0")


def short_number(value: float) -> str:
    """Return the shortest digits, with a two-digit exponent below 1e-4 and from 1e+06 (`1.5e+06`, `1e-05`)."""
    if not math.isfinite(value) or value == 0:
        return plain_number(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    power = len(digits) - 1 + int(exponent)
    if -4 <= power < 6:
        return plain_number(value)
    mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def json_number(value: float) -> str:
    """Return the number as JSON on the wire: an exponent only below 1e-6 and from 1e21 (`1e-7`, `1e+21`)."""
    if value == 0:
        return "-0" if math.copysign(1.0, value) < 0 else "0"
    if 1e-6 <= abs(value) < 1e21:
        return plain_number(value)
    mantissa, _, power = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{'-' if power[0] == '-' else '+'}{power.lstrip('+-').lstrip('0')}"


def nearest_float(number: int) -> float:
    """Return the float64 next to an integer of any size; infinite beyond the range."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def clean_text(text: str) -> str:
    """Replace lone surrogates, which no encoding can carry, by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def to_text(raw: Any) -> str:
    """Cast to text; null, objects and arrays are empty."""
    if type(raw) is str:
        return raw if raw.isascii() else clean_text(raw)
    if raw is None:
        return ""
    if raw is True:
        return "true"
    if raw is False:
        return "false"
    if isinstance(raw, int):
        return (
            str(raw) if -MAX_EXACT_INTEGER <= raw <= MAX_EXACT_INTEGER else plain_number(nearest_float(raw))
        )
    if isinstance(raw, float):
        return plain_number(raw)
    if isinstance(raw, str):
        return clean_text(str(raw))
    return ""


def to_float(raw: Any) -> float:
    """Cast to a float; what is no number is 0. NaN and infinities may come from their names."""
    if isinstance(raw, (int, float)):
        return raw if type(raw) is float else nearest_float(int(raw))
    if isinstance(raw, str):
        return parse_float(raw)
    return 0.0


def parse_float(text: str) -> float:
    """Read a decimal or hexadecimal number by Go's rules; 0 when it is none or out of range."""
    if not text.isascii() or text != text.strip():
        return 0.0
    try:
        value = float(text)
    except ValueError:
        return parse_hexadecimal(text)
    if math.isfinite(value):
        return value
    lower = text.lower()
    if math.isnan(value):
        return value if lower == "nan" else 0.0
    return value if lower.lstrip("+-").startswith("inf") else 0.0


def parse_hexadecimal(text: str) -> float:
    """Read a hexadecimal number; its exponent is what tells it from a word such as 0xcafe."""
    if not HEXADECIMAL.fullmatch(text):
        return 0.0
    try:
        return float.fromhex(text.replace("_", ""))
    except (ValueError, OverflowError):
        return 0.0


def to_bool(raw: Any) -> bool:
    """Cast to a bool; only the usual words for true are true."""
    if raw is True or raw is False:
        return raw
    if isinstance(raw, (int, float)):
        return raw != 0
    if isinstance(raw, str):
        return raw in TRUE_WORDS
    return False


def to_text_list(raw: Any) -> list[str]:
    """Cast to a list of distinct non-empty texts; a text may itself be a JSON array of strings."""
    if raw is None or raw == "":
        return []
    if isinstance(raw, str):
        items = texts_of_json(raw) if "[" in raw else None
        if items is None:
            return [clean_text(raw)]
    elif isinstance(raw, (list, tuple)):
        if any(isinstance(item, (dict, list, tuple)) for item in raw):
            return []
        items = [to_text(item) for item in raw]
    elif isinstance(raw, dict):
        return []
    else:
        items = [to_text(raw)]
    return list(dict.fromkeys(item for item in items if item))


def texts_of_json(text: str) -> list[str] | None:
    """Return the strings of a JSON array that holds nothing else (null counts as empty), else None."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list) or not all(item is None or isinstance(item, str) for item in items):
        return None
    return [clean_text(item or "") for item in items]
