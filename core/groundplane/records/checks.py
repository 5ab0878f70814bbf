"""What makes a record invalid: every field's own checks, and those that need the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.errors import REQUIRED, FieldError
from groundplane.records.attachments import check_files
from groundplane.records.plan import PRIMARY_KEY_PREFIX, Plan
from groundplane.records.queries import (
    AUTH_IDS_LOCK,
    advisory_lock,
    id_in_tables,
    lock_related,
    similar_id,
)
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.file import FileField
from groundplane.schema.fields.password import PasswordField
from groundplane.schema.fields.relation import MISSING_RECORDS

NOT_UNIQUE = FieldError("validation_not_unique", "Value must be unique.")
BAD_PK = FieldError("validation_pk_invalid", "The record primary key is invalid or already exists.")
BAD_AUTH_ID = FieldError("validation_invalid_auth_id", "Invalid or duplicated auth record id.")
MISSING_COLLECTION = FieldError(
    "validation_missing_rel_collection", "Relation connection is missing or cannot be accessed."
)


def plain_errors(
    plan: Plan, record: Mapping[str, Any], before: Mapping[str, Any] | None, passwords: Mapping[str, str]
) -> dict[str, FieldError]:
    """Check every field of a record, the unchanged ones too, as far as that needs no database.

    `before` is None on create.
    """
    errors: dict[str, FieldError] = {}
    for field in plan.fields:
        value = record[field.name]
        old = before[field.name] if before is not None else None
        error: FieldError | None
        match field:
            case AutodateField():
                continue
            case FileField():
                error = check_files(field, value, old)
            case PasswordField():
                error = check_password(field, value, passwords.get(field.name))
            case _:
                error = field.check(value, before=old)
        if error is not None:
            errors[field.name] = error
    return errors


async def stored_errors(
    db: Database,
    schema: Schema,
    plan: Plan,
    record: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    known: Mapping[str, FieldError],
) -> dict[str, FieldError]:
    """Check a record against what is stored; fields with a `known` error are left alone.

    Runs in the transaction that writes the row: referenced records cannot be deleted until it ends.
    """
    errors = await relation_errors(db, schema, plan, record, known)
    if before is None and "id" not in known:
        # Only who will write needs to keep others from writing.
        error = await id_error(db, schema, plan, record["id"], alone=not known and not errors)
        if error is not None:
            errors["id"] = error
    return errors


def check_password(field: PasswordField, hashed: str, plain: str | None) -> FieldError | None:
    """Check a newly set plain text, or whether there is a hash at all."""
    if plain is not None:
        return field.check(plain)
    return REQUIRED if field.required and not hashed else None


async def relation_errors(
    db: Database, schema: Schema, plan: Plan, record: Mapping[str, Any], known: Mapping[str, FieldError]
) -> dict[str, FieldError]:
    """Look up all referenced records of all fields in one statement, and keep them from being deleted."""
    errors: dict[str, FieldError] = {}
    wanted: list[tuple[str, list[str]]] = []
    targets: dict[str, tuple[Collection, set[str]]] = {}
    for field in plan.relation_fields:
        value = record[field.name]
        ids = value if isinstance(value, list) else [value] if value else []
        if not ids or field.name in known:
            continue
        target = schema.by_id.get(field.collection_id)
        if target is None:
            errors[field.name] = MISSING_COLLECTION
            continue
        wanted.append((field.name, ids))
        targets.setdefault(target.id, (target, set()))[1].update(ids)
    if not targets:
        return errors
    groups = list(targets.values())
    statement = lock_related([(collection, sorted(ids)) for collection, ids in groups])
    found: dict[str, set[str]] = {collection.id: set() for collection, _ in groups}
    for position, record_id in await db.fetch(statement.text, *statement.args):
        found[groups[position][0].id].add(record_id)
    by_name = {field.name: field.collection_id for field in plan.relation_fields}
    for name, ids in wanted:
        if not found[by_name[name]].issuperset(ids):
            errors[name] = MISSING_RECORDS
    return errors


async def id_error(
    db: Database, schema: Schema, plan: Plan, record_id: str, *, alone: bool
) -> FieldError | None:
    """Check a new id against the stored ones as far as the table's own key does not.

    With `alone`, no other auth record is created until this transaction ends.
    """
    if not plan.has_default_ids:
        statement = similar_id(plan, record_id)
        if await db.fetchval(statement.text, *statement.args):
            return BAD_PK
    if plan.collection.is_auth:
        others = [each.table for each in schema if each.is_auth and each is not plan.collection]
        if not others:
            return None
        if alone:
            # Two creates with one id in two collections would not see each other's rows.
            await db.execute(advisory_lock(AUTH_IDS_LOCK).text)
        statement = id_in_tables(others, record_id)
        if await db.fetchval(statement.text, *statement.args):
            return BAD_AUTH_ID
    return None


def unique_errors(plan: Plan, violation: UniqueViolation) -> dict[str, FieldError]:
    """Attach a violated unique index to its plain columns; an index on expressions has none."""
    columns = plan.unique_columns.get(violation.constraint)
    if columns is not None:
        return dict.fromkeys(columns, NOT_UNIQUE)
    if violation.constraint.startswith(PRIMARY_KEY_PREFIX):
        return {"id": NOT_UNIQUE if plan.has_default_ids else BAD_PK}
    return {}
