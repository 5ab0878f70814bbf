"""A message as the e-mail that goes over the wire (RFC 5322), imported with the first one."""

from __future__ import annotations

from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from groundplane.clock import now
from groundplane.mail.message import MailNotSent, Message, one_line
from groundplane.schema.addresses import is_email


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
