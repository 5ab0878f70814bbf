"""Tokens to the records behind them, and records to tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from groundplane.auth.queries import select_by_id
from groundplane.clock import unix_time
from groundplane.context import Caller
from groundplane.db.engine import Database
from groundplane.db.failures import SchemaChanged
from groundplane.records.quick import Asker
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.options import AuthOptions, TokenOptions
from groundplane.security import tokens

AUTH, FILE, VERIFICATION, PASSWORD_RESET, EMAIL_CHANGE = TYPES = (
    "auth",
    "file",
    "verification",
    "passwordReset",
    "emailChange",
)


MAX_REMEMBERED = 4096  # tokens
MAX_REMEMBERED_LENGTH = 1024  # characters


def token_options(options: AuthOptions, token_type: str) -> TokenOptions:
    """The collection's part of the key, and the lifetime, for one type of token."""
    return {
        AUTH: options.auth_token,
        FILE: options.file_token,
        VERIFICATION: options.verification_token,
        PASSWORD_RESET: options.password_reset_token,
        EMAIL_CHANGE: options.email_change_token,
    }[token_type]


def issue(
    collection: Collection,
    record: Mapping[str, Any],
    token_type: str = AUTH,
    *,
    duration_s: int = 0,
    **claims: Any,
) -> str:
    """Sign a token for a stored record of an auth collection (contract, auth §3.1).

    `duration_s` 0 is the collection's own. `claims` are those that the type has beside id, collectionId,
    exp and type (`refreshable` is True when an auth token says nothing else).
    """
    if collection.options is None:
        raise ValueError("only records of auth collections have tokens")
    options = token_options(collection.options, token_type)
    if token_type == AUTH:
        claims.setdefault("refreshable", True)
    elif token_type != FILE:
        claims.setdefault("email", record["email"])
    claims |= {
        "id": record["id"],
        "collectionId": collection.id,
        "type": token_type,
        "exp": int(unix_time()) + (duration_s or options.duration),
    }
    return tokens.sign(claims, record["tokenKey"] + options.secret)


class Remembered(NamedTuple):
    """A token whose signature was right for the asker's proof; whether it is still the record's is not known."""

    asker: Asker
    schema: Schema  # with the secret that was part of the key
    expires: float | None  # seconds since 1970


class Callers:
    """Finds who sent a request. Reads the record every time, so a changed tokenKey counts at once everywhere."""

    def __init__(self, db: Database, schema: SchemaCache) -> None:
        self._db = db
        self._schema = schema
        self._remembered: OrderedDict[str, Remembered] = OrderedDict()

    def remembered(self, token: str) -> Asker | None:
        """Whose an auth token was the last time, for a statement that compares the tokenKey itself.

        None when it is not known, has expired, or the schema has changed since: then look it up.
        """
        found = self._remembered.get(token)
        if found is None:
            return None
        if found.schema is not self._schema.current or (
            found.expires is not None and unix_time() >= found.expires
        ):
            del self._remembered[token]
            return None
        return found.asker

    def _remember(
        self, schema: Schema, caller: Caller, token_key: str, version: int, claims: Mapping[str, Any]
    ) -> None:
        if len(caller.token) > MAX_REMEMBERED_LENGTH:
            return
        asker = Asker(caller, token_key, str(version))
        self._remembered[caller.token] = Remembered(asker, schema, claims.get("exp"))
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def record(self, collection: Collection, record_id: str) -> dict[str, Any] | None:
        """The stored record with this id, by field name; None when there is none."""
        found = await self._stored(self._schema.current, collection, record_id)
        return found[0] if found is not None else None

    async def _stored(
        self, schema: Schema, collection: Collection, record_id: str
    ) -> tuple[dict[str, Any], int] | None:
        """The record with this id and its version."""
        if not record_id or "\x00" in record_id:  # a NUL byte cannot be in any stored text
            return None
        shape = select_by_id(schema, collection)
        if self._db.in_transaction or not record_id.isascii():
            row = await self._db.fetchrow(shape.text, record_id)
        else:
            try:
                row = await self._db.rows.row(shape, (record_id,))
            except SchemaChanged:
                row = await self._db.fetchrow(shape.text, record_id)
        if row is None:
            return None
        record = {
            field.name: field.from_column(value)
            for field, value in zip(collection.fields, row.values(), strict=False)
        }
        return record, row[len(record)]

    async def from_token(self, token: str, *types: str) -> tuple[Caller, dict[str, Any]] | None:
        """The record behind a valid token of one of these types, and the claims; None for any other token."""
        claims = tokens.read_unverified(token)
        if claims is None:
            return None
        record_id, collection_id, token_type = (claims.get(key) for key in ("id", "collectionId", "type"))
        if not (
            isinstance(record_id, str) and isinstance(collection_id, str) and isinstance(token_type, str)
        ):
            return None
        if token_type not in types or token_type not in TYPES or not collection_id:
            return None
        schema = self._schema.current
        collection = schema.get(collection_id)
        if collection is None or collection.options is None:
            return None
        found = await self._stored(schema, collection, record_id)
        if found is None:
            return None
        record, version = found
        key = record["tokenKey"] + token_options(collection.options, token_type).secret
        if not record["tokenKey"] or not tokens.verify(token, key):
            return None
        caller = Caller(
            id=record["id"],
            collection_id=collection.id,
            collection_name=collection.name,
            record=record,
            refreshable=claims.get("refreshable") is True,
            token=token,
        )
        if token_type == AUTH:
            self._remember(schema, caller, record["tokenKey"], version, claims)
        return caller, claims

    async def caller(self, token: str, token_type: str = AUTH) -> Caller | None:
        """The caller behind a token of this type; None makes the request a guest's."""
        if not token:
            return None
        found = await self.from_token(token, token_type)
        return found[0] if found else None
