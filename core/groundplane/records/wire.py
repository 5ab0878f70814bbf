"""The JSON of every answer: number format, escapes and the final newline of the contract."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import msgspec

from groundplane.clock import wire_date

_encoder = msgspec.json.Encoder()
_sorted_encoder = msgspec.json.Encoder(order="sorted")

# Whole numbers up to here are exact in a float64 and print the same as integers.
EXACT_INTEGER = 2**53

# In UTF-8 JSON these bytes can only stand inside strings, so replacing them in the finished text is safe.
ESCAPES = (b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")
SEPARATORS = (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029")


def number_text(value: float) -> str:
    """Write a finite float64 as clients know it: shortest digits, exponent only below 1e-6 and from 1e21."""
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    size = abs(value)
    if 1e-6 <= size < 1e21:
        return plain_number(value)
    mantissa, _, exponent = repr(value).partition("e")
    mantissa = mantissa.removesuffix(".0")
    sign = "-" if exponent.startswith("-") else "+"
    return f"{mantissa}e{sign}{exponent.lstrip('+-').lstrip('0')}"


def plain_number(value: float) -> str:
    """Write a finite float64 with its shortest digits and without an exponent."""
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text.removesuffix(".0")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = whole + fraction
    point = len(whole) + int(exponent)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}".rstrip("0").rstrip(".")
    if point >= len(digits):
        return sign + digits.ljust(point, "0")
    return f"{sign}{digits[:point]}.{digits[point:]}".rstrip("0").rstrip(".")


def number(value: float) -> int | float | msgspec.Raw | None:
    """Turn a float into what the encoder writes in the wire's format; infinity and NaN become null."""
    if value.is_integer():
        if value == 0:
            return msgspec.Raw(b"-0") if math.copysign(1, value) < 0 else 0
        if -EXACT_INTEGER <= value <= EXACT_INTEGER:
            return int(value)
    elif 1e-4 <= abs(value) < 1e15:
        return value  # msgspec writes these without an exponent, as the contract wants
    elif not math.isfinite(value):
        return None
    return msgspec.Raw(number_text(value).encode())


def wire_value(value: Any) -> Any:
    """Prepare a tree of JSON-like Python values for the encoder: numbers through `number`, dates as text."""
    match value:
        case str() | None | bool() | msgspec.Raw():
            return value
        case int():
            return value if -EXACT_INTEGER <= value <= EXACT_INTEGER else integer(value)
        case float():
            return number(value)
        case dict():
            return {key: wire_value(item) for key, item in value.items()}
        case list() | tuple():
            return [wire_value(item) for item in value]
        case datetime():
            return wire_date(value)
        case msgspec.Struct():
            return wire_value(msgspec.to_builtins(value))
    return value


def integer(value: int) -> Any:
    """Write an integer beyond 2^53 as the float64 it is to every client; one out of range is null."""
    try:
        return number(float(value))
    except OverflowError:
        return None


def escaped(raw: bytes) -> bytes:
    """Write `<`, `>`, `&` and the two line separators as escapes inside finished JSON."""
    for byte, escape in ESCAPES:
        if byte in raw:
            raw = raw.replace(byte, escape)
    # One byte is found many times faster than three.
    if b"\xe2" in raw:
        for separator, escape in SEPARATORS:
            raw = raw.replace(separator, escape)
    return raw


def encode(value: Any) -> bytes:
    """Encode any JSON-like value as a response body: compact UTF-8 with a newline at the end."""
    return encode_ready(wire_value(value))


def encode_ready(value: Any) -> bytes:
    """Like `encode` for values whose numbers went through `number` already (records made by a plan)."""
    try:
        raw = _encoder.encode(value)
    except UnicodeEncodeError:
        raw = _encoder.encode(repaired(value))
    return escaped(raw) + b"\n"


def compact(value: Any, *, sort: bool = False) -> str:
    """Return compact, escaped JSON text without the newline; `sort` orders the members of every object."""
    ready = wire_value(value)
    encoder = _sorted_encoder if sort else _encoder
    try:
        raw = encoder.encode(ready)
    except UnicodeEncodeError:
        raw = encoder.encode(repaired(ready))
    return escaped(raw).decode()


def repaired(value: Any) -> Any:
    """Replace lone surrogates, which UTF-8 cannot carry, as Go's encoder does."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {repaired(key): repaired(item) for key, item in value.items()}
        case list() | tuple():
            return [repaired(item) for item in value]
    return value
