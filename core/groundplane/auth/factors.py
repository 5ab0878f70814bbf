"""The second factor: a sign-in that waits for another method (contract, auth §5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from groundplane.auth.rules import BadRule, meets
from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import Invalid
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.security.ids import record_id

QUERIES = load_queries("groundplane.auth")

BAD_SESSION = "Invalid MFA session."
ENDED_SESSION = "Invalid or expired MFA session."
SAME_METHOD = "A different authentication method is required."
FAILED = "Failed to authenticate."
# A mailed link proves what a mailed code proves, and a recovery code stands for the code generator.
FAMILIES = {"magicLink": "otp", "recoveryCode": "totp"}
DEFAULT_DURATION_S = 600  # where a collection that was something else before has none


async def is_needed(
    db: Database, schema: Schema, collection: Collection, record: Mapping[str, Any], info: RequestInfo
) -> bool:
    """Whether this record needs two methods; a rule that cannot be evaluated refuses the sign-in."""
    options = collection.options
    if options is None or not options.mfa.enabled:
        return False
    if not options.mfa.rule:
        return True
    try:
        return await meets(db, schema, collection, record["id"], options.mfa.rule, info)
    except BadRule:
        raise Invalid(FAILED) from None


async def begin(db: Database, collection: Collection, record: Mapping[str, Any], method: str) -> str:
    """Remember that the first method succeeded; returns the id the client shows with the second."""
    mfa_id = record_id()
    await db.execute(QUERIES["add_mfa"], mfa_id, collection.id, record["id"], method, now())
    return mfa_id


async def owner(db: Database, mfa_id: str) -> tuple[str, str] | None:
    """The ids of the collection and the record whose sign-in waits for a second factor; None for none."""
    row = None if not mfa_id or "\x00" in mfa_id else await db.fetchrow(QUERIES["find_mfa"], mfa_id)
    return None if row is None else (row["collectionRef"], row["recordRef"])


async def complete(
    db: Database, collection: Collection, record: Mapping[str, Any], method: str, mfa_id: str
) -> None:
    """Use up a first factor; raises Invalid when it is not one of this record, or of the same method."""
    row = None if "\x00" in mfa_id else await db.fetchrow(QUERIES["find_mfa"], mfa_id)
    if row is None:
        raise Invalid(ENDED_SESSION)
    duration_s = collection.options.mfa.duration if collection.options is not None else 0
    duration_s = duration_s or DEFAULT_DURATION_S
    if row["created"] is None or now() - row["created"] > timedelta(seconds=duration_s):
        await db.execute(QUERIES["take_mfa"], mfa_id)
        raise Invalid(ENDED_SESSION)
    if (row["collectionRef"], row["recordRef"]) != (collection.id, record["id"]):
        raise Invalid(BAD_SESSION)
    if FAMILIES.get(row["method"], row["method"]) == FAMILIES.get(method, method):
        raise Invalid(SAME_METHOD)
    if await db.fetchval(QUERIES["take_mfa"], mfa_id) is None:
        raise Invalid(ENDED_SESSION)
