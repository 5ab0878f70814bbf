"""`sort=-created,title` to ORDER BY (contract, records §3.3)."""

from __future__ import annotations

from typing import NamedTuple

from groundplane.context import RequestInfo
from groundplane.db.sql import Args, ident
from groundplane.query.compile import Every, all_reads, ask
from groundplane.query.errors import QueryError
from groundplane.query.filters import list_rules
from groundplane.query.joins import closure, first_value
from groundplane.query.names import Names
from groundplane.query.nodes import Identifier
from groundplane.query.operands import Operand
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

MAX_ENTRIES = 8
MAX_NAME_BYTES = 255


class Entry(NamedTuple):
    name: str
    descending: bool


def order_by(
    schema: Schema,
    collection: Collection,
    text: str,
    info: RequestInfo,
    args: Args,
    *,
    base: str = "r",
) -> str:
    """Return the sort keys without the words ORDER BY; raises QueryError.

    The last key is the insertion order, so that pages do not overlap. A view has none: without a sort text
    its keys are the empty string.
    """
    names = Names(schema, collection, info, base=base, restricted=not info.is_superuser, ordered=True)
    keys: list[str] = []
    for entry in entries(text):
        if entry.name == "@random":
            keys.append("random()")
        elif entry.name == "@rowid":
            if collection.is_view:
                raise QueryError("a view has no insertion order")
            keys.append(f"{base}.{ident('_row')}{' DESC' if entry.descending else ''}")
        else:
            operand = sortable(entry, names)
            keys.extend(key + direction(entry, operand) for key in expressions(operand, names))
    if not collection.is_view:
        keys.append(f"{base}.{ident('_row')}")
    return names.values.bind(", ".join(keys), args)


def sort_condition(
    schema: Schema,
    collection: Collection,
    text: str,
    info: RequestInfo,
    args: Args,
    *,
    base: str = "r",
) -> str:
    """Return the condition that a client's sort puts on the records, "" for none; raises QueryError.

    A sort path through a collection with a list rule shows only records whose related row may be listed,
    as a filter with the same path does (contract, filters §8.7).
    """
    names = Names(schema, collection, info, base=base, restricted=not info.is_superuser)
    for entry in entries(text):
        if not entry.name.startswith("@"):
            sortable(entry, names)
    guards = tuple(list_rules(names))
    return names.values.bind(ask(Every(guards, all_reads(guards))), args) if guards else ""


def entries(text: str) -> list[Entry]:
    if not text:
        return []
    parts = text.split(",")
    if len(parts) > MAX_ENTRIES:
        raise QueryError(f"more than {MAX_ENTRIES} sort entries")
    found = []
    for part in parts:
        name = part.strip()
        sign = name[:1] if name[:1] in ("-", "+") else ""
        name = name[len(sign) :]
        if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
            raise QueryError(f"sort entry is longer than {MAX_NAME_BYTES} bytes")
        found.append(Entry(name, sign == "-"))
    return found


def sortable(entry: Entry, names: Names) -> Operand:
    if entry.name.endswith((".", ":")):
        raise QueryError(f"unknown identifier {entry.name}")
    operand = names.operand(Identifier(entry.name, 0), names.joins)
    if operand.is_parameter:
        raise QueryError(f"{entry.name} is the same for every record")
    return operand


def direction(entry: Entry, operand: Operand) -> str:
    """NULL is below everything, unlike PostgreSQL's default; a plain order lets an index serve."""
    if operand.moment is None and not operand.nullable and not operand.joins:
        return " DESC" if entry.descending else ""
    return " DESC NULLS LAST" if entry.descending else " NULLS FIRST"


def expressions(operand: Operand, names: Names) -> list[str]:
    """The keys of one entry: two where it may be a number or a text, as texts come after all numbers."""
    if operand.moment is not None:
        parts = [operand.moment]
    else:
        text = operand.text
        if text is not None and not operand.collated:
            text = f'({text}) COLLATE "C"'
        parts = [part for part in (text, operand.number) if part is not None]
    if not operand.joins:
        return parts
    rows = closure(operand.joins)
    guards = [guard.sql for guard in list_rules(names) if any(join in rows for join in guard.reads)]
    return [
        first_value(part, operand.joins, strict=operand.strict, many=operand.multi, conditions=guards)
        for part in parts
    ]
