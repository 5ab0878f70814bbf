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
RANDOM = "random()"


class Entry(NamedTuple):
    name: str
    descending: bool


class SortKey(NamedTuple):
    """One expression to sort by; NULL, where there may be one, is before everything."""

    sql: str
    type: str  # of PostgreSQL
    descending: bool
    nullable: bool

    @property
    def order(self) -> str:
        """Without a word on NULL, where there is none, an index serves."""
        if not self.nullable:
            return f"{self.sql} DESC" if self.descending else self.sql
        return f"{self.sql} {'DESC NULLS LAST' if self.descending else 'NULLS FIRST'}"


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
    return ", ".join(key.order for key in sort_keys(schema, collection, text, info, args, base=base))


def sort_keys(
    schema: Schema,
    collection: Collection,
    text: str,
    info: RequestInfo,
    args: Args,
    *,
    base: str = "r",
) -> list[SortKey]:
    """What `order_by` sorts by."""
    names = Names(schema, collection, info, base=base, restricted=not info.is_superuser, ordered=True)
    row = f"{base}.{ident('_row')}"
    keys: list[SortKey] = []
    for entry in entries(text):
        if entry.name == "@random":
            keys.append(SortKey(RANDOM, "double precision", False, False))
        elif entry.name == "@rowid":
            if collection.is_view:
                raise QueryError("a view has no insertion order")
            keys.append(SortKey(row, "bigint", entry.descending, False))
        else:
            keys += keys_of(sortable(entry, names), entry.descending, names)
    if not collection.is_view:
        keys.append(SortKey(row, "bigint", False, False))
    return [key._replace(sql=names.values.bind(key.sql, args)) for key in keys]


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


def keys_of(operand: Operand, descending: bool, names: Names) -> list[SortKey]:
    """The keys of one entry: two where it may be a number or a text, as texts come after all numbers."""
    nullable = operand.moment is not None or operand.nullable or bool(operand.joins)
    if operand.moment is not None:
        parts = [(operand.moment, "timestamptz")]
    else:
        text = operand.text
        if text is not None and not operand.collated:
            text = f'({text}) COLLATE "C"'
        both = (text, "text"), (operand.number, "double precision")
        parts = [(part, kind) for part, kind in both if part is not None]
    if operand.joins:
        rows = closure(operand.joins)
        guards = [guard.sql for guard in list_rules(names) if any(join in rows for join in guard.reads)]
        parts = [
            (
                first_value(
                    part, operand.joins, strict=operand.strict, many=operand.multi, conditions=guards
                ),
                kind,
            )
            for part, kind in parts
        ]
    # Of the two at most one is not NULL.
    return [SortKey(part, kind, descending, nullable or len(parts) > 1) for part, kind in parts]
