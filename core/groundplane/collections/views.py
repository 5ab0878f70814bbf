"""View collections in PostgreSQL: reading their query safely, taking them down and putting them up again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec

from groundplane.collections import queries
from groundplane.db.engine import Database
from groundplane.db.sql import ident
from groundplane.errors import FieldError, GroundplaneError, sentence
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field
from groundplane.schema.sqlite import Untranslatable, infer_view_fields, translate_view

SAMPLE_ROWS = 10  # as in PocketBase: ids are looked at in so many rows only
SAMPLE_TIMEOUT_S = 10
NO_ID = "missing required id column (you can use `(ROW_NUMBER() OVER()) as id` if there is none)"
MAX_ERROR_BYTES = 500  # of a query's error that is shown


class BadView(Exception):
    """A view query cannot be used; the message is for superusers."""


class Definition(NamedTuple):
    """A view as PostgreSQL had it before it was taken down."""

    name: str
    text: str


class Derived(NamedTuple):
    """The fields of a view query and, when it cannot be used, why."""

    fields: tuple[Field, ...]
    problem: str | None


def derive(schema: Schema, query: str, name: str, old: Collection | None = None) -> Derived:
    """Infer a view's fields; what keeps its name and type keeps its id."""
    try:
        fields = infer_view_fields(query, schema, name)
        translate_view(query, schema, name)
    except Untranslatable as error:
        return Derived((), str(error) or "the query is not supported")
    kept = {(field.name, field.type_name): field.id for field in old.fields} if old is not None else {}
    named = [
        msgspec.structs.replace(field, id=kept.get((field.name, field.type_name), field.id))
        for field in fields
    ]
    has_id = any(field.name == "id" for field in named)
    return Derived(tuple(named), None if has_id else NO_ID)


def query_error(problem: str) -> FieldError:
    """The error at `viewQuery`."""
    cut = problem.encode()[:MAX_ERROR_BYTES].decode(errors="ignore")
    return FieldError("validation_invalid_view_query", sentence(f"Invalid query - {cut}"))


def translated(schema: Schema, view: Collection) -> str:
    """The PostgreSQL SELECT of a view collection; raises BadView."""
    try:
        return translate_view(view.view_query, schema, view.name)
    except Untranslatable as error:
        raise BadView(str(error)) from error


def sample_record(view: Collection, row: asyncpg.Record) -> dict[str, Any]:
    """A sampled row as a record on the wire, keys sorted, hidden fields left out."""
    record: dict[str, Any] = {"collectionId": view.id, "collectionName": view.name}
    for field in view.fields:
        if not field.hidden:
            record[field.name] = field.to_wire(field.from_column(row[field.column]))
    return dict(sorted(record.items()))


async def read_sample(db: Database, select: str) -> list[asyncpg.Record]:
    """Run a translated view query for its first rows; raises BadView.

    It runs read-only and bounded in time, in a savepoint that is rolled back, so that it can neither
    change anything nor spoil the transaction around it. Call it inside a transaction.
    """
    async with db.transaction() as connection:
        savepoint = connection.transaction()
        await savepoint.start()
        try:
            await db.execute(
                f"SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = '{SAMPLE_TIMEOUT_S}s'"
            )
            rows = await db.fetch(queries.sample(select, SAMPLE_ROWS))
        except GroundplaneError as error:
            raise BadView(database_text(error)) from error
        finally:
            if not connection.is_closed():
                await savepoint.rollback()
    check_ids(rows)
    return rows


def check_ids(rows: Iterable[asyncpg.Record]) -> None:
    """Refuse ids that are empty or occur twice among the sampled rows; raises BadView."""
    seen: set[Any] = set()
    for row in rows:
        value = row["id"]
        if value is None or value == "" or value in seen:
            raise BadView(f"empty or non-unique id value {value!r} in the first {SAMPLE_ROWS} rows")
        seen.add(value)


def database_text(error: BaseException) -> str:
    """What PostgreSQL said, for superusers; without the values of rows that its details may quote."""
    cause = error.__cause__ if error.__cause__ is not None else error
    text = getattr(cause, "message", None) or getattr(error, "message", None) or str(cause)
    return re.sub(r"\s+", " ", str(text)).strip()


async def take_down(db: Database, relation: str, columns: Iterable[str] | None) -> list[Definition]:
    """Drop the views that read these columns of a table or view (None: any), and the views on those.

    Returns them in an order in which they can be put up again.
    """
    wanted = None if columns is None else list(columns)
    rows = await db.fetch(queries.DEPENDENT_VIEWS, ident(relation), wanted)
    found = [Definition(row["name"], row["definition"]) for row in rows]
    for view in reversed(found):
        await db.execute(f"DROP VIEW {ident(view.name)}")
    return found


async def create_view(db: Database, schema: Schema, view: Collection) -> None:
    """Make the view of a collection; raises BadView when its query does not fit the schema (any more)."""
    await attempt(db, f"CREATE VIEW {ident(view.table)} AS {translated(schema, view)}")


async def put_up(db: Database, schema: Schema, definition: Definition) -> None:
    """Make a view again that was taken down; raises BadView.

    Its own query comes first. When that no longer fits because a collection it names was renamed, the
    definition of PostgreSQL, which followed the renames, is as good as long as the column types stay.
    """
    view = next((each for each in schema if each.is_view and each.table == definition.name), None)
    if view is not None:
        try:
            await create_view(db, schema, view)
            return
        except BadView as error:
            problem = error
        await attempt(db, f"CREATE VIEW {ident(view.table)} AS {definition.text}")
        if await has_other_types(db, view):
            raise problem
        return
    await attempt(db, f"CREATE VIEW {ident(definition.name)} AS {definition.text}")


async def has_other_types(db: Database, view: Collection) -> bool:
    """Whether a column of the view has not the type that its field stands for."""
    rows = await db.fetch(queries.TABLE_COLUMNS, [view.table])
    types = {row["column"]: row["type"] for row in rows}
    return any(types.get(field.column) != bare_type(field) for field in view.fields)


def bare_type(field: Field) -> str:
    """The column type as PostgreSQL writes it, without collation."""
    name = field.column_type.partition(" COLLATE")[0]
    return name.replace("timestamptz(3)", "timestamp(3) with time zone")


async def attempt(db: Database, statement: str) -> None:
    """Run one statement so that its failure leaves the transaction usable; raises BadView."""
    async with db.transaction() as connection:
        try:
            async with connection.transaction():
                await db.execute(statement)
        except GroundplaneError as error:
            raise BadView(database_text(error)) from error


def same_fields(one: Collection, other: Sequence[Field]) -> bool:
    """Whether the fields are the same but for their ids, which the copies in a view have at random."""

    def plain(field: Field) -> dict[str, Any]:
        return {key: value for key, value in field.to_json().items() if key != "id"}

    return [plain(field) for field in one.fields] == [plain(field) for field in other]
