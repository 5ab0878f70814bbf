"""The elements of a JSON array in a file of any size, decoded one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

CHUNK_CHARACTERS = 1 << 18
MAX_VALUE_CHARACTERS = 32 * 1024 * 1024
BLANKS = " \t\r\n"


class JsonDamaged(Exception):
    """The text is not JSON, or not a list of objects; `line` is where that showed."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        super().__init__(problem)


def refuse_constant(name: str) -> Any:
    raise ValueError(name)


class _Text:
    """A window on the file: `buffer[at:]` is what is not consumed yet."""

    def __init__(self, source: TextIO) -> None:
        self.source = source
        self.buffer = ""
        self.at = 0
        self.line = 1
        self.ended = False
        self.decoder = json.JSONDecoder(parse_constant=refuse_constant)

    def more(self, size: int = CHUNK_CHARACTERS) -> bool:
        """Read on; the consumed part is forgotten. False at the end of the file."""
        chunk = "" if self.ended else self.source.read(size)
        if not chunk:
            self.ended = True
            return False
        self.buffer = self.buffer[self.at :] + chunk
        self.at = 0
        return True

    def consume(self, end: int) -> None:
        self.line += self.buffer.count("\n", self.at, end)
        self.at = end

    def peek(self) -> str:
        """The next character that is not blank; "" at the end."""
        while True:
            end = self.at
            while end < len(self.buffer) and self.buffer[end] in BLANKS:
                end += 1
            self.consume(end)
            if end < len(self.buffer):
                return self.buffer[end]
            if not self.more():
                return ""

    def take(self, character: str) -> None:
        found = self.peek()
        if found != character:
            raise JsonDamaged(
                self.line, f"expected {character!r}, found {found!r}" if found else "it ends too early"
            )
        self.consume(self.at + 1)

    def value(self) -> Any:
        """Decode the next value, reading as much as it takes."""
        if not self.peek():
            raise JsonDamaged(self.line, "it ends too early")
        size = CHUNK_CHARACTERS
        while True:
            problem = ""
            try:
                value, end = self.decoder.raw_decode(self.buffer, self.at)
                # A number at the end of the window may go on behind it.
                if end < len(self.buffer) or self.ended:
                    self.consume(end)
                    return value
            except ValueError as error:
                problem = str(error).split(":")[0]
            except RecursionError:
                raise JsonDamaged(self.line, "a value is nested too deeply") from None
            if len(self.buffer) - self.at > MAX_VALUE_CHARACTERS:
                raise JsonDamaged(self.line, "a value is too large, or not JSON")
            # Twice as much each time, so that a large value is not decoded over and over.
            size *= 2
            if not self.more(size) and problem:
                raise JsonDamaged(self.line, problem)


def stream_objects(source: TextIO) -> Iterator[tuple[int, Any]]:
    """Yield line and value of each element of the array, or of the first array in the object, in the file.

    Raises JsonDamaged; elements before the damage have been yielded by then.
    """
    text = _Text(source)
    start = text.peek()
    if start == "[":
        yield from _elements(text)
        if text.peek():
            raise JsonDamaged(text.line, "something follows the array")
        return
    if start != "{":
        raise JsonDamaged(text.line, "it is neither an array nor an object" if start else "the file is empty")
    text.take("{")
    while text.peek() == '"':
        text.value()
        text.take(":")
        if text.peek() == "[":
            yield from _elements(text)
            return
        text.value()
        if text.peek() != ",":
            break
        text.take(",")
    raise JsonDamaged(text.line, "the object holds no array")


def _elements(text: _Text) -> Iterator[tuple[int, Any]]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        text.peek()
        line = text.line
        yield line, text.value()
        if text.peek() == "]":
            text.take("]")
            return
        text.take(",")
