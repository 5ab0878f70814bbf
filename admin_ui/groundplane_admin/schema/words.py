"""What a rule may name beside the fields: the caller, the body, and other collections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundplane.query.macros import MACROS
from groundplane_admin.records.words import DEPTH, FUNCTIONS, OPERATORS, collect

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

OF_THE_CALLER = ("id", "email", "verified", "collectionId", "collectionName")


def rule_words(schema: Schema, collection: Collection) -> dict[str, Any]:
    """The vocabulary of a rule of this collection, as the input of expressions takes it."""
    fields: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    collect(schema, collection, "", DEPTH, fields, values)
    named = [f"@request.auth.{each}" for each in OF_THE_CALLER]
    for each in schema:
        if each.is_auth and not each.system:
            named += [f"@request.auth.{field.name}" for field in each.fields if not field.system]
    named += [f"@request.body.{field.name}" for field in collection.fields if field.name != "id"]
    named += ["@request.method", "@request.context", "@request.query.", "@request.headers."]
    named += [f"@collection.{each.name}." for each in schema if not each.system]
    return {
        "fields": fields,
        "values": values,
        "operators": OPERATORS,
        "macros": [*dict.fromkeys(named), *sorted(MACROS)],
        "functions": FUNCTIONS,
        "literals": ("true", "false", "null"),
    }
