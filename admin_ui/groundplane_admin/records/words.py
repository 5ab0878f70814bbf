"""What an expression of the filter language may name, for completion as it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundplane.query.macros import MACROS
from groundplane_admin.records.columns import visible_fields

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

OPERATORS = ("=", "!=", ">", ">=", "<", "<=", "~", "!~", "?=", "?!=", "?>", "?>=", "?<", "?<=", "?~", "?!~")
FUNCTIONS = ("geoDistance(", "strftime(")
MODIFIERS = {"select": ("length", "each"), "file": ("length", "each"), "relation": ("length", "each")}
DEPTH = 2  # relations that are followed
PLAN = "console words"  # kept in `schema.plans` under this name, by collection id


def words_of(schema: Schema, collection: Collection) -> dict[str, Any]:
    """Fields with their types (`owner.name`: text), select values, operators, macros and functions."""
    known = schema.plans.setdefault(PLAN, {})
    found = known.get(collection.id)
    if not isinstance(found, dict):
        fields: dict[str, str] = {}
        values: dict[str, list[str]] = {}
        collect(schema, collection, "", DEPTH, fields, values)
        found = known[collection.id] = {
            "fields": fields,
            "values": values,
            "operators": OPERATORS,
            "macros": sorted(MACROS),
            "functions": FUNCTIONS,
            "literals": ("true", "false", "null"),
        }
    return found


def collect(
    schema: Schema,
    collection: Collection,
    before: str,
    depth: int,
    fields: dict[str, str],
    values: dict[str, list[str]],
) -> None:
    for field in visible_fields(collection):
        path = before + field.name
        fields[path] = field.type_name
        if field.type_name == "select":
            values[path] = list(getattr(field, "values", ()))
        if field.is_multiple:
            for modifier in MODIFIERS.get(field.type_name, ()):
                fields[f"{path}:{modifier}"] = modifier
        if field.type_name == "text" and not before:
            fields[f"{path}:lower"] = "lower"
        target = schema.get(getattr(field, "collection_id", "")) if field.type_name == "relation" else None
        if target is not None and depth:
            collect(schema, target, f"{path}.", depth - 1, fields, values)
