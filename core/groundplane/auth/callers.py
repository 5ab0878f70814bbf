"""Tokens to the records behind them, and records to tokens."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import asyncpg

from groundplane.auth.queries import select_by_id, select_with_refusal
from groundplane.clock import unix_time
from groundplane.context import Caller
from groundplane.db.engine import Database
from groundplane.db.failures import SchemaChanged
from groundplane.db.lanes import Shape, Values
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
# After this long a token is looked up again: the upper bound for what a lost message could leave unheard, and
# what tells when a session was last used.
REMEMBERED_S = 300.0


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


def file_mark(collection_id: str, record_id: str) -> str:
    """The mark for all file tokens of a record: they live for minutes and have no sessions of their own."""
    return f"file:{collection_id}:{record_id}"


class Remembered(NamedTuple):
    """A token whose signature was right for the asker's proof; whether it is still the record's is not known."""

    asker: Asker
    schema: Schema  # with the secret that was part of the key
    expires: float  # seconds since 1970


class Callers:
    """Finds who sent a request. Reads the record every time, so a changed tokenKey counts at once everywhere.

    A session that was ended alone is one of the refused tokens, which are read together with the record. Only
    `remembered` answers without reading them: so it has to `forget` whose session ends, in every process.
    """

    def __init__(self, db: Database, schema: SchemaCache) -> None:
        self._db = db
        self._schema = schema
        self._remembered: OrderedDict[str, Remembered] = OrderedDict()
        self._forgotten = 0
        self._files_refused: dict[str, float] = {}

    def remembered(self, token: str) -> Asker | None:
        """Whose an auth token was the last time, for a statement that compares the tokenKey itself.

        None when it is not known, has expired, or the schema has changed since: then look it up.
        """
        found = self._remembered.get(token)
        if found is None:
            return None
        if found.schema is not self._schema.current or unix_time() >= found.expires:
            del self._remembered[token]
            return None
        return found.asker

    def forget(self, collection_id: str = "", record_id: str = "") -> None:
        """Look up the tokens of a record again, or all of them: a session may have ended."""
        self._forgotten += 1
        if not collection_id:
            self._remembered.clear()
            return
        whose = [
            token
            for token, each in self._remembered.items()
            if (caller := each.asker.caller) is not None
            and caller.id == record_id
            and caller.collection_id == collection_id
        ]
        for token in whose:
            del self._remembered[token]

    def _remember(
        self, schema: Schema, caller: Caller, token_key: str, version: int, claims: Mapping[str, Any]
    ) -> None:
        if len(caller.token) > MAX_REMEMBERED_LENGTH:
            return
        asker = Asker(caller, token_key, str(version))
        expires = min(claims.get("exp", math.inf), unix_time() + REMEMBERED_S)
        self._remembered[caller.token] = Remembered(asker, schema, expires)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def refuse_files(self, collection_id: str, record_id: str, until: float) -> None:
        """Hear that file tokens of a record that expire up to then (seconds since 1970) are refused."""
        moment = unix_time()
        for key in [key for key, each in self._files_refused.items() if each < moment]:
            del self._files_refused[key]
        self._files_refused[file_mark(collection_id, record_id)] = until

    def file_token(self, collection: Collection, record: Mapping[str, Any], duration_s: int = 0) -> str:
        """A token for protected files, in whole seconds, 0 for the collection's."""
        duration_s = (
            duration_s or token_options(collection.options, FILE).duration if collection.options else 0
        )
        refused = self._files_refused.get(file_mark(collection.id, record["id"]))
        if refused is not None and int(unix_time()) + duration_s <= refused:
            # One of the second in which a session ended would be taken for one of before.
            duration_s = int(refused) + 1 - int(unix_time())
        return issue(collection, record, FILE, duration_s=duration_s)

    def collection(self, name_or_id: str) -> Collection | None:
        """The collection that a token means."""
        return self._schema.current.get(name_or_id)

    async def record(self, collection: Collection, record_id: str) -> dict[str, Any] | None:
        """The stored record with this id, by field name; None when there is none."""
        found = await self._stored(collection, select_by_id(self._schema.current, collection), (record_id,))
        return found[0] if found is not None else None

    async def _stored(
        self, collection: Collection, shape: Shape, values: Values
    ) -> tuple[dict[str, Any], asyncpg.Record] | None:
        """The record whose id is the first value, and the row it is in."""
        record_id = str(values[0])
        if not record_id or "\x00" in record_id:  # a NUL byte cannot be in any stored text
            return None
        if self._db.in_transaction or not record_id.isascii():
            row = await self._db.fetchrow(shape.text, *values)
        else:
            try:
                row = await self._db.rows.row(shape, values)
            except SchemaChanged:
                row = await self._db.fetchrow(shape.text, *values)
        if row is None:
            return None
        record = {
            field.name: field.from_column(value)
            for field, value in zip(collection.fields, row.values(), strict=False)
        }
        return record, row

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
        mark, forgotten = tokens.mark_of(token), self._forgotten
        refusing = file_mark(collection.id, record_id) if token_type == FILE else mark
        shape = select_with_refusal(schema, collection)
        found = await self._stored(collection, shape, (record_id, refusing))
        if found is None:
            return None
        record, row = found
        version, refused_until = row[len(record)], row[len(record) + 1]
        if refused_until is not None and claims.get("exp", math.inf) <= refused_until:
            return None
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
            mark=mark,
        )
        # What was read may be from before the end of a session that this process has just heard of.
        if token_type == AUTH and forgotten == self._forgotten:
            self._remember(schema, caller, record["tokenKey"], version, claims)
        return caller, claims

    async def caller(self, token: str, token_type: str = AUTH) -> Caller | None:
        """The caller behind a token of this type; None makes the request a guest's."""
        if not token:
            return None
        found = await self.from_token(token, token_type)
        return found[0] if found else None
