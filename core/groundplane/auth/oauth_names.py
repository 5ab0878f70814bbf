"""The name that Apple tells once, beside the code: kept for the moment until the code is exchanged."""

from __future__ import annotations

import hashlib

from groundplane.db.engine import Database
from groundplane.db.sql import load_queries

QUERIES = load_queries("groundplane.auth", "oauth.sql")

KEPT_S = 60
MAX_NAME_BYTES = 150


def fingerprint(code: str) -> str:
    """What stands for a code in the table: nobody who reads the one can exchange the other."""
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()


async def keep_name(db: Database, code: str, first: str, last: str) -> None:
    """Remember a name for a minute; in the database, because another process may exchange the code."""
    name = (
        " ".join(part.strip() for part in (first, last))
        .replace("\x00", "")
        .strip()
        .encode("utf-8", "replace")
    )
    text = name[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip()
    await db.execute(QUERIES["forget_names"])
    if text:
        await db.execute(QUERIES["keep_name"], fingerprint(code), text, KEPT_S)


async def take_name(db: Database, code: str) -> str:
    """The name that came with a code, once; "" when there was none or it is too late."""
    return await db.fetchval(QUERIES["take_name"], fingerprint(code)) or ""
