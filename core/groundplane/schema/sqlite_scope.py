"""Which columns a SQLite expression may name: the sources of its SELECT, then those of the SELECTs around it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sqlglot import exp

from groundplane.db.sql import ident
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import physical_name
from groundplane.schema.sqlite_values import SHAPE_OF_KIND, Shape, Untranslatable, Value

ROW_NAMES = frozenset({"_rowid_", "oid", "rowid"})


class Source:
    """One table, view or subquery in FROM; `columns` are keyed by lower-case name."""

    def __init__(
        self, name: str, columns: Mapping[str, Value], *, collection: Collection | None = None, row: str = ""
    ) -> None:
        self.name = name
        self.columns = dict(columns)
        self.collection = collection
        self.row = row
        self.hidden: set[str] = set()

    def make_optional(self, sentinel: str) -> None:
        """Mark it as the optional side of an outer join; `sentinel` is NULL when it has no row."""
        self.columns = {
            name: value._replace(not_null=False, row=sentinel) for name, value in self.columns.items()
        }


def collection_source(collection: Collection, name: str) -> Source:
    """The columns of a collection's table or view under the alias `name`."""
    alias = ident(physical_name(name))
    columns: dict[str, Value] = {}
    if not collection.is_view:
        row = Value(
            f"({alias}.{ident('_row')})::double precision", Shape.INTEGER, "numeric", True, column=True
        )
        columns = dict.fromkeys(ROW_NAMES, row)
    for field in collection.fields:
        shape = SHAPE_OF_KIND[field.kind]
        columns[field.name.lower()] = Value(
            f"{alias}.{ident(field.column)}",
            shape,
            "text" if shape in (Shape.TEXT, Shape.DATE) else "numeric",
            not_null=shape not in (Shape.DATE, Shape.JSON),
            column=True,
        )
    row_order = "" if collection.is_view else f"{alias}.{ident('_row')}"
    return Source(name, columns, collection=collection, row=row_order)


class Selected(NamedTuple):
    """A translated SELECT: its SQL, and its output columns (as `Value`s whose SQL is the quoted name)."""

    sql: str
    names: list[str]
    columns: list[Value]


class Scope:
    """The names of one SELECT and what may stand in the part that is being translated.

    `keys`        GROUP BY expressions by their canonical text
    `bare`        wraps a column that is neither grouped nor aggregated; None outside of grouped queries
    `aggregates`  whether aggregate functions are allowed
    `aliases`     expressions of the select list by lower-case output name
    `tables`      WITH tables in sight, by lower-case name
    """

    def __init__(self, parent: Scope | None = None) -> None:
        self.parent = parent
        self.sources: list[Source] = []
        self.aliases: dict[str, exp.Expression] = {}
        self.keys: dict[str, Value] = {}
        self.bare: Callable[[Value], Value] | None = None
        self.aggregates = False
        self.natural_order = ""
        self.tables: dict[str, Selected] = {}

    def add(self, source: Source) -> None:
        if any(each.name.lower() == source.name.lower() for each in self.sources):
            raise Untranslatable(f"the table name {source.name} is used twice")
        self.sources.append(source)

    def find(self, name: str, table: str = "") -> Value | None:
        """Find a column, the innermost SELECT first; None when there is none."""
        lower = name.lower()
        found: list[Value] = []
        for source in self.sources:
            if table and source.name.lower() != table.lower():
                continue
            value = source.columns.get(lower)
            if value is not None and (table or lower not in source.hidden):
                found.append(value)
        if len(found) > 1:
            raise Untranslatable(f"ambiguous column name: {name}")
        if found:
            return self.bare(found[0]) if self.bare is not None else found[0]
        if table and any(each.name.lower() == table.lower() for each in self.sources):
            return None
        return self.parent.find(name, table) if self.parent is not None else None

    def ungrouped(self) -> Scope:
        """The scope inside an aggregate: plain columns, no further aggregates."""
        inner = copy.copy(self)
        inner.keys, inner.bare, inner.aggregates = {}, None, False
        return inner

    def without_alias(self, name: str) -> Scope:
        """The scope in which an alias is resolved, so that it cannot mean itself."""
        inner = copy.copy(self)
        inner.aliases = {key: node for key, node in self.aliases.items() if key != name.lower()}
        return inner
