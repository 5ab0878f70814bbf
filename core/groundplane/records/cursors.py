"""Where a page ended, as a text that only this server can read: `cursor` paging.

A cursor holds the sort keys of the last record that was shown, so that the next page begins behind them however
many records have come or gone in front. The keys may say what the client may not see (an address that is
hidden), so they are encrypted; collection, filter and sort belong to what is authenticated.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from groundplane.context import SUPERUSERS
from groundplane.db.sql import Args
from groundplane.errors import Invalid
from groundplane.query.sort import SortKey
from groundplane.records.paging import ListRequest
from groundplane.records.queries import all_of
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

NONCE_BYTES = 12
MAX_CURSOR_LENGTH = 8192  # characters, as it travels in an address
BAD_CURSOR = "The cursor does not belong to this list."
NO_ORDER = "A list in random order, or of a view, has no cursor."
TOO_LONG = "The values of this sort are too long for a cursor."
# Where nobody has installed the superusers' collection there is one process, and nothing to keep secret.
NO_SECRET = os.urandom(32).hex()

Values = list[str | None]


def cursor_of(schema: Schema, collection: Collection, ask: ListRequest, values: Sequence[str | None]) -> str:
    """The cursor behind a record with these sort keys, each as PostgreSQL writes it; raises Invalid."""
    nonce = os.urandom(NONCE_BYTES)
    plain = msgspec.json.encode(list(values))
    sealed = nonce + cipher(schema).encrypt(nonce, plain, about(collection, ask))
    cursor = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
    if len(cursor) > MAX_CURSOR_LENGTH:
        raise Invalid(TOO_LONG)
    return cursor


def values_of(schema: Schema, collection: Collection, ask: ListRequest) -> Values:
    """The sort keys in the request's cursor; raises Invalid for one of another list, or of nobody."""
    cursor = ask.cursor or ""
    if len(cursor) > MAX_CURSOR_LENGTH or not cursor.isascii():
        raise Invalid(BAD_CURSOR)
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return msgspec.json.decode(cipher(schema).decrypt(nonce, text, about(collection, ask)), type=Values)
    except (binascii.Error, InvalidTag, ValueError):
        raise Invalid(BAD_CURSOR) from None


def cipher(schema: Schema) -> AESGCM:
    """All processes have the superusers' secret; with another one, cursors end as sessions do."""
    superusers = schema.get(SUPERUSERS)
    options = superusers.options if superusers is not None else None
    secret = options.auth_token.secret if options is not None else NO_SECRET
    return AESGCM(hashlib.sha256(b"cursor\x00" + secret.encode()).digest())


def about(collection: Collection, ask: ListRequest) -> bytes:
    return msgspec.json.encode([collection.id, ask.filter, ask.sort])


def behind(keys: Sequence[SortKey], values: Sequence[str | None], args: Args) -> str:
    """SQL of "sorted behind these values"; raises Invalid when they are not those of the keys.

    NULL is before everything. The first key is compared by itself as well, for its index.
    """
    if len(values) != len(keys):
        raise Invalid(BAD_CURSOR)
    ways: list[str] = []
    same: list[str] = []
    for key, value in zip(keys, values, strict=True):
        if value is None:
            later = "false" if key.descending else f"{key.sql} IS NOT NULL"
            equal = f"{key.sql} IS NULL"
        else:
            mark = f"{args.add(value)}::text::{key.type}"
            later = f"{key.sql} {'<' if key.descending else '>'} {mark}"
            if key.descending and key.nullable:
                later = f"({later} OR {key.sql} IS NULL)"
            equal = f"{key.sql} = {mark}"
        ways.append(all_of(*same, later))
        same.append(equal)
    bound = ""
    if values[0] is not None and not (keys[0].descending and keys[0].nullable):
        sign = "<=" if keys[0].descending else ">="
        bound = f"{keys[0].sql} {sign} {args.add(values[0])}::text::{keys[0].type}"
    return all_of(bound, " OR ".join(ways))
