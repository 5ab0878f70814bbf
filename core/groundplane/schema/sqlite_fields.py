"""The fields of a view collection, derived from its query (contract, collections §8)."""

from __future__ import annotations

import string
import zlib
from collections.abc import Iterator

import msgspec
from sqlglot import exp

from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.registry import make_field
from groundplane.schema.sqlite_select import output_name, parse_select, unaliased
from groundplane.schema.sqlite_syntax import check_syntax
from groundplane.schema.sqlite_values import NoFields, Untranslatable

ALPHABET = string.digits + string.ascii_letters

REAL_CASTS = (exp.DataType.Type.DOUBLE, exp.DataType.Type.DECIMAL)


def infer_view_fields(query: str, schema: Schema, view_name: str) -> list[Field]:
    """Derive the fields of a view in the order of its columns.

    Raises NoFields (`*` in the select list) or Untranslatable. A result without `id` and names that no field
    may have are the caller's to refuse. `view_name` may not be read by its own query; it also seeds the ids
    of copied fields, so that they stay the same.
    """
    try:
        return _inferred(query, schema, view_name)
    except RecursionError:
        raise Untranslatable("the query is nested too deeply") from None


def _inferred(query: str, schema: Schema, view_name: str) -> list[Field]:
    statement = parse_select(query)
    first = statement
    while isinstance(first, (exp.SetOperation, exp.Subquery)):
        first = first.this
    tables = {name: collection for name, collection in _tables(statement, first, schema, view_name)}
    for node in first.expressions:
        if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
            raise NoFields("dynamic column names are not supported")
    read = {table.name.lower() for table in statement.find_all(exp.Table)}
    check_syntax(
        query, [each for name in sorted(read) if (each := schema.by_lower_name.get(name)) is not None]
    )
    fields: list[Field] = []
    for node in first.expressions:
        fields.append(_field(unaliased(node), output_name(node), tables, view_name))
    return _with_unique_ids(fields)


def _tables(
    statement: exp.Expression, first: exp.Expression, schema: Schema, view_name: str
) -> Iterator[tuple[str, Collection | None]]:
    """The sources of the SELECT by lower-case alias, the first one first; None for what is no collection."""
    defined = {each.alias.lower() for each in statement.find_all(exp.CTE)}
    for table in statement.find_all(exp.Table):
        if table.name.lower() == view_name.lower() and view_name and table.name.lower() not in defined:
            raise Untranslatable(f"view {view_name} is circularly defined")
    from_ = first.args.get("from_")
    nodes = [from_.this] if from_ is not None else []
    nodes += [join.this for join in first.args.get("joins") or ()]
    for node in nodes:
        name = (node.alias or node.name).lower()
        plain = isinstance(node, exp.Table) and node.name.lower() not in defined
        yield name, schema.by_lower_name.get(node.name.lower()) if plain else None


def _field(node: exp.Expression, name: str, tables: dict[str, Collection | None], view_name: str) -> Field:
    if name == "id":
        pattern = "^[a-z0-9]+$"
        return make_field(
            {
                "type": "text",
                "name": name,
                "system": True,
                "required": True,
                "primaryKey": True,
                "pattern": pattern,
            }
        )
    if isinstance(node, exp.Anonymous):
        called = str(node.this).lower()
        if called == "count":
            return make_field({"type": "number", "name": name, "onlyInt": True})
        if called == "total":
            return make_field({"type": "number", "name": name})
    if isinstance(node, exp.Cast):
        match node.args["to"].this:
            case exp.DataType.Type.INT:
                return make_field({"type": "number", "name": name, "onlyInt": True})
            case kind if kind in REAL_CASTS:
                return make_field({"type": "number", "name": name})
            case exp.DataType.Type.TEXT:
                return make_field({"type": "text", "name": name})
            case exp.DataType.Type.BOOLEAN:
                return make_field({"type": "bool", "name": name})
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
        copied = _copied(node, name, tables, view_name)
        if copied is not None:
            return copied
    return make_field({"type": "json", "name": name, "maxSize": 1})


def _copied(
    node: exp.Column, name: str, tables: dict[str, Collection | None], view_name: str
) -> Field | None:
    """The field behind a plain column under its new name; a column without a table is of the first one."""
    table = node.text("table").lower() or next(iter(tables), "")
    collection = tables.get(table)
    if collection is None:
        return None
    lower = node.name.lower()
    field = next((each for each in collection.fields if each.name.lower() == lower), None)
    if field is None:
        return None
    if field.name == "id":
        return make_field({"type": "relation", "name": name, "maxSelect": 1, "collectionId": collection.id})
    return msgspec.structs.replace(field, name=name, id=_clone_id(view_name, name))


def _clone_id(view_name: str, name: str) -> str:
    """`_clone_` and four characters; made from the names so that the same query gives the same ids."""
    seed = zlib.crc32(f"{view_name}\n{name}".encode())
    letters = ""
    for _ in range(4):
        seed, place = divmod(seed, len(ALPHABET))
        letters += ALPHABET[place]
    return f"_clone_{letters}"


def _with_unique_ids(fields: list[Field]) -> list[Field]:
    """Give the fields that are no copies the id of their type and name; a taken one gets a number."""
    taken: set[str] = set()
    done: list[Field] = []
    for field in fields:
        base = field.id or f"{field.type_name}{zlib.crc32(field.name.encode())}"
        candidate, number = base, 2
        while candidate in taken:
            candidate, number = f"{base}{number}", number + 1
        taken.add(candidate)
        done.append(field if field.id == candidate else msgspec.structs.replace(field, id=candidate))
    return done
