"""`Idempotency-Key`: a create that is sent twice happens once and is answered the same."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import msgspec

from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import Conflict, Invalid
from groundplane.records.values import NewFile, Submitted
from groundplane.schema.collection import Collection

QUERIES = load_queries("groundplane.records")
MAX_KEY_BYTES = 255
LIFETIME = timedelta(hours=24)
CHUNK_BYTES = 256 * 1024


class Claim(NamedTuple):
    """A key with the one it belongs to: the same caller (a guest: the same address) in the same collection."""

    key: str
    caller: str
    collection: str
    body_hash: bytes


async def claim_of(
    key: str, collection: Collection, info: RequestInfo, sent: Submitted, query: Mapping[str, str]
) -> Claim:
    """Read the header; raises Invalid when it is malformed. Call it before the transaction: files are read."""
    if len(key.encode("utf-8", "replace")) > MAX_KEY_BYTES or "\x00" in key:
        raise Invalid("The Idempotency-Key is too long or malformed.")
    caller = info.caller
    owner = f"{caller.collection_id}/{caller.id}" if caller is not None else f"guest/{info.ip}"
    return Claim(key, owner, collection.id, await asyncio.to_thread(digest, sent, query))


def digest(sent: Submitted, query: Mapping[str, str]) -> bytes:
    """Sum up what was asked: the body's values and files, and the parameters of the answer."""
    total = hashlib.sha256(msgspec.json.encode([sent.values, dict(query)], order="deterministic"))
    for key, sent_file in sent.uploads:
        upload = sent_file.upload if isinstance(sent_file, NewFile) else sent_file
        total.update(f"\x00{key}\x00{upload.filename}\x00{upload.size}\x00".encode("utf-8", "replace"))
        upload.file.seek(0)
        while chunk := upload.file.read(CHUNK_BYTES):
            total.update(chunk)
        upload.file.seek(0)
    return total.digest()


async def take(db: Database, claim: Claim) -> bytes | None:
    """Take the key for this transaction, or return the answer that was stored under it.

    A second request with the key waits here until the first has committed or rolled back. Raises Conflict
    when the key was used for another body.
    """
    moment = now()
    owner = claim.key, claim.caller, claim.collection
    if await db.fetchval(QUERIES["take"], *owner, claim.body_hash, moment, moment - LIFETIME):
        await db.execute(QUERIES["sweep"], moment - LIFETIME)
        return None
    row = await db.fetchrow(QUERIES["stored"], *owner)
    if row is None or row["body_hash"] != claim.body_hash:
        raise Conflict("The Idempotency-Key was already used for another request.")
    answer: bytes = row["response"]
    return answer


async def keep(db: Database, claim: Claim, status: int, answer: bytes) -> None:
    """Store the answer beside the key; it commits or vanishes with the record."""
    await db.execute(QUERIES["keep"], claim.key, claim.caller, claim.collection, status, answer)
