"""Collections as rows of `_collections`, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.registry import make_field
from groundplane.schema.options import AuthOptions


def to_row(collection: Collection) -> tuple[object, ...]:
    """The values in the order of `queries.COLUMNS`; options include the secrets."""
    options: object = {}
    if collection.options is not None:
        options = collection.options
    elif collection.is_view:
        options = {"viewQuery": collection.view_query}
    return (
        collection.id,
        collection.system,
        collection.type,
        collection.name,
        _json([field.to_json() for field in collection.fields]),
        _json(collection.indexes),
        collection.list_rule,
        collection.view_rule,
        collection.create_rule,
        collection.update_rule,
        collection.delete_rule,
        _json(options),
        collection.created,
        collection.updated,
    )


def from_row(row: Mapping[str, Any]) -> Collection:
    options = row["options"]
    kind = row["type"]
    return Collection(
        id=row["id"],
        name=row["name"],
        type=kind,
        fields=[make_field(raw) for raw in msgspec.json.decode(row["fields"])],
        indexes=msgspec.json.decode(row["indexes"], type=list[str]),
        list_rule=row["listRule"],
        view_rule=row["viewRule"],
        create_rule=row["createRule"],
        update_rule=row["updateRule"],
        delete_rule=row["deleteRule"],
        system=row["system"],
        view_query=msgspec.json.decode(options).get("viewQuery", "") if kind == "view" else "",
        options=msgspec.json.decode(options, type=AuthOptions) if kind == "auth" else None,
        created=row["created"],
        updated=row["updated"],
    )


def to_schema(rows: Iterable[Mapping[str, Any]]) -> Schema:
    """The snapshot that `queries.LOAD` read; version 0 when nothing was ever saved."""
    rows = list(rows)
    version = int(rows[0]["version"] or 0) if rows else 0
    return Schema(map(from_row, rows), version)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
