"""The short way of a plain create: rule, references, the caller's proof and the row in one statement.

Taken when a new row needs no file, no look at other tables but its references, and nothing in Python after it
was written. As in `records.quick`, None stands for "take the ordinary way", which also knows why not.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.lanes import PLACEHOLDER, Shape
from groundplane.db.sql import Args, Sql, ident
from groundplane.query.errors import QueryError
from groundplane.query.parser import parse
from groundplane.query.rules import rule_condition
from groundplane.records import queries
from groundplane.records.checks import plain_errors
from groundplane.records.plan import BASE, Plan, plan_of
from groundplane.records.quick import Asker, Body, example, kind_of, proof_condition
from groundplane.records.shapes import (
    TEXT,
    Given,
    Learnt,
    depends_on_caller_only,
    is_plain,
    names_in,
    shapes_of,
)
from groundplane.records.values import Resolved
from groundplane.records.wire import encode_ready
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.base import Kind
from groundplane.schema.fields.text import TextField

# The driver takes these as elements of an array.
SCALARS = frozenset({Kind.TEXT, Kind.NUMBER, Kind.BOOL, Kind.DATE, Kind.JSON})
PLANS = "quick create"  # our shelf in `Schema.plans`


def suits(schema: Schema, collection: Collection) -> bool:
    """Whether new records of the collection can be written the short way."""
    shelf = schema.plans.setdefault(PLANS, {})
    found = shelf.get(collection.id)
    if not isinstance(found, bool):
        found = shelf[collection.id] = is_simple(schema, collection)
    return found


def is_simple(schema: Schema, collection: Collection) -> bool:
    plan = plan_of(schema, collection)
    return (
        collection.type == "base"
        and not collection.system
        and plan.has_default_ids
        and not plan.file_fields
        and not plan.password_fields
        and all(field.kind in SCALARS for field in collection.fields)
        and all(field.collection_id in schema.by_id for field in plan.relation_fields)
        and depends_on_caller_only(collection.create_rule)
        and not names_generated(collection)
    )


def names_generated(collection: Collection) -> bool:
    """Whether the create rule reads what a record gets by itself: it would see the row without it."""
    if not collection.create_rule:
        return False
    try:
        names = {name.partition(".")[0].partition(":")[0] for name in names_in(parse(collection.create_rule))}
    except QueryError:
        return True
    return any(
        field.name in names
        for field in collection.fields
        if isinstance(field, AutodateField) or (isinstance(field, TextField) and field.autogenerate_pattern)
    )


async def insert_quickly(
    db: Database, schema: Schema, collection: Collection, resolved: Resolved, asker: Asker
) -> Body | None:
    """Write a complete new record whose id is ours, and return it as the caller sees it."""
    plan = plan_of(schema, collection)
    record = resolved.record
    caller, proof = asker
    if (caller is not None and not is_plain(caller.id)) or plain_errors(
        plan, record, None, resolved.passwords
    ):
        return None
    learnt = shapes_of(schema).find(
        ("create", collection.id, kind_of(caller), proof != ""),
        (TEXT, TEXT),
        partial(write_condition, schema, collection, asker),
        together=1,
    )
    if learnt is None:
        return None
    shape = insert_shape(schema, plan, learnt)
    given = (proof, caller.id if caller is not None else "")
    values = tuple([record[field.name] for field in ordered(plan)])
    found = await db.inserts.row(shape, (*values, *learnt.values(given)))
    if found is None:
        return None
    superuser = caller is not None and caller.is_superuser
    body = encode_ready(plan.wire(record, superuser=superuser, email=True))
    return Body(body, f'"{found[1]}"')


def ordered(plan: Plan) -> list[Any]:
    """The fields, the id first: by it the lane knows whose row was written."""
    return sorted(plan.fields, key=lambda field: field.name != "id")


def write_condition(schema: Schema, collection: Collection, asker: Asker, given: Given) -> Sql:
    """What must hold besides the references for a row of the alias BASE to be written."""
    proof, caller_id = given
    caller = asker.caller
    args = Args()
    info: RequestInfo = example(caller, caller_id, "POST")
    rule = "" if info.is_superuser else collection.create_rule or ""
    conditions = [
        rule_condition(schema, collection, rule, info, args, virtual=BASE) if rule else "",
        proof_condition(schema, caller, caller_id, proof, args) if asker.proof else "",
    ]
    return args.bind(queries.all_of(*conditions))


def insert_shape(schema: Schema, plan: Plan, learnt: Learnt) -> Shape:
    """The statement for any number of new rows: arrays of their columns, then of the values of `learnt`."""
    shelf = schema.plans.setdefault(PLANS, {})
    known = shelf.get(learnt)
    if isinstance(known, Shape):
        return known
    fields = ordered(plan)
    condition = learnt.shape
    count = len(fields)
    slots = condition.slots

    def placed(match: Any) -> str:
        if match[1] is None:
            return str(match[0])
        position = int(match[1])
        return f'{BASE}."gp${position}"' if position <= slots else f"${position + count}"

    arrays = [f"${number}::{array_of(field)}" for number, field in enumerate(fields, 1)]
    arrays += [f"${count + number}::text[]" for number in range(1, slots + 1)]
    columns = [
        f"a{number}::{field.column_type} AS {ident(field.column)}" for number, field in enumerate(fields, 1)
    ]
    columns += [f'a{count + number} AS "gp${number}"' for number in range(1, slots + 1)]
    names = ", ".join(f"a{number}" for number in range(1, count + slots + 1))
    rows = f"SELECT {', '.join(columns)} FROM unnest({', '.join(arrays)}) AS given({names})"  # noqa: S608
    targets = ", ".join(ident(field.column) for field in fields)
    taken = ", ".join(f"{BASE}.{ident(field.column)}" for field in fields)
    conditions = [PLACEHOLDER.sub(placed, condition.text)]
    conditions += [reference_condition(schema, field) for field in plan.relation_fields]
    text = (
        f"INSERT INTO {plan.table} ({targets}) SELECT {taken} FROM ({rows}) {BASE}"  # noqa: S608
        f'{queries.where(queries.all_of(*conditions))} ON CONFLICT DO NOTHING RETURNING "id", xmin'
    )
    shape = shelf[learnt] = Shape(text, count + slots, condition.constants, inserts=True)
    return shape


def reference_condition(schema: Schema, field: Any) -> str:
    """The referenced record exists, and cannot be deleted until the row is committed."""
    target = schema.by_id[field.collection_id]
    column = f"{BASE}.{ident(field.column)}"
    lock = "" if target.is_view else " FOR KEY SHARE"
    found = f'SELECT 1 FROM {ident(target.table)} referenced WHERE referenced."id" = {column}{lock}'  # noqa: S608
    return f"{column} = '' OR EXISTS ({found})"


def array_of(field: Any) -> str:
    """The array type that carries a column's values."""
    return {
        Kind.TEXT: "text[]",
        Kind.NUMBER: "double precision[]",
        Kind.BOOL: "boolean[]",
        Kind.DATE: "timestamptz[]",
        Kind.JSON: "json[]",
    }[field.kind]


def is_id_sent(values: Mapping[str, Any]) -> bool:
    """Whether the client chose the id: it may then be one that another request brings as well."""
    return any(key.startswith("id") for key in values)
