"""`expand=author,tags.owner`: related records that their view rules allow, in one statement per level."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import BadValue, LimitExceeded, StatementRefused
from groundplane.db.sql import Args
from groundplane.errors import GroundplaneError
from groundplane.query.effective import Rule, rule_of
from groundplane.query.errors import QueryError
from groundplane.query.restricted import restrictions, restricts
from groundplane.query.rules import rule_condition
from groundplane.records.plan import Plan, Row, plan_of
from groundplane.records.queries import satisfying, select_back_references, select_by_ids
from groundplane.records.visible import withheld
from groundplane.schema.cache import Schema
from groundplane.schema.fields.relation import RelationField
from groundplane.schema.indexes import is_single_unique

log = logging.getLogger(__name__)

MAX_DEPTH = 6  # segments, as in PocketBase; deeper ones are ignored, not refused
MAX_BACK_REFERENCES = 1000  # per parent record
MAX_EXPAND_BYTES = 8000  # far above any honest list of paths
MAX_PATHS = 100
NOTHING: Mapping[str, Any] = {}
BACK_RELATION = re.compile(r"(\w+)_via_(\w+)", re.ASCII)


class CannotExpand(Exception):
    """A path leads nowhere or where the caller may not look; it is left out of the answer."""


class Node:
    """A record on its way into an answer.

    `expand` is None until a path was followed from it; `withheld` are fields that plugins keep from the caller,
    with what is shown instead.
    """

    __slots__ = ("expand", "plan", "row", "withheld")

    def __init__(self, plan: Plan, row: Row) -> None:
        self.plan = plan
        self.row = row
        self.expand: dict[str, Node | list[Node]] | None = None
        self.withheld: Mapping[str, Any] = NOTHING


class Step(NamedTuple):
    """One segment, understood: where it leads and how its result is shown."""

    plan: Plan
    rule: Rule
    name: str
    field: RelationField
    is_back: bool
    is_list: bool


def expand_paths(text: str) -> list[list[str]]:
    """Read the parameter: no spaces, no outer dots, no path that is the beginning of another."""
    if not text or len(text) > MAX_EXPAND_BYTES:
        return []
    paths = [path for part in text.split(",") if (path := part.replace(" ", "").strip("."))]
    unique = list(dict.fromkeys(paths))[:MAX_PATHS]
    longest = [path for path in unique if not any(other.startswith(path + ".") for other in unique)]
    return [path.split(".") for path in longest]


class Expander:
    """Follows the paths of one answer; what two paths share is fetched once."""

    def __init__(self, db: Database, schema: Schema, info: RequestInfo) -> None:
        self.db = db
        self.schema = schema
        self.info = msgspec.structs.replace(info, context="expand")
        self.fetched: dict[tuple[str, ...], dict[str, Node]] = {}

    async def expand(self, nodes: Sequence[Node], text: str) -> None:
        """Attach related records to the nodes of one collection; what cannot be expanded is left out."""
        if not nodes:
            return
        for path in expand_paths(text):
            try:
                async with isolated(self.db):
                    await self.follow(list(nodes), path[:MAX_DEPTH], ())
            except CannotExpand:
                continue
            except (QueryError, GroundplaneError) as error:
                log.info("An expand path was left out: %s", error)

    async def follow(self, nodes: list[Node], path: list[str], done: tuple[str, ...]) -> None:
        """Fetch the first segment's records, follow the rest from them, and only then attach them."""
        step = self.step(nodes[0].plan, path[0])
        here = (*done, path[0])
        ids = await self.related_ids(nodes, step)
        related = await self.fetch(step, ids, here)
        if len(path) > 1 and related:
            await self.follow(list(related.values()), path[1:], here)
        for node in nodes:
            if node.expand is None:
                node.expand = {}
            found = [related[each] for each in ids.get(node.row.values["id"], ()) if each in related]
            if found:
                node.expand[step.name] = found if step.is_list else found[0]

    def step(self, plan: Plan, segment: str) -> Step:
        back = BACK_RELATION.fullmatch(segment)
        if back is not None:
            target = self.schema.get(back[1])
            field = target.field(back[2]) if target is not None else None
            if target is None or not isinstance(field, RelationField):
                raise CannotExpand(segment)
            if field.collection_id != plan.collection.id:
                raise CannotExpand(segment)
            if not self.info.is_superuser and field.name in restrictions(self.schema, target):
                # Who points here is what the field says.
                raise CannotExpand(segment)
            single = is_single_unique(target, field.name)
            return Step(
                plan_of(self.schema, target),
                rule_of(self.schema, target, "view"),
                segment,
                field,
                True,
                not single,
            )
        field = plan.collection.field(segment)
        if not isinstance(field, RelationField):
            raise CannotExpand(segment)
        target = self.schema.by_id.get(field.collection_id)
        if target is None:
            raise CannotExpand(segment)
        return Step(
            plan_of(self.schema, target),
            rule_of(self.schema, target, "view"),
            segment,
            field,
            False,
            field.is_multiple,
        )

    async def related_ids(self, nodes: list[Node], step: Step) -> dict[str, list[str]]:
        """The ids to show per node, in order."""
        if not step.is_back:
            return {node.row.values["id"]: list_of(node.row.values[step.field.name]) for node in nodes}
        parents = list(dict.fromkeys(node.row.values["id"] for node in nodes))
        statement = select_back_references(step.plan, step.field, parents, MAX_BACK_REFERENCES)
        found: dict[str, list[str]] = {}
        for parent, child in await self.db.fetch(statement.text, *statement.args):
            found.setdefault(parent, []).append(child)
        return found

    async def fetch(self, step: Step, ids: dict[str, list[str]], here: tuple[str, ...]) -> dict[str, Node]:
        """The related records that the caller may see, by id; each level has nodes of its own."""
        if here in self.fetched:
            return self.fetched[here]
        args = Args()
        condition = ""
        if not self.info.is_superuser:
            if step.rule is None:
                raise CannotExpand("only superusers may view these records")
            if step.rule:
                condition = rule_condition(self.schema, step.plan.collection, step.rule, self.info, args)
        wanted = list(dict.fromkeys(each for group in ids.values() for each in group))
        nodes: dict[str, Node] = {}
        if wanted:
            statement = select_by_ids(step.plan, wanted, args, condition)
            for record in await self.db.fetch(statement.text, *statement.args):
                row = step.plan.row(record)
                nodes[row.values["id"]] = Node(step.plan, row)
        self.fetched[here] = nodes
        return nodes


@asynccontextmanager
async def isolated(db: Database) -> AsyncIterator[None]:
    """Let a failing statement of the block leave an open transaction usable."""
    if not db.in_transaction:
        yield
        return
    async with db.transaction() as connection, connection.transaction():
        yield


def list_of(value: Any) -> list[str]:
    if isinstance(value, list):
        return value
    return [value] if value else []


async def shown(
    db: Database,
    schema: Schema,
    nodes: Sequence[Node],
    info: RequestInfo,
    expand: str = "",
    *,
    given: bool = False,
) -> list[dict[str, Any]]:
    """The records as this caller may see them: expanded, without hidden members, emails only where allowed.

    `given` says that the rows of the nodes are not those that are stored now.
    """
    if expand and nodes:
        await Expander(db, schema, info).expand(nodes, expand)
    visible = await emails_visible(db, schema, nodes, info)
    if not info.is_superuser and restricts(schema):
        await withhold(db, schema, nodes, info, given)
    return [wire_of(node, info.is_superuser, visible) for node in nodes]


async def withhold(
    db: Database, schema: Schema, nodes: Sequence[Node], info: RequestInfo, given: bool
) -> None:
    """Note at each node what plugins keep from the caller."""
    below: list[Node] = []
    waiting = list(nodes)
    while waiting:
        for related in (waiting.pop().expand or {}).values():
            waiting.extend(related if isinstance(related, list) else [related])
            below.extend(related if isinstance(related, list) else [related])
    for group, is_given in ((list(nodes), given), (below, False)):
        rows = [(node.plan, node.row) for node in group]
        for place, kept in (await withheld(db, schema, rows, info, given=is_given)).items():
            group[place].withheld = kept


def wire_of(node: Node, superuser: bool, emails: set[tuple[str, str]]) -> dict[str, Any]:
    values = node.row.values
    email = superuser or not node.plan.collection.is_auth or (node.plan.collection.id, values["id"]) in emails
    out = node.plan.wire(values, superuser=superuser, email=email)
    for name, mask in node.withheld.items():
        if mask is msgspec.UNSET:
            out.pop(name, None)
        elif name in out:
            out[name] = mask
    if node.expand is None:
        return out
    out["expand"] = {
        name: [wire_of(each, superuser, emails) for each in related]
        if isinstance(related, list)
        else wire_of(related, superuser, emails)
        for name, related in sorted(node.expand.items(), key=lambda item: item[0].encode())
        if name not in node.withheld
    }
    return dict(sorted(out.items(), key=lambda item: item[0].encode()))


async def emails_visible(
    db: Database, schema: Schema, nodes: Sequence[Node], info: RequestInfo
) -> set[tuple[str, str]]:
    """(collection id, record id) of the auth records whose address the caller may see (contract, records §4)."""
    if info.is_superuser:
        return set()
    visible: set[tuple[str, str]] = set()
    doubtful: dict[str, tuple[Plan, list[str]]] = {}
    own_id = info.caller.id if info.caller is not None else None
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        for related in (node.expand or {}).values():
            waiting.extend(related if isinstance(related, list) else [related])
        collection, values = node.plan.collection, node.row.values
        if not collection.is_auth:
            continue
        if values["emailVisibility"] or values["id"] == own_id:
            visible.add((collection.id, values["id"]))
        elif collection.options is not None and collection.options.manage_rule:
            doubtful.setdefault(collection.id, (node.plan, []))[1].append(values["id"])
    for plan, ids in doubtful.values():
        visible.update((plan.collection.id, each) for each in await managed(db, schema, plan, ids, info))
    return visible


async def managed(
    db: Database, schema: Schema, plan: Plan, ids: Sequence[str], info: RequestInfo
) -> list[str]:
    """Those of the records that the caller may manage; a rule that does not compile allows nothing."""
    options = plan.collection.options
    if options is None or not options.manage_rule:
        return []
    args = Args()
    try:
        condition = rule_condition(schema, plan.collection, options.manage_rule, info, args)
    except QueryError:
        return []
    statement = satisfying(plan, list(dict.fromkeys(ids)), condition, args)
    try:
        async with isolated(db):
            return [row[0] for row in await db.fetch(statement.text, *statement.args)]
    except (StatementRefused, BadValue, LimitExceeded):
        return []
