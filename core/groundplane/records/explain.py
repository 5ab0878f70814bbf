"""Why somebody may do something with a record or not: the rule that holds, judged part by part on the row."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args, Sql
from groundplane.errors import GroundplaneError, Invalid, sentence
from groundplane.query.effective import Action, Compound, rule_of
from groundplane.query.errors import QueryError
from groundplane.query.explain import Part, explain_rule, judge
from groundplane.records import queries
from groundplane.records.answers import is_possible_id
from groundplane.records.creating import virtual_values
from groundplane.records.plan import BASE, plan_of
from groundplane.records.values import Submitted, empty_record, resolve
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

LIMITS = "SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = '5s'"
SUPERUSER, LOCKED, EVERYONE, MISSING, RULE, BROKEN = REASONS = (
    "superuser",
    "locked",
    "everyone",
    "missing",
    "rule",
    "broken",
)
# What a client is answered who may not, by action; a list has the other records only.
DENIED: Mapping[str, int] = {"list": 200, "view": 404, "create": 400, "update": 404, "delete": 404}


class Explanation(NamedTuple):
    """`reason` is one of REASONS; `status` what a client is answered. `parts` is there when a rule was judged."""

    allowed: bool
    reason: str
    status: int
    rule: str | Compound | None = None
    parts: Part | None = None
    sql: Sql = Sql("")
    took_ms: float = 0.0
    problem: str = ""


async def explain(
    db: Database,
    schema: Schema,
    collection: Collection,
    action: Action,
    info: RequestInfo,
    *,
    record_id: str = "",
    body: Mapping[str, Any] | None = None,
) -> Explanation:
    """Judge the rule of an action, with what plugins have made of it.

    `record_id` is not used on create, `body` only on create and update. Nothing is written. Raises Invalid
    for a body that cannot be read.
    """
    rule = rule_of(schema, collection, action)
    if info.is_superuser:
        return Explanation(True, SUPERUSER, 200, rule)
    if rule is None:
        return Explanation(False, LOCKED, 403, rule)
    args = Args()
    plan = plan_of(schema, collection)
    async with db.transaction():
        await db.execute(LIMITS)
        current: dict[str, Any] | None = empty_record(collection)
        if action != "create":
            current = None
            if is_possible_id(record_id):
                chosen = Args()
                statement = queries.select_one(plan, record_id, chosen)
                found = await db.fetchrow(statement.text, *statement.args)
                current = plan.row(found).values if found is not None else None
        if current is None:
            return Explanation(False, MISSING, 404, rule)
        if rule == "":
            return Explanation(True, EVERYONE, 200, rule)
        try:
            resolved = resolve(collection, Submitted(body or {}), current, see_hidden=False)
        except (TypeError, ValueError) as error:
            raise Invalid(f"The body cannot be read: {error}") from None
        if action in ("create", "update"):
            info = msgspec.structs.replace(info, body=resolved.body)
        start = queries.virtual_row(plan, virtual_values(plan, resolved), args) if action == "create" else ""
        table = queries.VIRTUAL if start else plan.table
        try:
            explained = explain_rule(schema, collection, rule, info, args, virtual=bool(start))
            where = "" if start else f' WHERE {BASE}."id" = {args.add(record_id)}'
            text = f"{start} SELECT {', '.join(explained.columns)} FROM {table} {BASE}{where}"  # noqa: S608
            began = time.perf_counter()
            row = await db.fetchrow(text, *args.values)
            took_ms = (time.perf_counter() - began) * 1000
        except QueryError as error:
            return Explanation(False, BROKEN, DENIED[action], rule, problem=sentence(str(error)))
        except GroundplaneError as error:
            return Explanation(False, BROKEN, DENIED[action], rule, problem=error.message)
        if row is None:
            return Explanation(False, MISSING, 404, rule)
    allowed = judge(explained, list(row.values()))
    sql = args.bind(f"SELECT {explained.whole}")
    return Explanation(allowed, RULE, 200 if allowed else DENIED[action], rule, explained.root, sql, took_ms)
