"""Sending mails: who sends them, in whose name, and what plugins make of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from groundplane.config import MailConfig
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events_mail import MailCompose, MailSend
from groundplane.mail.mailer import Mailer
from groundplane.mail.message import MailNotSent, Message, one_line
from groundplane.mail.outbox import OutboxMailer
from groundplane.mail.templates import record_values, render
from groundplane.schema.collection import Collection
from groundplane.schema.options import Template
from groundplane.settings.service import Settings

OWN_NAMES = frozenset({"outbox", "smtp"})


class Mail:
    """Writes mails from templates and sends them.

    `public_url` goes before the settings' appURL in links; what a request says of our host never counts.
    """

    def __init__(
        self,
        settings: Settings,
        config: MailConfig,
        outbox: Path,
        hooks: Hooks | None = None,
        public_url: str = "",
    ) -> None:
        self._settings = settings
        self._config = config
        self._outbox = OutboxMailer(outbox)
        self._hooks = hooks or Hooks()
        self._public_url = public_url
        self._others: dict[str, Mailer] = {}

    def register(self, plugin: str, mailers: Any) -> None:
        """Add a plugin's ways to send; raises ValueError for what is none, or has a name that is taken."""
        listed = mailers if isinstance(mailers, list | tuple) else [mailers]
        for mailer in listed:
            if problem := self._problem(mailer):
                raise ValueError(f"register_mailers: {problem}")
            self._others[mailer.name] = mailer

    def _problem(self, mailer: object) -> str:
        if not isinstance(mailer, Mailer) or not isinstance(mailer.name, str):
            return f"{type(mailer).__name__} is no mailer"
        is_taken = mailer.name in OWN_NAMES or mailer.name in self._others
        return f"the name {mailer.name!r} is taken" if is_taken else ""

    @property
    def app_url(self) -> str:
        return (self._public_url or self._settings.current.meta.app_url).rstrip("/")

    def mailer(self) -> Mailer:
        """Who sends now; raises MailNotSent when the configuration names somebody who is not there."""
        name = self._config.mailer
        smtp = self._settings.current.smtp
        if name and name not in OWN_NAMES:
            if name not in self._others:
                raise MailNotSent(f"mail.mailer names {name!r}, which no plugin offers.")
            return self._others[name]
        if name == "smtp" or (not name and smtp.enabled):
            # Loaded with the first mail: no server needs it to start.
            from groundplane.mail.smtp import SmtpMailer

            return SmtpMailer(smtp, self._config.timeout_s, self._config.ca_file)
        return self._outbox

    async def compose(
        self,
        purpose: str,
        collection: Collection,
        record: Mapping[str, Any],
        template: Template,
        values: Mapping[str, str],
        to: str,
    ) -> Message | None:
        """A mail about a record from a template; None when a plugin wants none to be sent.

        `purpose` says what for, as in the hook `mail_compose`. `values` are the placeholders that only this
        mail has, with their braces, as they shall stand in HTML.
        """
        meta = self._settings.current.meta
        known = {"{APP_NAME}": meta.app_name, "{APP_URL}": self.app_url}
        done = render(template, record_values(collection, record) | known | dict(values))
        message = Message(
            to=to,
            subject=one_line(done.subject),
            html=done.html,
            text=done.text,
            sender_name=meta.sender_name,
            sender_address=meta.sender_address,
        )
        if self._hooks.mail_compose:
            event = MailCompose(purpose, collection, dict(record), message)
            await self._hooks.mail_compose(collection, event=event)
            return None if event.is_dropped else event.message
        return message

    async def send(self, purpose: str, message: Message) -> None:
        """Send a mail now; raises MailNotSent."""
        mailer = self.mailer()
        event = MailSend(purpose, mailer.name, msgspec.structs.replace(message))
        try:
            async with asyncio.timeout(self._config.timeout_s + 1), self._hooks.mail_send(event=event):
                await mailer.send(event.message)
        except MailNotSent:
            raise
        except TimeoutError:
            raise MailNotSent(f"{mailer.name} took longer than {self._config.timeout_s:g} s.") from None
        except Exception as error:
            # A mailer of a plugin may raise anything; its words may hold what is in the mail.
            raise MailNotSent(f"{mailer.name} failed: {type(error).__name__}.") from error
