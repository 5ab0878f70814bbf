"""What is special about saving auth records: who may set what, and which sessions end (contract, auth §3.4)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from groundplane.db.engine import Database
from groundplane.errors import REQUIRED, FieldError
from groundplane.records.plan import Plan
from groundplane.records.queries import delete_refs, lock_related
from groundplane.records.values import Resolved
from groundplane.schema.cache import Schema
from groundplane.schema.casting import to_text
from groundplane.schema.collection import Collection
from groundplane.schema.fields.text import TextField
from groundplane.schema.options import is_provider_name
from groundplane.security.ids import secret
from groundplane.security.passwords import verify

MFAS = "_mfas"
OTPS = "_otps"
ORIGINS = "_authOrigins"
EXTERNALS = "_externalAuths"
# The system collections whose rows belong to an auth record, through collectionRef and recordRef.
REF_COLLECTIONS = (EXTERNALS, MFAS, OTPS, ORIGINS)

MISMATCH = FieldError("validation_values_mismatch", "Values don't match.")
BAD_OLD_PASSWORD = FieldError("validation_invalid_old_password", "Missing or invalid old password.")
BAD_COLLECTION_ID = FieldError("validation_invalid_collection_id", "Missing or invalid collection.")
BAD_COLLECTION_TYPE = FieldError(
    "validation_invalid_collection_type", "Invalid collection type - must be auth."
)
BAD_COLLECTION = FieldError("validation_invalid_collection", "Missing or invalid collection.")
BAD_RECORD = FieldError("validation_invalid_record", "Missing or invalid record.")
BAD_PROVIDER = FieldError("validation_in_invalid", "Must be a valid value.")


class Level(enum.IntEnum):
    """What a caller may do to an auth record beyond the rule that let them in."""

    DEFAULT = 0
    MANAGER = 1  # satisfies the manage rule
    SUPERUSER = 2


async def form_errors(
    resolved: Resolved,
    before: Mapping[str, Any] | None,
    level: Level,
    *,
    needs_password: bool = True,
) -> dict[str, FieldError]:
    """Check what the save form of an auth record asks for beyond its fields; `before` is None on create."""
    errors: dict[str, FieldError] = {}
    password = to_text(resolved.body.get("password"))
    confirmation = to_text(resolved.body.get("passwordConfirm"))
    old_password = to_text(resolved.body.get("oldPassword"))
    record = resolved.record
    if level is Level.DEFAULT:
        if before is not None and record["email"] != before["email"]:
            errors["email"] = MISMATCH
        if record["verified"] != (before["verified"] if before is not None else False):
            errors["verified"] = MISMATCH
    is_due = before is None and needs_password
    if not password and (is_due or confirmation or old_password):
        errors["password"] = REQUIRED
    if not confirmation and (is_due or password or old_password):
        errors["passwordConfirm"] = REQUIRED
    elif confirmation != password:
        errors["passwordConfirm"] = MISMATCH
    if before is not None and level is Level.DEFAULT and (password or confirmation):
        if not old_password:
            errors["oldPassword"] = REQUIRED
        elif not await verify(old_password, before["password"]):
            errors["oldPassword"] = BAD_OLD_PASSWORD
    return errors


def new_token_key(collection: Collection) -> str:
    """A fresh tokenKey, made by the field's own pattern so that it passes the field's checks."""
    field = collection.by_name.get("tokenKey")
    return (field.generate() if isinstance(field, TextField) else "") or secret()


async def prepare(
    db: Database,
    schema: Schema,
    plan: Plan,
    record: dict[str, Any],
    before: Mapping[str, Any] | None,
    *,
    new_password: bool,
) -> None:
    """Apply what a save brings with it before the row is written; runs in the transaction."""
    collection = plan.collection
    if collection.is_superusers:
        record["verified"] = True
    if before is None:
        return
    fresh = new_password or record["email"] != before["email"]
    if record["verified"] and not before["verified"]:
        # Who linked an account before the address was proven may not keep the link.
        fresh = await forget(db, schema, EXTERNALS, collection, record["id"]) > 0 or fresh
    if fresh and record["tokenKey"] == before["tokenKey"]:
        record["tokenKey"] = new_token_key(collection)


async def settle(
    db: Database, schema: Schema, plan: Plan, record: Mapping[str, Any], before: Mapping[str, Any] | None
) -> None:
    """Remove what the written change has made invalid; runs in the transaction, after the row."""
    collection = plan.collection
    if before is None:
        return
    if record["tokenKey"] != before["tokenKey"]:
        await forget(db, schema, OTPS, collection, record["id"])
    if record["password"] != before["password"]:
        await forget(db, schema, MFAS, collection, record["id"])
        await forget(db, schema, ORIGINS, collection, record["id"])


async def forget(db: Database, schema: Schema, name: str, owner: Collection, record_id: str) -> int:
    """Remove the rows that one ref collection keeps about a record; returns how many there were."""
    collection = schema.get(name)
    if collection is None:
        return 0
    statement = delete_refs(collection, owner, [record_id])
    tag = await db.execute(statement.text, *statement.args)
    return int(tag.rpartition(" ")[2])


async def ref_errors(
    db: Database, schema: Schema, collection: Collection, record: Mapping[str, Any]
) -> dict[str, FieldError]:
    """Check that a row of a ref collection belongs to an auth record that exists."""
    errors: dict[str, FieldError] = {}
    owner = schema.by_id.get(record["collectionRef"])
    if not record["collectionRef"]:
        errors["collectionRef"] = REQUIRED
    elif owner is None:
        errors["collectionRef"] = BAD_COLLECTION_ID
    elif not owner.is_auth:
        errors["collectionRef"] = BAD_COLLECTION_TYPE
    if not record["recordRef"]:
        errors["recordRef"] = REQUIRED
    elif owner is None:
        errors["recordRef"] = BAD_COLLECTION
    elif not await exists(db, owner, record["recordRef"]):
        errors["recordRef"] = BAD_RECORD
    if collection.name == EXTERNALS:
        if not record["provider"]:
            errors["provider"] = REQUIRED
        elif not is_provider_name(record["provider"]):
            errors["provider"] = BAD_PROVIDER
    return errors


async def exists(db: Database, collection: Collection, record_id: str) -> bool:
    """Whether the record is there; it cannot be deleted until this transaction ends."""
    if "\x00" in record_id:
        return False
    statement = lock_related([(collection, [record_id])])
    return await db.fetchrow(statement.text, *statement.args) is not None
