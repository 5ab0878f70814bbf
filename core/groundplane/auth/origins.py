"""From where a record has signed in before (contract, auth §5.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from groundplane.clock import now, wire_date
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.schema.collection import Collection
from groundplane.security.ids import record_id

QUERIES = load_queries("groundplane.auth")

MAX_ORIGINS = 5  # per record; the oldest make room
MAX_AGENT_BYTES = 200
MAX_SHOWN_AGENT = 500  # characters, in a notice


def fingerprint(info: RequestInfo) -> str:
    """The mark of a place: MD5 of the client's address and user agent, as PocketBase stores it.

    MD5 is no protection here and is not meant as one: imported rows hold it, and who could forge the
    input needs no collision.
    """
    agent = info.headers.get("user_agent", "").encode()
    if len(agent) > MAX_AGENT_BYTES:
        agent = agent[:MAX_AGENT_BYTES] + b"..."
    return hashlib.md5(info.ip.encode() + agent, usedforsecurity=False).hexdigest()


def alert_info(info: RequestInfo) -> str:
    """When and from where, for the notice of a sign-in from a new location."""
    return f"{wire_date(now())} - {info.ip} {info.headers.get('user_agent', '')[:MAX_SHOWN_AGENT]}"


async def is_new(db: Database, collection: Collection, record: Mapping[str, Any], info: RequestInfo) -> bool:
    """Whether this record has signed in before, but never from there."""
    owner = (collection.id, record["id"])
    return bool(await db.fetchval(QUERIES["is_new_origin"], *owner, fingerprint(info)))


async def remember(
    db: Database, collection: Collection, record: Mapping[str, Any], info: RequestInfo
) -> None:
    """Note where this sign-in came from."""
    owner = (collection.id, record["id"])
    mark, moment = fingerprint(info), now()
    if await db.fetchval(QUERIES["touch_origin"], *owner, mark, moment) is not None:
        return
    async with db.transaction():
        known = await db.fetchval(QUERIES["count_origins"], *owner)
        await db.execute(QUERIES["add_origin"], record_id(), *owner, mark, moment)
        if known >= MAX_ORIGINS:
            await db.execute(QUERIES["trim_origins"], *owner, MAX_ORIGINS)
