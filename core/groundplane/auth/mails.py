"""Mails to people who sign in: now, or later by a job that tries again.

What a request wants mailed is added as a job before anybody has looked whether there is such an account. So the
request does the same whoever is asked for, and neither its answer nor its time tells. The job looks, and makes
tokens and codes itself: none is ever stored in the queue.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from groundplane.context import SUPERUSERS
from groundplane.jobs.job import Backoff, GiveUp, Job
from groundplane.jobs.queue import Jobs
from groundplane.mail.message import MailNotSent
from groundplane.mail.service import Mail
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.options import Template

log = logging.getLogger(__name__)

KIND = "mail"
MAX_ATTEMPTS = 12
PRIORITY = 10  # somebody waits for it, as nobody does for most jobs
LIMIT = 4  # at a time, so that a mail server that hangs does not hold up all other jobs
# The waits add up to about an hour and a half, in which a mail server should be back.
BACKOFF = Backoff(base_s=5.0, factor=2.0, max_s=1200.0)
INSTALLER = "__pbinstaller@example.com"

Handler: TypeAlias = "Callable[[Collection, Job], Awaitable[None]]"


class AccountMails:
    """Writes mails from a collection's templates; `register` says what a job of a purpose does."""

    def __init__(self, schema: SchemaCache, mail: Mail, jobs: Jobs, timeout_s: float) -> None:
        self._schema = schema
        self._mail = mail
        self._jobs = jobs
        self._handlers: dict[str, Handler] = {}
        jobs.register(
            KIND, self._run, timeout_s=timeout_s + 30, max_attempts=MAX_ATTEMPTS, limit=LIMIT, backoff=BACKOFF
        )

    def register(self, purpose: str, handler: Handler) -> None:
        """Have `handler` called with the collection and the job, whose `payload` is what `later` was given.

        It raises MailNotSent when the mail did not go out; the job then tries again, unless that is final.
        """
        self._handlers[purpose] = handler

    async def later(
        self, purpose: str, collection: Collection, payload: Mapping[str, Any], *, unique_key: str = ""
    ) -> None:
        """Add the job; one with the same purpose and `unique_key` that is not finished stands for this too."""
        key = f"{purpose}:{collection.id}:{unique_key}" if unique_key else ""
        body = {"purpose": purpose, "collection": collection.id, **payload}
        await self._jobs.add(KIND, body, unique_key=key, priority=PRIORITY)

    async def send(
        self,
        purpose: str,
        collection: Collection,
        record: Mapping[str, Any],
        template: Template,
        values: Mapping[str, str],
        to: str,
    ) -> bool:
        """Send a mail about a record now; false when it was kept back on purpose. Raises MailNotSent.

        `values` are this mail's own placeholders, with braces and escaped for HTML.
        """
        if collection.name == SUPERUSERS and to == INSTALLER:
            return False  # nobody reads what is sent there
        message = await self._mail.compose(purpose, collection, record, template, values, to)
        if message is None:
            return False
        await self._mail.send(purpose, message)
        return True

    async def _run(self, job: Job) -> None:
        purpose = str(job.payload.get("purpose", ""))
        collection = self._schema.current.by_id.get(str(job.payload.get("collection", "")))
        if collection is None or collection.options is None:
            return  # it was deleted meanwhile, and with it all who could be written to
        handler = self._handlers.get(purpose)
        if handler is None:
            raise GiveUp(f"Nobody sends mails of the purpose {purpose!r}.")
        try:
            await handler(collection, job)
        except MailNotSent as error:
            if error.is_final:
                raise GiveUp(str(error)) from None
            raise
