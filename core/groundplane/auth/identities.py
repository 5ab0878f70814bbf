"""From what people type to the records behind it."""

from __future__ import annotations

from typing import Any

from groundplane.auth.queries import select_by_identity
from groundplane.db.engine import Database
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.indexes import unique_nocase


async def find_by(db: Database, collection: Collection, field: Field, identity: str) -> dict[str, Any] | None:
    """The stored record whose field has this value, compared as its unique index does."""
    if "\x00" in identity:
        return None
    nocase = field.kind is Kind.TEXT and unique_nocase(collection, field.name)
    value = identity if field.kind is Kind.TEXT else field.from_input(identity)
    row = await db.fetchrow(select_by_identity(collection, field, nocase=nocase), value)
    if row is None:
        return None
    return {
        each.name: each.from_column(stored)
        for each, stored in zip(collection.fields, row.values(), strict=True)
    }


async def find_by_email(db: Database, collection: Collection, email: str) -> dict[str, Any] | None:
    """The stored record with this e-mail address; None also for an empty one."""
    field = collection.field("email")
    return await find_by(db, collection, field, email) if field is not None and email else None
