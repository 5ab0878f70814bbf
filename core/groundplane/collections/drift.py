"""What somebody changed in the tables by SQL, behind the back of the stored schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from groundplane.collections import ddl, queries, views
from groundplane.collections.views import BadView
from groundplane.db.engine import Database
from groundplane.db.sql import ident
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field
from groundplane.schema.sqlite import Untranslatable, translate_index

ROW = "_row"


class Difference(NamedTuple):
    """One thing that is not as the schema says, and the statements that put it right.

    `lossy_rows` is None when nothing can be lost by it, else the number of records that would lose something.
    """

    collection: str
    sentence: str
    sql: tuple[str, ...]
    lossy_rows: int | None = None
    loses: str = ""


class Column(NamedTuple):
    type: str
    not_null: bool


class Tables(NamedTuple):
    """What the catalogue knows: columns by table, kinds of table, names of valid indexes by table."""

    columns: dict[str, dict[str, Column]]
    kinds: dict[str, str]
    indexes: dict[str, set[str]]


async def read_tables(db: Database, names: Iterable[str]) -> Tables:
    wanted = list(names)
    columns: dict[str, dict[str, Column]] = {}
    kinds: dict[str, str] = {}
    for row in await db.fetch(queries.TABLE_COLUMNS, wanted):
        kinds[row["table"]] = row["kind"]
        found = columns.setdefault(row["table"], {})
        if row["column"] is not None:
            found[row["column"]] = Column(row["type"], row["not_null"])
    indexes: dict[str, set[str]] = {}
    for row in await db.fetch(queries.TABLE_INDEXES, wanted):
        indexes.setdefault(row["table"], set()).add(row["index"])
    return Tables(columns, kinds, indexes)


async def find_drift(db: Database, schema: Schema) -> list[Difference]:
    """Compare every collection's table with what the schema would create; views last."""
    tables = await read_tables(db, (collection.table for collection in schema))
    found: list[Difference] = []
    for collection in sorted(schema, key=lambda each: each.is_view):
        if collection.is_view:
            found += view_drift(schema, collection, tables)
        else:
            found += await table_drift(db, collection, tables)
    return found


async def table_drift(db: Database, collection: Collection, tables: Tables) -> list[Difference]:
    name, table = collection.name, collection.table
    if tables.kinds.get(table) != "r":
        statements = (*ddl.create_table(collection), *user_indexes(collection).values())
        return [
            Difference(name, f"The table of {name} is missing; it would be made again, empty.", statements)
        ]
    columns = tables.columns[table]
    found: list[Difference] = []
    for field in collection.fields:
        column = columns.pop(field.column, None)
        if column is None:
            statement = f"ALTER TABLE {ident(table)} ADD COLUMN {field.column_definition}"
            found.append(Difference(name, f"The column of {name}.{field.name} is missing.", (statement,)))
        elif column.type != views.bare_type(field):
            found.append(await retyped(db, collection, field, column))
        elif column.not_null != (field.column_default is not None):
            found.append(nullable(collection, field, column))
    columns.pop(ROW, None)
    for column_name in sorted(columns):
        rows = int(await db.fetchval(queries.count_rows(table, f"{ident(column_name)} IS NOT NULL")))
        found.append(
            Difference(
                name,
                f"The table of {name} has a column {column_name} that is no field.",
                (f"ALTER TABLE {ident(table)} DROP COLUMN {ident(column_name)}",),
                rows,
                f"the values of {column_name}",
            )
        )
    present = tables.indexes.get(table, set())
    for index, statement in expected_indexes(collection).items():
        if index not in present:
            found.append(Difference(name, f"The index {index} of {name} is missing.", (statement,)))
    return found


async def retyped(db: Database, collection: Collection, field: Field, column: Column) -> Difference:
    table, quoted = ident(collection.table), ident(field.column)
    alter = f"ALTER TABLE {table} ALTER COLUMN {quoted}"
    value = f"({quoted}::text)::{views.bare_type(field)}"
    statements = [f"{alter} DROP DEFAULT", f"{alter} DROP NOT NULL"]
    default = field.column_default
    if default is not None:
        value = f"coalesce({value}, {default})"
    statements.append(f"{alter} TYPE {field.column_type} USING {value}")
    if default is not None:
        statements += [f"{alter} SET DEFAULT {default}", f"{alter} SET NOT NULL"]
    rows = int(await db.fetchval(queries.count_rows(collection.table)))
    return Difference(
        collection.name,
        f"The column of {collection.name}.{field.name} is {column.type} instead of {views.bare_type(field)}.",
        tuple(statements),
        rows,
        f"values of {field.name} that do not fit its type",
    )


def nullable(collection: Collection, field: Field, column: Column) -> Difference:
    table, quoted = ident(collection.table), ident(field.column)
    alter = f"ALTER TABLE {table} ALTER COLUMN {quoted}"
    if field.column_default is None:
        sentence = f"The column of {collection.name}.{field.name} is NOT NULL, but must allow it."
        return Difference(collection.name, sentence, (f"{alter} DROP NOT NULL",))
    sentence = f"The column of {collection.name}.{field.name} allows NULL."
    fill = f"UPDATE {table} SET {quoted} = {field.column_default} WHERE {quoted} IS NULL"  # noqa: S608  # names are quoted
    return Difference(
        collection.name,
        sentence,
        (fill, f"{alter} SET DEFAULT {field.column_default}", f"{alter} SET NOT NULL"),
    )


def view_drift(schema: Schema, view: Collection, tables: Tables) -> list[Difference]:
    columns = tables.columns.get(view.table, {})
    expected = {field.column: views.bare_type(field) for field in view.fields}
    actual = {name: column.type for name, column in columns.items()}
    if tables.kinds.get(view.table) == "v" and actual == expected:
        return []
    try:
        statement = f"CREATE VIEW {ident(view.table)} AS {views.translated(schema, view)}"
    except BadView:
        # Its query does not fit the schema any more; a save of the view says so, nothing here can mend it.
        return []
    if tables.kinds.get(view.table) == "v":
        sentence = f"The view of {view.name} has other columns than its fields."
        return [Difference(view.name, sentence, (f"DROP VIEW {ident(view.table)}", statement))]
    return [Difference(view.name, f"The view of {view.name} is missing.", (statement,))]


def expected_indexes(collection: Collection) -> dict[str, str]:
    """Every index that the table must have, by its name."""
    row = f"CREATE UNIQUE INDEX {ident(ddl.row_index_name(collection))} ON {ident(collection.table)} ({ident(ROW)})"
    return {
        ddl.row_index_name(collection): row,
        **ddl.reference_indexes(collection),
        **user_indexes(collection),
    }


def user_indexes(collection: Collection) -> dict[str, str]:
    """The collection's own indexes, but for those that cannot be translated."""
    statements: dict[str, str] = {}
    for text in collection.indexes:
        try:
            statements[ddl.physical_index(text)] = translate_index(text, collection)
        except Untranslatable:
            continue
    return statements
