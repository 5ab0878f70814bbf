"""Mailed links that sign in, once.

A request for one does the same whether there is such an account or not: a job looks, makes the link and mails it.
A link can be bound to the browser that asked: then it takes what only that browser was told as well, and whoever
reads the mail elsewhere cannot use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from groundplane.auth.attempts import QUERIES
from groundplane.auth.callers import Callers
from groundplane.auth.counters import Counters
from groundplane.auth.forms import BAD_DATA, email_error
from groundplane.auth.identities import find_by_email
from groundplane.auth.mails import AccountMails
from groundplane.auth.sessions import signer_of
from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.errors import Forbidden, Invalid
from groundplane.jobs.job import Job
from groundplane.schema.collection import Collection
from groundplane.security import passwords
from groundplane.security.ids import equal, secret

if TYPE_CHECKING:
    from groundplane.records.service import Records

PURPOSE = "magic-link"
NOT_ALLOWED = "The collection is not configured to allow mailed links."
BAD_LINK = "Invalid or expired link."
WINDOW = timedelta(minutes=5)
MAX_LINKS = 3  # mailed to one account in a window
MAX_TOKEN = 500  # characters


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


class MagicLinks:
    """The verbs of mailed links."""

    def __init__(
        self, db: Database, records: Records, callers: Callers, mails: AccountMails, counters: Counters
    ) -> None:
        self._db = db
        self._records = records
        self._callers = callers
        self._mails = mails
        self._counters = counters
        mails.register(PURPOSE, self._mail_link)

    def collection_of(self, token: str) -> Collection | None:
        """The collection that a token names, which proves nothing; None when it names none that takes links."""
        collection = self._callers.collection(token.partition(".")[0])
        if collection is None or collection.options is None or not collection.options.magic_link.enabled:
            return None
        return collection

    async def request(self, collection: Collection, email: str, *, same_browser: bool) -> str:
        """Have a link mailed, if there is such an account; returns what the browser has to show, or ""."""
        require_allowed(collection)
        if error := email_error(email):
            raise Invalid(BAD_DATA, {"email": error})
        browser_key = secret() if same_browser else ""
        browser = hash_of(browser_key) if same_browser else ""
        await self._mails.later(PURPOSE, collection, {"email": email, "browser": browser})
        return browser_key

    async def _mail_link(self, collection: Collection, job: Job) -> None:
        record = await find_by_email(self._db, collection, str(job.payload["email"]))
        options = collection.options.magic_link if collection.options is not None else None
        if record is None or options is None or not options.enabled:
            return
        if job.runs == 1:
            key = f"{PURPOSE}:{collection.id}:{record['id']}"
            if await self._counters.count(key, WINDOW) > MAX_LINKS:
                return
        # The page behind the link has to know the collection.
        token, moment = f"{collection.id}.{secret()}", now()
        await self._db.execute(
            QUERIES["add_link"],
            hash_of(token),
            collection.id,
            record["id"],
            signer_of(collection, record),
            record["email"],
            str(job.payload.get("browser", "")),
            moment,
            moment + timedelta(seconds=options.duration),
        )
        template, values = options.email_template, {"{TOKEN}": token}
        await self._mails.send(PURPOSE, collection, record, template, values, record["email"])

    async def prove(self, collection: Collection, token: str, browser_key: str) -> dict[str, Any]:
        """Use up a link; returns the record that it was mailed to. Raises Invalid, with one answer for all."""
        require_allowed(collection)
        row = None
        if len(token) <= MAX_TOKEN:
            row = await self._db.fetchrow(QUERIES["link"], hash_of(token), collection.id)
        record = await self._callers.record(collection, row["record"]) if row is not None else None
        if row is None or record is None or row["expires"] <= now():
            raise Invalid(BAD_LINK)
        # Another password or address since then ends what was mailed before.
        if row["signed_by"] != signer_of(collection, record) or row["email"] != record["email"]:
            raise Invalid(BAD_LINK)
        if row["browser"] and not equal(row["browser"], hash_of(browser_key)):
            raise Invalid(BAD_LINK)
        # Of two requests with the same link one wins.
        if await self._db.fetchval(QUERIES["take_link"], hash_of(token)) is None:
            raise Invalid(BAD_LINK)
        return record if record["verified"] else await self._verify(collection, record)

    async def _verify(self, collection: Collection, record: Mapping[str, Any]) -> dict[str, Any]:
        """The address is proven; whoever set a password before that need not be its owner."""
        changes: dict[str, Any] = {"verified": True}
        if collection.options is None or not collection.options.mfa.enabled:
            changes["password"] = await passwords.hash_password(secret())
        return await self._records.save_fields(collection, record["id"], changes)


def require_allowed(collection: Collection) -> None:
    if collection.options is None or not collection.options.magic_link.enabled:
        raise Forbidden(NOT_ALLOWED)
