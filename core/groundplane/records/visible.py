"""Which fields of the records in an answer plugins keep from the caller, and what stands in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import BadValue, LimitExceeded, StatementRefused
from groundplane.db.sql import Args
from groundplane.query.errors import QueryError
from groundplane.query.restricted import Restriction, restrictions, restricts
from groundplane.query.rules import rule_condition
from groundplane.records.plan import BASE, Plan, Row
from groundplane.records.queries import all_of
from groundplane.schema.cache import Schema
from groundplane.schema.fields.base import Kind

# For each record of an answer (by its place among them) the names of what is kept back, and the masks.
Withheld: TypeAlias = dict[int, Mapping[str, Any]]
REFUSED = (BadValue, LimitExceeded, QueryError, StatementRefused)


async def withheld(
    db: Database, schema: Schema, rows: Sequence[tuple[Plan, Row]], info: RequestInfo, *, given: bool = False
) -> Withheld:
    """Evaluate the plugins' expressions on the rows; what cannot be evaluated is kept back.

    They are evaluated on what is stored now. `given` evaluates them on the rows as they are here: those of
    events, which may have changed or be gone since.
    """
    found: Withheld = {}
    if info.is_superuser or not restricts(schema):
        return found
    groups: dict[str, list[int]] = {}
    for place, (plan, _) in enumerate(rows):
        if restrictions(schema, plan.collection):
            groups.setdefault(plan.collection.id, []).append(place)
    for places in groups.values():
        plan = rows[places[0]][0]
        fields = restrictions(schema, plan.collection)
        seen = await visible_fields(
            db, schema, plan, fields, [rows[place][1] for place in places], info, given
        )
        for place, visible in zip(places, seen, strict=True):
            kept = {name: each.mask for name, each in fields.items() if name not in visible}
            if kept:
                found[place] = kept
    return found


async def visible_fields(
    db: Database,
    schema: Schema,
    plan: Plan,
    fields: Mapping[str, Restriction],
    rows: Sequence[Row],
    info: RequestInfo,
    given: bool,
) -> list[frozenset[str]]:
    """For each row the names of the restricted fields that the caller may see."""
    seen: list[frozenset[str]] = [frozenset()] * len(rows)
    args = Args()
    values: Any = [as_json(plan, row) for row in rows] if given else [row.values["id"] for row in rows]
    marker = args.add(msgspec.json.encode(values).decode() if given else values)
    names: list[str] = []
    checks: list[str] = []
    try:
        for name, restriction in fields.items():
            if restriction.visible is not None:
                conditions = [
                    rule_condition(schema, plan.collection, each, info, args) for each in restriction.visible
                ]
                names.append(name)
                # CASE makes a NULL, which satisfies no rule, false.
                checks.append(f"CASE WHEN {all_of(*conditions)} THEN true ELSE false END")
        if not names:
            return seen
        source = (
            f"json_array_elements({marker}::json) WITH ORDINALITY asked(v, n)"
            f" CROSS JOIN LATERAL json_populate_record(NULL::{plan.table}, asked.v) {BASE}"
            if given
            else f"unnest({marker}::text[]) WITH ORDINALITY asked(v, n)"
            f' JOIN {plan.table} {BASE} ON {BASE}."id" = asked.v'
        )
        text = f"SELECT asked.n, {', '.join(checks)} FROM {source}"  # noqa: S608  # names only
        answers = await db.fetch(text, *args.values)
    except REFUSED:
        return seen
    for answer in answers:
        holding = zip(names, list(answer)[1:], strict=True)
        seen[answer[0] - 1] = frozenset(name for name, holds in holding if holds)
    return seen


def as_json(plan: Plan, row: Row) -> dict[str, Any]:
    """A stored record as `json_populate_record` reads it, by the names of the columns."""
    return {field.column: written(field.kind, row.values[field.name]) for field in plan.fields}


def written(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.DATE:
            return None if value is None else value.isoformat()
        case Kind.GEO:
            return f"({value[0]},{value[1]})"
        case Kind.JSON:
            return None if value is None else msgspec.Raw(value.encode())
        case Kind.MULTI:
            return [str(item) for item in value]
        case Kind.TEXT:
            return str(value)
    return value
