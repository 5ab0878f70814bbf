"""The statements that write any number of rows of one collection at once: inserts, updates and deletes.

Each takes arrays, one per value of a row, and returns for each row that it wrote the id first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from groundplane.db.lanes import PLACEHOLDER
from groundplane.db.sql import ident
from groundplane.db.write_lanes import WriteShape
from groundplane.records import queries
from groundplane.records.plan import BASE, Plan, UniqueKey
from groundplane.records.shapes import Learnt
from groundplane.schema.cache import Schema
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.sqlite_values import with_collation

GIVEN = "gp_given"  # the rows as they were sent
# The array type that carries a column's values. An array of lists would have to be of equally long ones, so
# each list travels as PostgreSQL's own text of it.
ARRAYS = {
    Kind.TEXT: "text[]",
    Kind.NUMBER: "double precision[]",
    Kind.BOOL: "boolean[]",
    Kind.DATE: "timestamptz[]",
    Kind.JSON: "json[]",
    Kind.GEO: "point[]",
    Kind.MULTI: "text[]",
}


def array_text(items: Sequence[str]) -> str:
    """A list of texts as PostgreSQL writes an array."""
    quoted = [item.replace("\\", "\\\\").replace('"', '\\"') for item in items]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"


class GivenRows:
    """The rows of a statement: columns made of arrays, and the values of a learnt condition behind them."""

    def __init__(self, columns: Sequence[tuple[str, str, str]], learnt: Learnt, alias: str) -> None:
        """`columns` are the name, the type and the array type of each; `alias` is that of the rows."""
        count, slots = len(columns), learnt.shape.slots
        arrays = [f"${number}::{array}" for number, (_, _, array) in enumerate(columns, 1)]
        arrays += [f"${count + number}::text[]" for number in range(1, slots + 1)]
        shown = [f"a{number}::{kind} AS {ident(name)}" for number, (name, kind, _) in enumerate(columns, 1)]
        shown += [f'a{count + number} AS "gp${number}"' for number in range(1, slots + 1)]
        names = ", ".join(f"a{number}" for number in range(1, count + slots + 1))
        self.text = f"SELECT {', '.join(shown)} FROM unnest({', '.join(arrays)}) AS given({names})"  # noqa: S608

        def placed(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0]
            position = int(match[1])
            return f'{alias}."gp${position}"' if position <= slots else f"${position + count}"

        self.condition = PLACEHOLDER.sub(placed, learnt.shape.text)


def column_of(field: Field, name: str = "") -> tuple[str, str, str]:
    return name or field.column, field.column_type, ARRAYS[field.kind]


def insert_shape(schema: Schema, plan: Plan, fields: Sequence[Field], learnt: Learnt) -> WriteShape:
    """New rows, of these fields; `learnt` is a condition on the row of the alias BASE.

    Where the unique indexes are plain enough, it says of rows that were not written although all conditions
    hold, behind id and NULL, for each of `plan.unique_keys` whether it is taken (true or NULL).
    """
    rows = GivenRows([column_of(field) for field in fields], learnt, BASE)
    targets = ", ".join(ident(field.column) for field in fields)
    taken = ", ".join(f"{BASE}.{ident(field.column)}" for field in fields)

    def condition(*, locked: bool) -> str:
        references = [
            reference_condition(schema, field, f"{BASE}.{ident(field.column)}", locked=locked)
            for field in plan.relation_fields
        ]
        return queries.where(queries.all_of(rows.condition, *references))

    text = (
        f"INSERT INTO {plan.table} ({targets}) SELECT {taken} FROM ({rows.text}) {BASE}"  # noqa: S608
        f'{condition(locked=True)} ON CONFLICT DO NOTHING RETURNING "id", xmin'
    )
    why = ""
    if plan.unique_keys is not None:
        taken_keys = ", ".join(taken_condition(plan, key) for key in plan.unique_keys)
        source = f"FROM ({rows.text}) {BASE}{condition(locked=False)}"
        why = f'SELECT {BASE}."id", NULL, {taken_keys} {source}'
    return WriteShape(text, learnt.shape.constants, why=why)


def taken_condition(plan: Plan, key: UniqueKey) -> str:
    """Whether a stored row has what the row of the alias BASE has in a unique index: true or NULL."""
    same = " AND ".join(
        f"{with_collation('stored.' + column, collation)} = {with_collation(f'{BASE}.{column}', collation)}"
        if collation
        else f"stored.{column} = {BASE}.{column}"
        for column, collation in key.columns
    )
    # Not EXISTS, for which PostgreSQL might read the whole table into a hash.
    return f"(SELECT true FROM {plan.table} stored WHERE {same} LIMIT 1)"  # noqa: S608


def change_shape(
    plan: Plan,
    columns: Sequence[tuple[str, str, str]],
    assignments: Sequence[tuple[Field, str]],
    shown: str,
    learnt: Learnt,
) -> WriteShape:
    """Changes of stored rows of the alias BASE: columns to expressions over them and the given rows.

    `columns` begin with the id, called "gp_id". Returns id, the text `shown` of the new row, and version.
    """
    rows = GivenRows([("gp_id", "text", "text[]"), *columns], learnt, GIVEN)
    changes = ", ".join(f"{ident(field.column)} = {value}" for field, value in assignments)
    text = (
        f"{locked_rows(plan, rows, 'FOR NO KEY UPDATE')}"  # noqa: S608
        f" UPDATE {plan.table} {BASE} SET {changes} FROM {GIVEN} JOIN gp_locked ON gp_locked.id = {GIVEN}.gp_id"
        f"{queries.where(queries.all_of(f'{BASE}.id = {GIVEN}.gp_id', rows.condition))}"
        f" RETURNING {BASE}.id, {shown}, {BASE}.xmin"
    )
    return WriteShape(text, learnt.shape.constants)


def delete_shape(plan: Plan, columns: Sequence[tuple[str, str, str]], learnt: Learnt) -> WriteShape:
    """Removals of stored rows of the alias BASE."""
    rows = GivenRows([("gp_id", "text", "text[]"), *columns], learnt, GIVEN)
    text = (
        f"{locked_rows(plan, rows, 'FOR UPDATE')}"  # noqa: S608
        f" DELETE FROM {plan.table} {BASE} USING {GIVEN} JOIN gp_locked ON gp_locked.id = {GIVEN}.gp_id"
        f"{queries.where(queries.all_of(f'{BASE}.id = {GIVEN}.gp_id', rows.condition))}"
        f" RETURNING {BASE}.id"
    )
    return WriteShape(text, learnt.shape.constants)


def locked_rows(plan: Plan, rows: GivenRows, lock: str) -> str:
    """The given rows, and the stored ones locked in the order of their ids.

    Two statements over the same rows then wait for each other instead of waiting for each other's rows.
    """
    return (
        f"WITH {GIVEN} AS MATERIALIZED ({rows.text}),"  # noqa: S608
        f" gp_locked AS MATERIALIZED (SELECT stored.id FROM {plan.table} stored"
        f" WHERE stored.id = ANY($1::text[]) ORDER BY stored.id {lock})"
    )


def reference_condition(schema: Schema, field: Any, value: str, *, locked: bool = True) -> str:
    """The records that a relation field's value names exist, and (`locked`) will until we have committed."""
    target = schema.by_id[field.collection_id]
    lock = " FOR KEY SHARE" if locked and not target.is_view else ""
    source = f"SELECT 1 FROM {ident(target.table)} referenced WHERE"  # noqa: S608
    if field.is_multiple:
        missing = f'NOT EXISTS ({source} referenced."id" = wanted.id{lock})'
        return f"NOT EXISTS (SELECT 1 FROM unnest({value}) AS wanted(id) WHERE {missing})"  # noqa: S608
    return f"{value} = '' OR EXISTS ({source} referenced.\"id\" = {value}{lock})"
