"""Who may hear of a change: one statement for a rule and all its subscribers, not one for each of them.

A subscription's rule and filter compile to a condition and its values. Subscriptions with the same condition
are asked together, equal values once: `… FROM unnest($1::text[], …) WITH ORDINALITY CROSS JOIN LATERAL (the
changed rows that meet the condition)`. A rule that reads nothing of the caller has no values, and so one
member whatever the number of its subscribers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from groundplane.db.engine import Database
from groundplane.db.lanes import Shape, together
from groundplane.db.sql import Args, ident
from groundplane.errors import Forbidden, GroundplaneError
from groundplane.query.effective import rule_of
from groundplane.query.errors import QueryError
from groundplane.query.filters import filter_condition, refuse_request_identifiers
from groundplane.query.nodes import All, Call, Comparison, Identifier, Node
from groundplane.query.nodes import Any as AnyOf
from groundplane.query.parser import parse
from groundplane.query.rules import rule_condition
from groundplane.realtime.clients import Subscription
from groundplane.realtime.log import Event
from groundplane.records.plan import BASE, plan_of
from groundplane.records.queries import all_of
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

ROWS = "gp_changed"
SEQ = ident("gp$seq")
MAX_STATEMENTS = 1000
MAX_MEMBERS = 500  # callers in one statement


class Check(NamedTuple):
    """A condition on the row `r` with its values, lists as tuples."""

    condition: str
    values: tuple[Any, ...]

    @property
    def reads_others(self) -> bool:
        """Whether it looks at more than the row itself."""
        return "SELECT" in self.condition


Verdict: TypeAlias = "Check | bool"
Allowed: TypeAlias = "dict[Subscription, set[int]]"


class Judge:
    """Decides for the changes of one collection at a time; remembers the statements that it has made."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._many: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def allowed(
        self,
        schema: Schema,
        collection: Collection,
        events: Sequence[Event],
        concerned: dict[Subscription, set[int]],
    ) -> Allowed:
        """Of the numbers of events that concern each subscription, those that it may hear of.

        What cannot be decided, because a statement fails, nobody hears of; raises Unavailable and the like.
        """
        allowed: Allowed = {}
        groups: dict[str, dict[tuple[Any, ...], list[Subscription]]] = {}
        for subscription, numbers in concerned.items():
            verdict = check_of(schema, collection, subscription)
            if verdict is True:
                allowed[subscription] = numbers
            elif verdict is not False:
                members = groups.setdefault(verdict.condition, {})
                members.setdefault(verdict.values, []).append(subscription)
        if not groups:
            return allowed
        source = rows_of(collection)
        for condition, members in groups.items():
            callers = list(members)
            asked = sorted({number for each in members.values() for one in each for number in concerned[one]})
            # A list among the values would be taken apart by `unnest`: such callers are asked for alone.
            for part in parts_of(callers):
                for seq, position in await self._ask(source, condition, part, asked):
                    for subscription in members[part[position - 1]]:
                        if seq in concerned[subscription]:
                            allowed.setdefault(subscription, set()).add(seq)
        return allowed

    async def _ask(
        self, source: str, condition: str, callers: Sequence[tuple[Any, ...]], asked: Sequence[int]
    ) -> list[tuple[int, int]]:
        """The number of each event that a caller may hear of, with the place of the caller, from 1."""
        first = callers[0]
        slots = len(first)
        inner = f"SELECT {BASE}.{SEQ} FROM {ROWS} {BASE} WHERE {condition}"  # noqa: S608  # names only
        head = f"WITH {ROWS} AS MATERIALIZED ({source.format(seqs=f'${slots + 1}')}) "
        if len(callers) == 1:
            values = [list(each) if isinstance(each, tuple) else each for each in first]
            try:
                return [(row[0], 1) for row in await self._db.fetch(head + inner, *values, list(asked))]
            except GroundplaneError as error:
                return nobody(error)
        try:
            text = self._many.get((head, inner))
            if text is None:
                async with self._db.connection() as connection:
                    single = await connection.prepare(head + inner)
                    text = head + together(Shape(inner, slots), single.get_parameters())
                self._many[head, inner] = text
                if len(self._many) > MAX_STATEMENTS:
                    self._many.popitem(last=False)
            columns = [list(column) for column in zip(*callers, strict=True)]
            return [(row[0], row[1]) for row in await self._db.fetch(text, *columns, list(asked))]
        except GroundplaneError as error:
            return nobody(error)

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


def parts_of(callers: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The callers that can be asked for with one statement each time."""
    plain = [each for each in callers if not any(isinstance(value, tuple) for value in each)]
    for first in range(0, len(plain), MAX_MEMBERS):
        yield plain[first : first + MAX_MEMBERS]
    for each in callers:
        if any(isinstance(value, tuple) for value in each):
            yield [each]


def nobody(error: GroundplaneError) -> list[tuple[int, int]]:
    """The answer when a statement cannot take a value: as a filter that fails. Raises what is the server's fault."""
    if error.status >= 500:
        raise error
    return []


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
