"""The structs that hooks about mails receive; what may be changed in them is said at the hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from groundplane.mail.message import Message
    from groundplane.schema.collection import Collection


class MailCompose(msgspec.Struct):
    """`record` holds the stored values of whom the mail is about; `is_dropped` keeps it from being sent.

    `purpose` is verification, password-reset, email-change, otp, login-alert, magic-link, or that of a plugin.
    """

    purpose: str
    collection: Collection
    record: Mapping[str, Any]
    message: Message
    is_dropped: bool = False


class MailSend(msgspec.Struct):
    """`mailer` is who sends: smtp, outbox, or the name of a plugin's."""

    purpose: str
    mailer: str
    message: Message
