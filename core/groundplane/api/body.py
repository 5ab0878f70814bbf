"""Request bodies: JSON, urlencoded and multipart, decoded as the contract says (records §2)."""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
import math
import re
import tempfile
from collections.abc import AsyncIterator, Iterable
from typing import Any, BinaryIO, NamedTuple, NoReturn, TypeAlias, cast
from urllib.parse import unquote_to_bytes

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from groundplane.errors import Invalid

Chunks: TypeAlias = AsyncIterator[bytes]
Pair: TypeAlias = tuple[str, str]

JSON_PAYLOAD = "@jsonPayload"

# Bounds that no honest client meets; they keep a small request from becoming a large amount of memory or work.
MAX_JSON_DEPTH = 200  # levels; what reads values later is recursive
MAX_JSON_CONTAINERS = 1_000_000  # arrays and objects, each about 64 bytes
MAX_PARTS = 1000  # of a multipart body, as in PocketBase
MAX_PAIRS = 10_000  # of a urlencoded body or a query
MAX_PART_HEADERS = 32
MAX_PART_HEADER_BYTES = 16 * 1024
MAX_NAME_BYTES = 1024
MEMORY_PER_FILE = 512 * 1024  # bytes; a larger upload goes to a temporary file

FAR_INTEGER = 15  # digits that a float64 holds exactly, whatever they are
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
NUMBER_SHAPE = re.compile(r"[-0-9][-.0-9]*")


def one_mark_per_byte(error: UnicodeError) -> tuple[str, int]:
    """Replace each invalid byte by U+FFFD; Python's own handler gives one for a run of them."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\ufffd" * (error.end - error.start), error.end


# It tells of every malformed body; those are the clients' affair and answered, not logged.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

codecs.register_error("one-mark-per-byte", one_mark_per_byte)


def text_of(raw: bytes) -> str:
    return raw.decode("utf-8", "one-mark-per-byte")


# JSON


def json_integer(text: str) -> int | float:
    """An integer as float64 has it: exact and an int while short, else a float; `-0` keeps its sign."""
    if len(text) <= FAR_INTEGER:
        return int(text) if text != "-0" else -0.0
    return json_float(text)


def json_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("number out of range")
    return value


def no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


DECODER = json.JSONDecoder(parse_int=json_integer, parse_float=json_float, parse_constant=no_constant)
# Several times as fast, and the same for what has none of these: numbers of more digits than a float64 holds,
# minus zero, halves of surrogate pairs.
PLAIN_DECODER = msgspec.json.Decoder()
AWKWARD = re.compile(rb"[0-9]{16}|[\[:,\s]-0|\\u[dD][89a-fA-F]")


def json_value(raw: bytes) -> Any:
    """The first JSON value of a body; what follows it is ignored. Raises Invalid.

    Duplicate keys: the last wins. Invalid UTF-8 and lone surrogates become U+FFFD.
    """
    containers = raw.count(b"[") + raw.count(b"{")
    if containers <= MAX_JSON_DEPTH and AWKWARD.search(raw) is None:
        try:
            return PLAIN_DECODER.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # the other one reads more than JSON, or says no as well
    if containers > MAX_JSON_CONTAINERS:
        raise Invalid()
    text = text_of(raw).lstrip(" \t\r\n")
    try:
        value, _ = DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        raise Invalid() from None
    if is_deeper_than(value, MAX_JSON_DEPTH):
        raise Invalid()
    if SURROGATE_ESCAPE.search(raw):
        value = without_surrogates(value)
    return value


def json_object(raw: bytes) -> dict[str, Any]:
    """A body that must be an object; `null` is the empty one. Raises Invalid."""
    value = json_value(raw)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid()
    return value


def is_deeper_than(value: Any, levels: int) -> bool:
    """Whether arrays and objects are nested more than `levels` deep; looks level by level, not recursively."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            child
            for each in layer
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not layer:
            return False
    return True


def without_surrogates(value: Any) -> Any:
    """Replace halves of surrogate pairs, which are no characters and cannot be written as UTF-8."""
    if isinstance(value, str):
        return LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(each) for key, each in value.items()}
    return value


# Pairs of text


def unescape(raw: bytes) -> bytes | None:
    """Decode one urlencoded name or value; None when an escape is malformed."""
    if b"%" not in raw:  # most names, and many values
        return raw.replace(b"+", b" ")
    if BAD_ESCAPE.search(raw):
        return None
    return unquote_to_bytes(raw.replace(b"+", b" "))


def parse_pairs(raw: bytes, *, strict: bool) -> list[Pair]:
    """Split `a=1&b=2` and decode it.

    A pair with a malformed escape or a semicolon is Invalid when `strict` (a body), else left out (a query).
    """
    if raw.count(b"&") >= MAX_PAIRS:
        raise Invalid()
    pairs: list[Pair] = []
    for part in raw.split(b"&"):
        if not part:
            continue
        name, _, value = part.partition(b"=")
        plain_name, plain_value = unescape(name), unescape(value)
        if b";" in part or plain_name is None or plain_value is None:
            if strict:
                raise Invalid()
            continue
        pairs.append((text_of(plain_name), text_of(plain_value)))
    return pairs


def plain_decimal(value: float) -> str:
    """Write a float64 in its shortest digits without an exponent."""
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text.removesuffix(".0")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = whole + fraction
    point = len(whole) + int(exponent)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return sign + digits.ljust(point, "0")


def infer(text: str) -> Any:
    """The value a form's text stands for: true, false, a number written in its normal form, or the text."""
    if text == "true":
        return True
    if text == "false":
        return False
    # 400 characters hold every float64 in full; a longer text cannot be its own normal form.
    if len(text) <= 400 and NUMBER_SHAPE.fullmatch(text):
        try:
            number = float(text)
        except ValueError:
            return text
        if not math.isinf(number) and plain_decimal(number) == text:
            return (
                int(number) if number.is_integer() and len(text) <= FAR_INTEGER and text != "-0" else number
            )
    return text


def grouped(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def payload(texts: Iterable[str]) -> dict[str, Any]:
    """The `@jsonPayload` parts, one over the other. Raises Invalid."""
    merged: dict[str, Any] = {}
    for text in texts:
        merged |= json_object(text.encode("utf-8", "replace"))
    return merged


def form_values(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Text pairs as values: inferred, a repeated key as a list, `@jsonPayload` on top. Raises Invalid."""
    texts = grouped(pairs)
    on_top = payload(texts.pop(JSON_PAYLOAD, ()))
    values: dict[str, Any] = {}
    for name, found in texts.items():
        inferred = [infer(text) for text in found]
        values[name] = inferred[0] if len(inferred) == 1 else inferred
    return values | on_top


# Fixed forms


class FormText(str):
    """A value that came as text, so a number may be read from it; JSON's own types are taken as they are."""

    __slots__ = ()


def form_texts(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Text pairs for a form whose types are known: the first value of each key, not inferred. Raises Invalid."""
    texts = grouped(pairs)
    on_top = payload(texts.pop(JSON_PAYLOAD, ()))
    return {name: FormText(found[0]) for name, found in texts.items()} | on_top


def fixed(values: dict[str, Any], types: dict[str, type], load_error: str) -> dict[str, Any]:
    """Take the keys of a fixed form out of a body, matched case-insensitively; unknown ones are ignored.

    Absent and null keys get their type's zero. A value of another JSON type is Invalid with `load_error`.
    """
    known = {name.lower(): name for name in types}
    form: dict[str, Any] = {name: kind() for name, kind in types.items()}
    for key, value in values.items():
        name = known.get(key.lower())
        if name is None or value is None:
            continue
        kind = types[name]
        if isinstance(value, FormText) and kind is not str:
            value = typed_text(value, kind)
        # bool is an int in Python, but not in JSON.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Invalid(load_error)
        form[name] = str(value) if kind is str else value
    return form


def typed_text(text: str, kind: type) -> Any:
    """Read a form's text as an int or bool, empty as its zero; None when it is neither."""
    if text == "":
        return kind()
    if kind is int and re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if kind is bool and text in {"true", "false", "1", "0"}:
        return text in {"true", "1"}
    return None


# Multipart


class FilePart(NamedTuple):
    filename: str
    content_type: str
    size: int
    file: BinaryIO


class PartReader:
    """Collects the parts of a multipart body; the parser's callbacks fill `events` between two reads."""

    def __init__(self, boundary: bytes) -> None:
        self.pairs: list[Pair] = []
        self.files: list[tuple[str, FilePart]] = []
        self.ended = False
        self._headers: dict[str, str] = {}
        self._header_name = b""
        self._header_value = b""
        self._name: str | None = None
        self._filename = ""
        self._text = bytearray()
        self._file: BinaryIO | None = None
        self._size = 0
        self._count = 0
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value_data,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )

    def _part_begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise FormParserError("too many parts")
        self._headers = {}
        self._header_name = self._header_value = b""
        self._text = bytearray()
        self._file = None
        self._size = 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        name = self._header_name.decode("latin-1").lower()
        self._headers.setdefault(name, text_of(self._header_value))
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(
            # The parser wants latin-1; what is UTF-8 inside comes out as it went in.
            self._headers.get("content-disposition", "").encode().decode("latin-1")
        )
        name = options.get(b"name", b"") if kind == b"form-data" else b""
        if len(name) > MAX_NAME_BYTES:
            raise FormParserError("name too long")
        # A part without a name is read over, as PocketBase does.
        self._name = text_of(name) or None
        filename = text_of(options.get(b"filename", b"")).replace("\x00", "")
        self._filename = filename.rstrip("/").rpartition("/")[2]
        if self._name is not None and filename:
            self._file = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=MEMORY_PER_FILE))  # noqa: SIM115

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            self._size += end - start
        elif self._name is not None:
            self._text += data[start:end]

    def _part_end(self) -> None:
        if self._file is not None and self._name is not None:
            self._file.seek(0)
            content_type = self._headers.get("content-type", "application/octet-stream")
            self.files.append((self._name, FilePart(self._filename, content_type, self._size, self._file)))
            self._file = None
        elif self._name is not None:
            self.pairs.append((self._name, text_of(bytes(self._text))))

    def _end(self) -> None:
        self.ended = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        close_all(self.files)


async def read_multipart(content_type: str, chunks: Chunks) -> tuple[list[Pair], list[tuple[str, FilePart]]]:
    """Read a multipart body as it arrives; returns the text parts and the files.

    Raises Invalid for a body that is malformed, cut short or has too many parts. Nothing stays open then.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Invalid()
    reader: PartReader | None = None
    try:
        reader = PartReader(boundary)
        async for chunk in chunks:
            if len(chunk) > MEMORY_PER_FILE:
                # Writing much to disk takes a while; the loop must not wait for it.
                await asyncio.to_thread(reader.parser.write, chunk)
            else:
                reader.parser.write(chunk)
        reader.parser.finalize()
        if not reader.ended:
            raise FormParserError("the closing boundary is missing")
    except (FormParserError, ValueError):
        if reader is not None:
            reader.close()
        raise Invalid() from None
    except BaseException:
        if reader is not None:
            reader.close()
        raise
    return reader.pairs, reader.files


def close_all(files: Iterable[tuple[str, FilePart]]) -> None:
    for _, part in files:
        part.file.close()
