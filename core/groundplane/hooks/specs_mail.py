"""The hooks about mails, a part of the contract with plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from groundplane.hooks import hookspec

if TYPE_CHECKING:
    from groundplane.hooks.events_mail import MailCompose, MailSend
    from groundplane.mail.mailer import Mailer
    from groundplane.services import Services


@hookspec("collect")
def register_mailers(config: object, services: Services) -> Sequence[Mailer]:
    """Other ways to send mails, as `groundplane.mail.mailer.Mailer` describes them.

    `mail.mailer` of the configuration chooses one by its `name`. Asked in every process once all plugins are
    started. A plugin that raises, or returns something else, or a name that is taken, is broken and stays out.

    `config`   the plugin's configuration, as in `startup`

    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("before")
async def mail_compose(event: MailCompose, services: Services) -> None:
    """A mail was written from its template, and is about to be sent.

    Change `event.message`, all of it, or set `event.is_dropped`. It may hold links and codes that let one in:
    keep it nowhere. Raising keeps it from being sent, as any failure does; a job tries again later.
    Runs in a job, or in a request that waits for its mail (an e-mail change, the notice of a new location).
    Called by: groundplane/mail/service.py
    """


@hookspec("around")
def mail_send(event: MailSend, services: Services) -> AsyncIterator[None]:
    """A mail is handed over: `async def` with one `yield`, as `record_request`.

    A failure is raised at the `yield` as `groundplane.mail.message.MailNotSent`, or whatever a mailer raises.
    Raise before it to keep the mail back; a job then tries again later.
    Called by: groundplane/mail/service.py
    """
    raise NotImplementedError
