"""Whose account a person at a provider signs in to, and what becomes of it (contract, auth §7.2).

An account is only as safe as the way in which it was got. Where its address was never proven, whoever made
it may not be whom the provider knows by that address: the password and every link from before are taken away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from groundplane.auth.callers import Callers
from groundplane.auth.providers import OAuthUser
from groundplane.auth.queries import lock_record, select_by_identity
from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import REQUIRED, FieldError, Invalid, NotFound
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events_oauth import OAuthLink
from groundplane.records.accounts import EXTERNALS, forget
from groundplane.records.service import Records
from groundplane.records.values import Submitted, UploadedFile
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.fields.file import FileField
from groundplane.schema.fields.text import TextField
from groundplane.schema.indexes import is_single_unique, unique_nocase
from groundplane.schema.options import MappedFields
from groundplane.security.ids import secret
from groundplane.security.passwords import hash_password

QUERIES = load_queries("groundplane.auth", "oauth.sql")

FAILED = "Failed to authenticate."
NOT_UNIQUE = FieldError("validation_not_unique", "Value must be unique.")
UNUSABLE = FieldError("validation_invalid_format", "Invalid value format.")
MAX_ID_CHARS = 1000
PASSWORD_LENGTH = 30

By: TypeAlias = Literal["link", "caller", "email"]
Uploads: TypeAlias = "Sequence[tuple[str, UploadedFile]]"


class Found(NamedTuple):
    record: dict[str, Any]
    by: By


class Visitor(NamedTuple):
    """Who signs in through which provider, and what they want a new account to be made of.

    `uploads` are for a new account; `may_create` is asked before one is made, and raises.
    """

    collection: Collection
    provider: str
    user: OAuthUser
    create_data: Mapping[str, Any]
    info: RequestInfo
    may_create: Callable[[], Awaitable[None]]
    uploads: Uploads = ()


class OAuthAccounts:
    """Finds, makes and links accounts; each sign-in is one transaction."""

    def __init__(
        self, db: Database, schema: SchemaCache, records: Records, callers: Callers, hooks: Hooks
    ) -> None:
        self._db = db
        self._schema = schema
        self._records = records
        self._callers = callers
        self._hooks = hooks

    async def find(self, visitor: Visitor) -> Found | None:
        """The account that a person signs in to; None when one is to be made. Raises NotFound for a lost one."""
        collection = visitor.collection
        link = await self._db.fetchrow(QUERIES["find_link"], collection.id, visitor.provider, visitor.user.id)
        if link is not None:
            record = await self._callers.record(collection, link["recordRef"])
            if record is None:
                raise NotFound()
            return Found(record, "link")
        caller = owner_of(visitor)
        if caller is not None:
            record = await self._callers.record(collection, caller.id)
            if record is None:
                raise Invalid(FAILED)
            return Found(record, "caller")
        if visitor.user.email:
            record = await self._by_email(collection, visitor.user.email)
            if record is not None:
                return Found(record, "email")
        return None

    async def settle(self, visitor: Visitor) -> tuple[dict[str, Any], bool]:
        """The account, changed and linked as it must be, and whether it is new; raises GroundplaneError."""
        return await self._records.again(lambda schema: self._settle(schema, visitor))

    async def _settle(self, schema: Schema, visitor: Visitor) -> tuple[dict[str, Any], bool]:
        collection = schema.find(visitor.collection.id)
        visitor = visitor._replace(collection=collection)
        async with self._db.transaction():
            await self._db.execute(QUERIES["lock"], sorted(locks(visitor)))
            found = await self.find(visitor)
            if found is None:
                record = await self._create(visitor)
                await self._link(visitor, record, "sign_up")
                return record, True
            record, is_linked = await self._secured(schema, visitor, found)
            if not is_linked:
                if await self._db.fetchval(
                    QUERIES["has_link"], collection.id, record["id"], visitor.provider
                ):
                    raise Invalid(
                        FAILED, dict.fromkeys(("collectionRef", "provider", "recordRef"), NOT_UNIQUE)
                    )
                await self._link(visitor, record, found.by)
            return record, False

    async def _secured(self, schema: Schema, visitor: Visitor, found: Found) -> tuple[dict[str, Any], bool]:
        """Take away what others may have put into an unverified account; returns it and whether the link stands."""
        collection, user = visitor.collection, visitor.user
        id: str = found.record["id"]
        await self._db.execute(lock_record(collection), id)
        record = await self._callers.record(collection, id)
        if record is None or (found.by == "email" and record["email"] != found.record["email"]):
            raise Invalid(FAILED)  # it was deleted, or changed its address, just now
        caller = owner_of(visitor)
        is_own = caller is not None and caller.id == id
        is_linked = found.by == "link"
        changes: dict[str, Any] = {}
        if not record["verified"]:
            if not is_own:
                changes["password"] = await hash_password(secret(PASSWORD_LENGTH))
            await forget(self._db, schema, EXTERNALS, collection, id)
            is_linked = False
        email: str = record["email"]
        if not email and user.email:
            self._check_email(collection, user.email)
            changes["email"] = email = user.email
        if not record["verified"] and (not email or is_same_address(collection, email, user.email)):
            changes["verified"] = True
        if not changes:
            return record, is_linked
        try:
            return await self._records.save_fields(collection, id, changes), is_linked
        except Invalid as error:
            raise Invalid(FAILED, error.data) from None

    def _check_email(self, collection: Collection, email: str) -> None:
        field = collection.field("email")
        error = field.check(email) if field is not None else None
        if error is not None:
            raise Invalid(FAILED, {"email": error})

    async def _create(self, visitor: Visitor) -> dict[str, Any]:
        """Make an account as a request of the caller would, with what the provider knows added to it."""
        collection, user = visitor.collection, visitor.user
        if collection.is_superusers:
            raise Invalid(FAILED)
        await visitor.may_create()
        values = await self._values(visitor)
        info = msgspec.structs.replace(visitor.info, context="oauth2", method="POST", body=values)
        answer = await self._records.create(collection.id, Submitted(values, visitor.uploads), {}, info)
        record = await self._callers.record(collection, answer.record["id"])
        if record is None:
            raise Invalid(FAILED)
        if record["email"] == user.email and not record["verified"]:
            record = await self._records.save_fields(collection, record["id"], {"verified": True})
        return record

    async def _values(self, visitor: Visitor) -> dict[str, Any]:
        """What the new account is made of: the client's data, then what it leaves out of the profile."""
        collection, user = visitor.collection, visitor.user
        values = dict(visitor.create_data)
        if not isinstance(values.get("email"), str) or not values["email"]:
            values["email"] = user.email
        mapped = mapped_fields(collection)
        if mapped.id:
            values.setdefault(mapped.id, user.id)
        if mapped.name:
            values.setdefault(mapped.name, user.name)
        if mapped.username and mapped.username not in values:
            field = collection.field(mapped.username)
            if isinstance(field, TextField) and await self._is_free(collection, field, user.username):
                values[mapped.username] = user.username
        if mapped.avatarURL and user.avatar_url and not wants_avatar_file(collection):
            values.setdefault(mapped.avatarURL, user.avatar_url)
        return values

    async def _is_free(self, collection: Collection, field: TextField, username: str) -> bool:
        """Whether a field takes a name that nobody else has, where nobody else may."""
        if not username or field.check(username) is not None:
            return False
        if not is_single_unique(collection, field.name):
            return True
        nocase = unique_nocase(collection, field.name)
        statement = select_by_identity(collection, field, nocase=nocase)
        return await self._db.fetchrow(statement, username) is None

    async def _link(
        self, visitor: Visitor, record: Mapping[str, Any], by: Literal["link", "sign_up", "caller", "email"]
    ) -> None:
        """Write down that this person may sign in to this account; a link that was there is only renewed."""
        collection = visitor.collection
        if by != "link" and self._hooks.oauth_link:
            event = OAuthLink(collection, visitor.provider, visitor.user, dict(record), by, visitor.info)
            await self._hooks.oauth_link(collection, event=event)
        values = {
            "collectionRef": collection.id,
            "recordRef": record["id"],
            "provider": visitor.provider,
            "providerId": visitor.user.id,
        }
        try:
            await self._records.create_internal(self._schema.current.find(EXTERNALS), values)
        except Invalid as error:
            raise Invalid(FAILED, error.data) from None

    async def _by_email(self, collection: Collection, email: str) -> dict[str, Any] | None:
        field = collection.field("email")
        if field is None:
            return None
        nocase = unique_nocase(collection, "email")
        row = await self._db.fetchrow(select_by_identity(collection, field, nocase=nocase), email)
        if row is None:
            return None
        return {
            each.name: each.from_column(stored)
            for each, stored in zip(collection.fields, row.values(), strict=True)
        }


def is_same_address(collection: Collection, one: str, other: str) -> bool:
    """Whether two addresses are one for the collection, whose unique index may fold ASCII letters."""
    if not unique_nocase(collection, "email"):
        return one == other
    return one.encode().lower() == other.encode().lower()


def owner_of(visitor: Visitor) -> Caller | None:
    """Who asks with the token of an account of this collection; a program's key links nothing."""
    caller = visitor.info.caller
    if caller is None or caller.key or caller.collection_id != visitor.collection.id:
        return None
    return caller


def check_id(user: OAuthUser) -> None:
    """Refuse a profile that does not say who it is of; raises Invalid."""
    if not user.id:
        raise Invalid(FAILED, {"providerId": REQUIRED})
    if len(user.id) > MAX_ID_CHARS or "\x00" in user.id:
        raise Invalid(FAILED, {"providerId": UNUSABLE})


def locks(visitor: Visitor) -> set[int]:
    """What two sign-ins of one person have in common: who they are at the provider, and their address."""
    scope = visitor.collection.id
    keys = [f"oauth\0{scope}\0{visitor.provider}\0{visitor.user.id}"]
    if visitor.user.email:
        keys.append(f"oauth\0{scope}\0{visitor.user.email.lower()}")
    return {int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], signed=True) for key in keys}


def mapped_fields(collection: Collection) -> MappedFields:
    return collection.options.oauth2.mappedFields if collection.options is not None else MappedFields()


def wants_avatar_file(collection: Collection) -> FileField | None:
    """The file field that pictures of profiles go to; None when their address is stored, or nothing."""
    field = collection.field(mapped_fields(collection).avatarURL)
    return field if isinstance(field, FileField) else None
