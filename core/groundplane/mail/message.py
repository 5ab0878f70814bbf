"""One mail: what is in it, and how it looks on its way."""

from __future__ import annotations

import re

import msgspec

from groundplane.security.ids import LOWER_ALPHANUMERIC, random_text

MAX_SUBJECT_CHARS = 500
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class MailNotSent(Exception):
    """A mail did not go out, and the sentence says why; `is_final` says that trying again cannot help.

    The sentence holds no content of the mail: it is shown in jobs and logs.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Message(msgspec.Struct, kw_only=True):
    """A mail to one address; `text` is the part for those who read no HTML.

    `headers` are further ones. `id` is a part of the Message-ID, the same whenever this mail is tried again.
    """

    to: str
    subject: str
    html: str
    text: str
    sender_name: str
    sender_address: str
    headers: dict[str, str] = {}
    id: str = msgspec.field(default_factory=lambda: random_text(24, LOWER_ALPHANUMERIC))

    def __repr__(self) -> str:
        # What is in it may let one in.
        return f"Message(id={self.id!r}, …)"


def one_line(text: str) -> str:
    """The text without what could begin another header, cut to what a header should have."""
    return CONTROL.sub(" ", text).strip()[:MAX_SUBJECT_CHARS]
