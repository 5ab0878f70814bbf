"""One mail: what is in it, and how it looks on its way."""

from __future__ import annotations

import re
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import msgspec

from groundplane.clock import now
from groundplane.schema.addresses import is_email
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


def address(text: str, name: str = "") -> Address:
    """An address for a header; raises MailNotSent for one that is none."""
    local, _, domain = text.removesuffix(".").rpartition("@")
    try:
        if not is_email(text):
            raise ValueError
        # Domains beyond ASCII have a spelling that every server takes.
        domain = domain if domain.isascii() else domain.encode("idna").decode()
        return Address(display_name=one_line(name), username=local, domain=domain)
    except (ValueError, UnicodeError, MessageError):
        raise MailNotSent("The address is not one that mails can be sent to.", is_final=True) from None


def as_email(message: Message) -> EmailMessage:
    """The mail as it is sent: HTML with a plain alternative; raises MailNotSent for an unusable address."""
    sender, receiver = address(message.sender_address, message.sender_name), address(message.to)
    needs_utf8 = not (sender.username.isascii() and receiver.username.isascii())
    mail = EmailMessage(policy=SMTP.clone(utf8=needs_utf8))
    mail["From"], mail["To"], mail["Subject"] = sender, receiver, one_line(message.subject)
    mail["Date"] = format_datetime(now())
    mail["Message-ID"] = f"<{message.id}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # no answer by a machine, please (RFC 3834)
    try:
        for name, value in message.headers.items():
            mail[one_line(name)] = one_line(value)
        mail.set_content(message.text, cte="quoted-printable")
        mail.add_alternative(message.html, subtype="html", cte="quoted-printable")
    except (ValueError, MessageError):
        raise MailNotSent("The mail has a header or a text that cannot be sent.", is_final=True) from None
    return mail
