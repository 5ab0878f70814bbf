"""What a file's columns become: the fields of a collection and the way of each value into them, also as TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from groundplane.imports.infer import field_names
from groundplane.imports.report import ImportFailed
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

# Keys of a field that are ours and not options of the field type.
OWN_KEYS = ("from", "order", "collection", "match")
# Filled by the server, or not from a table at all.
NEVER_FILLED = ("file",)


class FieldPlan(msgspec.Struct, kw_only=True):
    """One field: its options as in the collections API and where its values come from.

    `source`      the keys in the file; two for a geoPoint made of longitude and latitude, none to leave it unset
    `order`       "dm" or "md" for dates such as 6/12/1998
    `collection`  of a relation: the name of the collection that it points to
    `match`       of a relation: the field of that collection that the values in the file are of; "" is its id
    """

    options: dict[str, Any]
    source: list[str] = msgspec.field(default_factory=list)
    order: str = ""
    collection: str = ""
    match: str = ""

    @property
    def name(self) -> str:
        return str(self.options.get("name") or "")


class TableSchema(msgspec.Struct, kw_only=True):
    """A collection to be made for a file; `options` is everything but the fields."""

    options: dict[str, Any]
    fields: list[FieldPlan]

    def to_json(self, schema: Schema) -> dict[str, Any]:
        """The collection as the collections API takes it; raises ImportFailed for an unknown relation."""
        fields: list[dict[str, Any]] = []
        for plan in self.fields:
            options = dict(plan.options)
            if plan.collection:
                related = schema.get(plan.collection)
                if related is None:
                    raise ImportFailed(
                        f"The field {plan.name} refers to {plan.collection}, which does not exist."
                    )
                options = {"maxSelect": 1} | options | {"collectionId": related.id}
            fields.append(options)
        return self.options | {"fields": fields}

    def to_toml(self, origin: str, rows: int) -> str:
        """The schema as a file to edit."""
        document = tomlkit.document()
        for line in (
            f"Inferred from {origin} ({rows:,} rows). Change what you like and import with --schema.",
            "`from` names the column of the file; remove a field to leave its column out.",
            "Everything that the collections API knows may stand here, such as listRule or indexes.",
        ):
            document.add(tomlkit.comment(line))
        document.add(tomlkit.nl())
        for key, value in self.options.items():
            document.add(key, value)
        fields = tomlkit.aot()
        for plan in self.fields:
            table = tomlkit.table()
            for key, value in plan.options.items():
                if key not in ("system",) and value is not None:
                    table.add(key, value)
            table.add("from", plan.source[0] if len(plan.source) == 1 else plan.source)
            for key in ("order", "collection", "match"):
                if value := getattr(plan, key):
                    table.add(key, value)
            fields.append(table)
        document.add("fields", fields)
        return tomlkit.dumps(document)


def from_inferred(
    name: str, fields: Iterable[Mapping[str, Any]], relations: Mapping[str, str]
) -> TableSchema:
    """Make a schema of inferred fields and of relations (key in the file to `collection.field`)."""
    plans = [_plan(each) for each in fields]
    taken = {plan.name.lower() for plan in plans}
    for key, target in relations.items():
        collection, _, match = target.partition(".")
        if not collection:
            raise ImportFailed(f"The relation {key}={target} is not of the form key=collection.field.")
        field = field_names([key])[key]
        options = {"name": field, "type": "relation", "maxSelect": 1}
        if field.lower() in taken:
            raise ImportFailed(f"The relation {key} has the name of another field.")
        plans.append(FieldPlan(options=options, source=[key], collection=collection, match=match))
    return TableSchema(options={"name": name, "type": "base"}, fields=plans)


def read_toml(file: Path) -> TableSchema:
    """Read an edited schema; raises ImportFailed."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFailed(f"{file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ImportFailed(f"{file} is not valid TOML: {error}") from error
    fields = raw.pop("fields", None)
    if not isinstance(fields, list) or not all(
        isinstance(each, dict) and each.get("name") for each in fields
    ):
        raise ImportFailed(f"{file} needs [[fields]], each with a name.")
    return TableSchema(options=raw, fields=[_plan(each) for each in fields])


def _plan(raw: Mapping[str, Any]) -> FieldPlan:
    own = {key: raw[key] for key in OWN_KEYS if key in raw}
    source = own.get("from", [])
    keys = [source] if isinstance(source, str) else list(source) if isinstance(source, list) else []
    if len(keys) > 2 or not all(isinstance(key, str) for key in keys):
        raise ImportFailed(
            f"`from` of the field {raw.get('name')} must be one column, or two for a geoPoint."
        )
    for key in ("order", "collection", "match"):
        if not isinstance(own.get(key, ""), str):
            raise ImportFailed(f"`{key}` of the field {raw.get('name')} must be text.")
    return FieldPlan(
        options={key: value for key, value in raw.items() if key not in OWN_KEYS},
        source=keys,
        order=own.get("order", ""),
        collection=own.get("collection", ""),
        match=own.get("match", ""),
    )


def matching(
    collection: Collection, keys: Iterable[str], relations: Mapping[str, str], id_field: str
) -> TableSchema:
    """Find the fields of an existing collection that the keys of a file fill, by name in any spelling."""
    by_name = {field.name.lower(): field for field in collection.fields}
    known = list(keys)
    cleaned = field_names(known)
    plans: list[FieldPlan] = []
    for key in known:
        field = by_name.get(key.lower()) or by_name.get(cleaned[key].lower())
        if key == id_field:
            field = by_name["id"]
        if field is None or field.type_name in NEVER_FILLED or any(each.name == field.name for each in plans):
            continue
        _, _, match = relations.get(key, "").partition(".")
        plans.append(
            FieldPlan(options={"name": field.name, "type": field.type_name}, source=[key], match=match)
        )
    return TableSchema(options={"name": collection.name, "type": collection.type}, fields=plans)
