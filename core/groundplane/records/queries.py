"""The statements over record tables: values only as parameters, names only through `ident`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from groundplane.db.sql import Args, Sql, ident
from groundplane.records.plan import BASE, Plan
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind

VIRTUAL = "virtual"
SCHEMA_VERSION = "SELECT value FROM _params WHERE id = 'schema_version'"

# Keys of our transaction-level advisory locks (the first of two; the second is 0).
AUTH_IDS_LOCK = 0x67706964
SUPERUSERS_LOCK = 0x67707375


def where(condition: str) -> str:
    return f" WHERE {condition}" if condition else ""


def all_of(*conditions: str) -> str:
    """Join the non-empty conditions with AND."""
    return " AND ".join(f"({condition})" for condition in conditions if condition)


def select_one(plan: Plan, record_id: str, args: Args, condition: str = "", lock: str = "") -> Sql:
    """The row with this id, if it also satisfies the condition; `lock` is FOR … or empty."""
    clause = all_of(f'{BASE}."id" = {args.add(record_id)}', condition)
    locking = f" {lock} OF {BASE}" if lock else ""
    return args.bind(f"SELECT {plan.columns} FROM {plan.table} {BASE}{where(clause)} LIMIT 1{locking}")


def select_where(plan: Plan, condition: str, args: Args) -> Sql:
    return args.bind(f"SELECT {plan.columns} FROM {plan.table} {BASE}{where(condition)}")


def select_by_ids(plan: Plan, ids: Sequence[str], args: Args, condition: str = "") -> Sql:
    clause = all_of(f'{BASE}."id" = ANY({args.add(list(ids))}::text[])', condition)
    return args.bind(f"SELECT {plan.columns} FROM {plan.table} {BASE}{where(clause)}")


def select_page(
    plan: Plan,
    condition: str,
    order: str,
    limit: int,
    offset: int,
    args: Args,
    *,
    counted: bool,
    behind: str = "",
    keys: Sequence[str] = (),
) -> Sql:
    """One page; with `counted` the first column is the number of all matching rows, in the same snapshot.

    A counted page has one row even when it is empty: its other columns are then NULL, the id too. `behind` is
    a condition of the page that does not count, `keys` are more columns at the end.
    """
    sorting = f" ORDER BY {order}" if order else ""
    columns = ", ".join([plan.columns, *(f"{key} AS k{number}" for number, key in enumerate(keys))])
    page = (
        f"SELECT {columns} FROM {plan.table} {BASE}{where(all_of(condition, behind) if behind else condition)}"
        f"{sorting} LIMIT {args.add(limit)}::bigint OFFSET {args.add(offset)}::bigint"
    )
    if not counted:
        return args.bind(page)
    # A nested loop over the one row of the count: the page keeps its order.
    return args.bind(
        f"SELECT c.total, p.* FROM (SELECT count(*) AS total FROM {plan.table} {BASE}{where(condition)}) c"
        f" LEFT JOIN LATERAL ({page}) p ON true"
    )


def estimate(plan: Plan, condition: str, args: Args) -> Sql:
    """What PostgreSQL expects to find, as the JSON of a plan."""
    return args.bind(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {plan.table} {BASE}{where(condition)}")


def satisfying(plan: Plan, ids: Sequence[str], condition: str, args: Args) -> Sql:
    """Those of the ids whose rows satisfy the condition."""
    clause = all_of(f'{BASE}."id" = ANY({args.add(list(ids))}::text[])', condition)
    return args.bind(f'SELECT {BASE}."id" FROM {plan.table} {BASE}{where(clause)}')


def insert(plan: Plan, values: Mapping[str, Any]) -> Sql:
    args = Args()
    names = ", ".join(ident(field.column) for field in plan.fields)
    marks = ", ".join(typed(field, values[field.name], args) for field in plan.fields)
    return args.bind(f"INSERT INTO {plan.table} ({names}) VALUES ({marks}) RETURNING xmin")


def update(plan: Plan, record_id: str, changes: Mapping[str, Any]) -> Sql:
    args = Args()
    assignments = ", ".join(
        f"{ident(field.column)} = {typed(field, changes[field.name], args)}"
        for field in plan.fields
        if field.name in changes
    )
    return args.bind(
        f'UPDATE {plan.table} SET {assignments} WHERE "id" = {args.add(record_id)} RETURNING xmin'
    )


def typed(field: Field, value: Any, args: Args) -> str:
    """A placeholder that names its type.

    The driver remembers the types of a statement by its text. A column that has become a list must not
    meet a statement from before.
    """
    return f"{args.add(column_value(field, value))}::{field.column_type.partition(' COLLATE ')[0]}"


def column_value(field: Field, value: Any) -> Any:
    """The stored form as the driver takes it; uploads are their names."""
    if field.type_name == "file":
        return [str(name) for name in value] if isinstance(value, list) else str(value)
    return value


def virtual_row(plan: Plan, values: Mapping[str, Any], args: Args) -> str:
    """A CTE of one row that stands in for the collection's table in a create rule (contract, filters §9.1)."""
    columns = ", ".join(
        f"{args.add(virtual_value(field, values[field.name]))}::{field.column_type} AS {ident(field.column)}"
        for field in plan.fields
    )
    return f"WITH {VIRTUAL} AS (SELECT {columns})"


def virtual_value(field: Field, value: Any) -> Any:
    value = column_value(field, value)
    if field.kind is Kind.JSON:
        # A value that the field check will refuse, and a NUL that PostgreSQL has no place for, are no
        # reason to fail before that check can say so.
        return value.replace("\\u0000", "\\ufffd") if value else None
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [item.replace("\x00", "\ufffd") for item in value]
    return value


def virtual_check(row: str, conditions: Iterable[str]) -> str:
    """One boolean per condition, evaluated on the virtual row."""
    checks = ", ".join(f"EXISTS (SELECT 1 FROM {VIRTUAL} {BASE} WHERE {each})" for each in conditions)
    return f"{row} SELECT {checks}"


def stored_check(plan: Plan, record_id: str, conditions: Iterable[str], args: Args) -> Sql:
    """One boolean per condition, evaluated on a stored row; no row when it is gone."""
    # CASE makes a NULL, which satisfies no rule, false.
    checks = ", ".join(f"CASE WHEN {each} THEN true ELSE false END" for each in conditions)
    return args.bind(f'SELECT {checks} FROM {plan.table} {BASE} WHERE {BASE}."id" = {args.add(record_id)}')


# Relations


def lock_related(targets: Sequence[tuple[Collection, Sequence[str]]]) -> Sql:
    """Find referenced rows and keep them from being deleted until we commit: (position, id) pairs."""
    args = Args()
    parts = [
        f't{position} AS (SELECT "id" FROM {ident(collection.table)} WHERE "id" = ANY({args.add(list(ids))}::text[])'
        f' ORDER BY "id" {"" if collection.is_view else "FOR KEY SHARE"})'
        for position, (collection, ids) in enumerate(targets)
    ]
    found = " UNION ALL ".join(
        f'SELECT {position}, "id" FROM t{position}' for position in range(len(targets))
    )
    return args.bind(f"WITH {', '.join(parts)} {found}")


def select_referencing(plan: Plan, field: Field, ids: Sequence[str]) -> Sql:
    """The rows whose relation field holds one of the ids, locked, in insertion order."""
    args = Args()
    return args.bind(
        f"SELECT {plan.columns} FROM {plan.table} {BASE} WHERE {refers(field, args.add(list(ids)))}"
        f' ORDER BY {BASE}."_row" FOR UPDATE OF {BASE}'
    )


def refers(field: Field, mark: str) -> str:
    """The field holds one of the ids in the array parameter; written so that the column's index serves."""
    column = f"{BASE}.{ident(field.column)}"
    return f"{column} && {mark}::text[]" if field.is_multiple else f"{column} = ANY({mark}::text[])"


def select_back_references(plan: Plan, field: Field, ids: Sequence[str], limit: int) -> Sql:
    """(parent id, id) of the rows that point to each parent, at most `limit` each, in insertion order."""
    args = Args()
    column = f"{BASE}.{ident(field.column)}"
    condition = f"{column} @> ARRAY[p.id]" if field.is_multiple else f"{column} = p.id"
    order = "" if plan.collection.is_view else f' ORDER BY {BASE}."_row"'
    return args.bind(
        f"SELECT p.id, b.id FROM unnest({args.add(list(ids))}::text[]) WITH ORDINALITY p(id, n)"
        f' CROSS JOIN LATERAL (SELECT {BASE}."id" FROM {plan.table} {BASE} WHERE {condition}{order}'
        f" LIMIT {args.add(limit)}) b"
    )


def delete_rows(plan: Plan, ids: Sequence[str]) -> Sql:
    """Delete rows; returns their ids, and behind each the values of its file fields."""
    args = Args()
    returned = ", ".join(['"id"', *(ident(field.column) for field in plan.file_fields)])
    return args.bind(
        f'DELETE FROM {plan.table} WHERE "id" = ANY({args.add(list(ids))}::text[]) RETURNING {returned}'
    )


def others_exist(plan: Plan, ids: Sequence[str]) -> Sql:
    """Whether the table has a row besides these."""
    args = Args()
    return args.bind(
        f'SELECT EXISTS (SELECT 1 FROM {plan.table} WHERE "id" <> ALL({args.add(list(ids))}::text[]))'
    )


def delete_refs(collection: Collection, owner: Collection, ids: Sequence[str]) -> Sql:
    """Remove what one of the system collections keeps about auth records."""
    args = Args()
    return args.bind(
        f'DELETE FROM {ident(collection.table)} WHERE "collectionRef" = {args.add(owner.id)}'
        f' AND "recordRef" = ANY({args.add(list(ids))}::text[])'
    )


def owners_of_file(sources: Sequence[tuple[Collection, Sequence[Field]]], name: str) -> Sql:
    """(position, id) of the records in any of the collections that hold a file of this name."""
    args = Args()
    mark = args.add(name)
    parts = []
    for position, (collection, fields) in enumerate(sources):
        holds = " OR ".join(
            f"{ident(field.column)} @> ARRAY[{mark}::text]"
            if field.is_multiple
            else f"{ident(field.column)} = {mark}"
            for field in fields
        )
        parts.append(f'(SELECT {position}, "id" FROM {ident(collection.table)} WHERE {holds} LIMIT 100)')
    return args.bind(" UNION ALL ".join(parts))


# Ids


def id_in_tables(tables: Sequence[str], record_id: str) -> Sql:
    """Whether any of the tables has a record with this id."""
    args = Args()
    mark = args.add(record_id)
    checks = " OR ".join(f'EXISTS (SELECT 1 FROM {ident(table)} WHERE "id" = {mark})' for table in tables)
    return args.bind(f"SELECT {checks}")


def similar_id(plan: Plan, record_id: str) -> Sql:
    """Whether the id is taken when ASCII letters compare without case."""
    args = Args()
    return args.bind(
        f'SELECT EXISTS (SELECT 1 FROM {plan.table} WHERE lower("id") = lower({args.add(record_id)}::text COLLATE "C"))'
    )


def advisory_lock(key: int) -> Sql:
    return Sql(f"SELECT pg_advisory_xact_lock({key}, 0)")
