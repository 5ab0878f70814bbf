"""What sends a mail: the promise that every way out makes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from groundplane.mail.message import Message


@runtime_checkable
class Mailer(Protocol):
    """A way out for mails; `register_mailers` of plugins adds some, `[mail] mailer` chooses one by its name."""

    name: str

    async def send(self, message: Message) -> None:
        """Hand one mail over; returns when somebody else is responsible for it.

        Raises `MailNotSent`, with `is_final` where trying again cannot help. Everything else that is raised
        counts as a failure that may pass.
        """
