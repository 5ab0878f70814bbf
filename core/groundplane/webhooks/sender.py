"""Sender: puts one message on its way and says what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

MAX_ANSWER_BYTES = 8 * 1024  # of the body that are read and kept; the rest is of no interest
MAX_HEADERS = 50
MAX_HEADER_CHARS = 1000


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent: a POST of `body`; `timeout_s` is for all of it, connecting and the answer's head included."""

    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    timeout_s: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the receiver said: `text` is the beginning of the body."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    text: str = ""

    def header(self, name: str) -> str:
        """The first value of a header, "" when there is none; `name` in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), "")


class NotSent(Exception):
    """There was no answer; the message is one sentence for whoever looks at the delivery."""


class Sender(Protocol):
    """Sends messages; one that remembers them instead can take its place in tests."""

    async def send(self, message: Message) -> Answer:
        """Send it once, without following redirects; raises NotSent.

        An answer counts when its status has arrived, whatever becomes of its body.
        """
        ...

    async def close(self) -> None: ...
