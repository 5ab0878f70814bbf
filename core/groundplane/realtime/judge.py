"""Who may hear of a change: one statement for a rule and all its subscribers, not one for each of them.

A subscription's rule and filter compile to a condition and its values. Subscriptions with the same condition
are asked together, equal values once: `… FROM unnest($1::text[], …) WITH ORDINALITY CROSS JOIN LATERAL (the
changed rows that meet the condition)`. A rule that reads nothing of the caller has no values, and so one
member whatever the number of its subscribers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from groundplane.db.engine import Database
from groundplane.db.sql import Args, ident
from groundplane.errors import Forbidden
from groundplane.query.effective import rule_of
from groundplane.query.errors import QueryError
from groundplane.query.filters import filter_condition, refuse_request_identifiers
from groundplane.query.nodes import All, Call, Comparison, Identifier, Node
from groundplane.query.nodes import Any as AnyOf
from groundplane.query.parser import parse
from groundplane.query.rules import rule_condition
from groundplane.realtime.clients import Group, Subscription
from groundplane.realtime.grouped import Grouped
from groundplane.realtime.log import Event
from groundplane.records.plan import BASE, plan_of
from groundplane.records.queries import all_of
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

ROWS = "gp_changed"
SEQ = ident("gp$seq")


class Check(NamedTuple):
    """A condition on the row `r` with its values, lists as tuples."""

    condition: str
    values: tuple[Any, ...]

    @property
    def reads_others(self) -> bool:
        """Whether it looks at more than the row itself."""
        return "SELECT" in self.condition


Verdict: TypeAlias = "Check | bool"
Allowed: TypeAlias = "dict[Group, set[int]]"


class Judge:
    """Decides for the changes of one collection at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._grouped = Grouped(db)

    async def allowed(
        self,
        schema: Schema,
        collection: Collection,
        events: Sequence[Event],
        concerned: dict[Group, set[int]],
    ) -> Allowed:
        """Of the numbers of events that concern each group, those that it may hear of.

        What cannot be decided, because a statement fails, nobody hears of; raises Unavailable and the like.
        """
        allowed: Allowed = {}
        conditions: dict[str, dict[tuple[Any, ...], list[Group]]] = {}
        for group, numbers in concerned.items():
            verdict = check_of(schema, collection, group.leader)
            if verdict is True:
                allowed[group] = numbers
            elif verdict is not False:
                members = conditions.setdefault(verdict.condition, {})
                members.setdefault(verdict.values, []).append(group)
        if not conditions:
            return allowed
        source = rows_of(collection)
        for condition, members in conditions.items():
            callers = list(members)
            asked = sorted({number for each in members.values() for one in each for number in concerned[one]})
            head = f"WITH {ROWS} AS MATERIALIZED ({source.format(seqs=f'${len(callers[0]) + 1}')}) "
            inner = f"SELECT {BASE}.{SEQ} FROM {ROWS} {BASE} WHERE {condition}"  # noqa: S608  # names only
            for seq, place in await self._grouped.ask(head, inner, callers, [asked]):
                for group in members[callers[place]]:
                    if seq in concerned[group]:
                        allowed.setdefault(group, set()).add(seq)
        return allowed

    async def rows(
        self, schema: Schema, collection: Collection, numbers: Sequence[int]
    ) -> dict[int, dict[str, Any]]:
        """The changed records as they were written, in stored form, by the number of the event."""
        plan = plan_of(schema, collection)
        names = ", ".join(f"{BASE}.{ident(field.column)}" for field in plan.fields)
        source = rows_of(collection).format(seqs="$1")
        text = f"SELECT {BASE}.{SEQ}, {names} FROM ({source}) {BASE}"  # noqa: S608  # names only
        found: dict[int, dict[str, Any]] = {}
        for record in await self._db.fetch(text, list(numbers)):
            read = {
                field.name: field.zero if value is None else value
                for field, value in zip(plan.fields, list(record)[1:], strict=True)
            }
            values = [read[field.name] for field in plan.fields]
            found[record[0]] = plan.row([*values, 0]).values
        return found


def rows_of(collection: Collection) -> str:
    """A SELECT of the logged rows `{seqs}` with the collection's columns."""
    table = ident(collection.table).replace("{", "{{").replace("}", "}}")
    return (
        f'SELECT e."seq" AS {SEQ}, p.* FROM "_events" e'  # noqa: S608  # names only
        f' CROSS JOIN LATERAL json_populate_record(NULL::public.{table}, e."row") p'
        ' WHERE e."seq" = ANY({seqs}::bigint[])'
    )


def check_of(schema: Schema, collection: Collection, subscription: Subscription) -> Verdict:
    """Rule and filter of a subscription, compiled once per version of the schema and of its caller."""
    key = (schema, subscription.client.caller)
    known = subscription.checked_for
    if known is None or known[0] is not key[0] or known[1] is not key[1]:
        subscription.check = compiled(schema, collection, subscription)
        subscription.checked_for = key
    verdict: Verdict = subscription.check
    return verdict


def compiled(schema: Schema, collection: Collection, subscription: Subscription) -> Verdict:
    """True and False are for every record (contract, realtime §4.2, 2 and 3)."""
    info, topic = subscription.info, subscription.topic
    rule = rule_of(schema, collection, topic.gate)
    text = topic.query.get("filter", "")
    args = Args()
    conditions: list[str] = []
    try:
        if not info.is_superuser:
            if rule is None:
                return False
            if rule:
                conditions.append(rule_condition(schema, collection, rule, info, args))
        if text:
            refuse_request_identifiers(text, topic.query.get("sort", ""), info)
            if names_hidden(collection, parse(text)):
                return False
            conditions.append(filter_condition(schema, collection, text, info, args))
    except (QueryError, Forbidden):
        return False
    values = tuple(tuple(each) if isinstance(each, list) else each for each in args.values)
    return Check(all_of(*conditions), values) if conditions else True


def names_hidden(collection: Collection, node: Node) -> bool:
    """Whether a filter reads a hidden field of the record, which in a subscription nobody may."""
    match node:
        case All(items) | AnyOf(items):
            return any(names_hidden(collection, each) for each in items)
        case Comparison():
            return any(
                is_hidden(collection, operand)
                for side in (node.left, node.right)
                for operand in (side.arguments if isinstance(side, Call) else (side,))
            )
    return False


def is_hidden(collection: Collection, operand: object) -> bool:
    if not isinstance(operand, Identifier):
        return False
    field = collection.by_name.get(operand.name.partition(".")[0].partition(":")[0])
    return field is not None and field.hidden
