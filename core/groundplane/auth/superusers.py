"""Superusers from the command line, and the link with which the first one is made (contract, auth §10)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, NamedTuple

from groundplane.auth.callers import Callers, issue
from groundplane.clock import now
from groundplane.context import SUPERUSERS
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import Invalid, NotFound
from groundplane.events.changes import Change, ChangeAction, Changes
from groundplane.schema.addresses import is_email
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.security.ids import record_id, secret
from groundplane.security.passwords import hash_password

QUERIES = load_queries("groundplane.auth")

INSTALLER_EMAIL = "__pbinstaller@example.com"
SETUP_DURATION_S = 30 * 60
LAST_ONE = "You can't delete the only existing superuser."
SETUP_LOCK = int.from_bytes(hashlib.sha256(b"groundplane.setup").digest()[:7])


class Superuser(NamedTuple):
    id: str
    email: str
    created: datetime | None


class Superusers:
    """Every verb is one transaction; messages are for the person at the terminal."""

    def __init__(self, db: Database, schema: SchemaCache, changes: Changes) -> None:
        self._db = db
        self._schema = schema
        self._changes = changes
        self._callers = Callers(db, schema)

    @property
    def collection(self) -> Collection:
        return self._schema.current.find(SUPERUSERS)

    async def all(self) -> list[Superuser]:
        """Every superuser but the installer, oldest first."""
        rows = await self._db.fetch(QUERIES["superusers"], INSTALLER_EMAIL)
        return [Superuser(row["id"], row["email"], row["created"]) for row in rows]

    async def upsert(self, email: str, password: str) -> bool:
        """Create a superuser, or give an existing one a new password and end its sessions; True when created.

        Raises Invalid for an address or password that the collection does not take.
        """
        self._check(email, password)
        hashed, moment = await hash_password(password), now()
        async with self._db.transaction():
            await self._db.execute(QUERIES["lock_superusers"])
            row = await self._db.fetchrow(QUERIES["superuser_by_email"], email)
            if row is None:
                id = record_id()
                await self._db.execute(QUERIES["add_superuser"], id, hashed, secret(), email, moment)
                await self._tell("create", await self._wanted("create", id))
            else:
                before = await self._wanted("update", row["id"])
                await self._db.execute(QUERIES["set_superuser_password"], row["id"], hashed, secret(), moment)
                # A stream that acts as this superuser must not go on as one.
                await self._tell("update", await self._wanted("update", row["id"]), before)
                await self._forget(row["id"], "mfas", "otps", "origins")
            if email != INSTALLER_EMAIL:
                await self._delete_installer()
        return row is None

    async def delete(self, email: str) -> None:
        """Raises NotFound, and Invalid for the last one."""
        async with self._db.transaction():
            await self._db.execute(QUERIES["lock_superusers"])
            row = await self._db.fetchrow(QUERIES["superuser_by_email"], email)
            if row is None:
                raise NotFound(f"There is no superuser {email}.")
            if len(await self.all()) < 2 and email != INSTALLER_EMAIL:
                raise Invalid(LAST_ONE)
            await self._delete(row["id"])

    async def setup_link(self, base_url: str) -> str | None:
        """A link, good for 30 minutes, to make the first superuser with; None when there is one already."""
        async with self._db.transaction():
            if await self._db.fetchval(QUERIES["has_superuser"], INSTALLER_EMAIL):
                return None
            await self._db.execute("SELECT pg_advisory_xact_lock($1)", SETUP_LOCK)
            row = await self._db.fetchrow(QUERIES["superuser_by_email"], INSTALLER_EMAIL)
            if row is None:
                # Nobody is told this password; the link's token is the only way in.
                hashed = await hash_password(secret())
                await self._db.execute(
                    QUERIES["add_superuser"], record_id(), hashed, secret(), INSTALLER_EMAIL, now()
                )
                row = await self._db.fetchrow(QUERIES["superuser_by_email"], INSTALLER_EMAIL)
            record = await self._callers.record(self.collection, row["id"] if row is not None else "")
        if record is None:
            return None
        token = issue(self.collection, record, duration_s=SETUP_DURATION_S, refreshable=False)
        return f"{base_url.rstrip('/')}/_/#/pbinstall/{token}"

    def _check(self, email: str, password: str) -> None:
        if not is_email(email) or len(email) > 255:
            raise Invalid(f"{email} is not an e-mail address.")
        field = self.collection.field("password")
        error = field.check(password) if field is not None else None
        if error is not None:
            raise Invalid(f"The password cannot be used: {error.message}")
        if not password:
            raise Invalid("The password must not be empty.")

    async def _delete_installer(self) -> None:
        row = await self._db.fetchrow(QUERIES["superuser_by_email"], INSTALLER_EMAIL)
        if row is not None:
            await self._delete(row["id"])

    async def _delete(self, superuser_id: str) -> None:
        record = await self._wanted("delete", superuser_id)
        if record is not None:
            await self._changes.deleting(self.collection, [record])
        await self._db.execute(QUERIES["delete_superuser"], superuser_id)
        await self._tell("delete", record)
        await self._forget(superuser_id, "mfas", "otps", "origins", "externals")

    async def _wanted(self, action: ChangeAction, superuser_id: str) -> dict[str, Any] | None:
        """The stored record where somebody listens to such changes."""
        if not self._changes.concerns(self.collection, action):
            return None
        return await self._callers.record(self.collection, superuser_id)

    async def _tell(
        self, action: ChangeAction, record: dict[str, Any] | None, before: dict[str, Any] | None = None
    ) -> None:
        if record is not None:
            change = Change(action=action, collection=self.collection, record=record, before=before)
            await self._changes.tell(change)

    async def _forget(self, superuser_id: str, *kinds: str) -> None:
        for kind in kinds:
            await self._db.execute(QUERIES[f"forget_{kind}"], self.collection.id, superuser_id)
