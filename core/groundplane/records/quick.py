"""The short way of a plain read: one statement with who asks, what they may see and the finished JSON in it.

Taken when nothing in Python needs the record. Every answer but "here it is" comes from the ordinary way in
`records.service`, which also knows how to refuse: whatever is unusual about a request is simply None here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import asyncpg

from groundplane.context import Caller, RequestInfo
from groundplane.db.counts import counting
from groundplane.db.engine import Database
from groundplane.db.lanes import Departed, Lane
from groundplane.db.sql import Args, Sql, ident
from groundplane.db.write_lanes import WriteLane
from groundplane.errors import GroundplaneError, Invalid, Unavailable
from groundplane.query.filters import filter_condition
from groundplane.query.macros import MACROS
from groundplane.query.restricted import restrictions
from groundplane.query.rules import rule_condition
from groundplane.query.sort import order_by, sort_condition
from groundplane.records import queries
from groundplane.records.bodies import record_text
from groundplane.records.paging import ListRequest, list_request
from groundplane.records.plan import BASE, Plan, plan_of
from groundplane.records.shapes import (
    COUNT,
    TEXT,
    Given,
    Learnt,
    NotLearnt,
    guards_are_known,
    is_plain,
    literals,
    shapes_of,
    written_with,
)
from groundplane.records.told import NOTHING, Headers, Told, told, wanted_by
from groundplane.records.totals import UNCOUNTED, Counted, Totals, totals_of
from groundplane.records.wire import escaped
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection

COUNTED_TOGETHER = 8  # pages with a total in one statement: a count may take long
PAGES_TOGETHER = 32
ROWS_TOGETHER = 64
MAX_RELATED = 8192  # bytes of a filter or sort that is worth a statement of its own
# Parameters for which a write's answer is made in Python.
DECODED = frozenset({"expand", "fields"})
PLAIN_FIELD = re.compile(r"\w+|\*", re.ASCII)
AT_WORD = re.compile(r"@[\w.:@]*")
VIEWS = "quick views"  # our shelf in `Schema.plans`: what is learnt, by all that a view depends on


class Asker(NamedTuple):
    """Who asks. A `proof`, the tokenKey the token was made with, is still to be compared with the stored one.

    With a proof the caller's record may be an older one, of this `version` (its xmin).
    """

    caller: Caller | None = None
    proof: str = ""
    version: str = ""


NOBODY = Asker()


class Body(NamedTuple):
    """A finished answer; `etag` is "" for lists."""

    body: bytes
    etag: str = ""


class Question(NamedTuple):
    """A statement to ask in a lane, and what makes an answer of its row (None: take the ordinary way)."""

    lane: Lane | WriteLane
    shape: Any  # of the lane's kind
    values: Given
    answer: Callable[[asyncpg.Record], Body | None]


class Read(NamedTuple):
    """All that the statement of a read depends on, but its values."""

    collection: Collection
    caller: Caller | None
    proves: bool
    method: str
    told: Told
    only: frozenset[str] | None  # the wanted members, where not all are

    @property
    def key(self) -> tuple[object, ...]:
        return self.collection.id, kind_of(self.caller), self.proves, self.method, self.told.key, self.only


class QuickReads:
    """Turns views and lists into questions for a lane; None stands for "take the ordinary way"."""

    def __init__(self, db: Database, cache: SchemaCache) -> None:
        self._db = db
        self._cache = cache

    def view(
        self,
        name: str,
        record_id: str,
        query: Mapping[str, str],
        asker: Asker,
        method: str,
        headers: Headers = dict,
    ) -> Question | None:
        """One record that the view rule lets through."""
        if not (record_id.isascii() and record_id.isalnum()) or "expand" in query:
            return None
        schema = self._cache.current
        caller, proof, _ = asker
        caller_id = caller.id if caller is not None else ""
        known = cast("dict[object, Learnt]", schema.plans.setdefault(VIEWS, {}))
        key = (name, kind_of(caller), proof != "", method)
        learnt = known.get(key) if "fields" not in query else None
        if learnt is not None:
            if caller_id and not is_plain(caller_id):
                return None
            return Question(
                self._db.rows, learnt.shape, learnt.values((record_id, proof, caller_id)), view_body
            )
        collection = schema.get(name)
        if collection is None:
            return None
        read = self._read(schema, collection, collection.view_rule, query, asker, method, headers)
        if read is None:
            return None
        learnt = shapes_of(schema).find(
            ("view", read.key),
            (TEXT, TEXT, TEXT, *read.told.classes),
            partial(write_view, schema, read),
            together=ROWS_TOGETHER,
        )
        if learnt is None:
            return None
        # Asked for by any other way of writing the name, it is found in two steps.
        is_usual = name in (collection.name, collection.id) and read.only is None
        if is_usual and wanted_by(collection.view_rule) == NOTHING:
            known[key] = learnt
        values = learnt.values((record_id, proof, caller_id, *read.told.values))
        return Question(self._db.rows, learnt.shape, values, view_body)

    def page(
        self, name: str, query: Mapping[str, str], asker: Asker, method: str, headers: Headers = dict
    ) -> Question | None:
        """A page, not empty, of the records that the list rule lets through."""
        schema = self._cache.current
        collection = schema.get(name)
        if collection is None or "expand" in query:
            return None
        try:
            ask = list_request(query)
        except Invalid:
            return None
        if not ask.by_number or not is_plain_question(schema, ask):
            return None
        skeleton, classes, values = literals(ask.filter) if ask.filter else ("", [], [])
        has_macro = "@" in skeleton
        if has_macro and not all(word in MACROS for word in AT_WORD.findall(skeleton)):
            return None
        read = self._read(
            schema, collection, collection.list_rule, query, asker, method, headers, also_now=has_macro
        )
        if read is None:
            return None
        learnt = shapes_of(schema).find(
            ("page", read.key, skeleton, tuple(classes), ask.sort, ask.skip_total),
            (COUNT, COUNT, TEXT, TEXT, TEXT, *read.told.classes, *classes),
            partial(write_page, schema, read, skeleton, ask),
            together=PAGES_TOGETHER if ask.skip_total else COUNTED_TOGETHER,
        )
        if learnt is None:
            return None
        caller, proof, _ = asker
        caller_id = caller.id if caller is not None else ""
        totals = totals_of(schema)
        counted = (learnt.shape, caller_id, *read.told.values, *values)
        last = UNCOUNTED if ask.skip_total else totals.get(counted)
        given: Given = (
            ask.per_page, ask.offset, proof, caller_id, last.snapshot, *read.told.values, *values,
        )  # fmt: skip
        answer = partial(page_body, ask, totals, counted, last.total)
        return Question(self._db.pages, learnt.shape, learnt.values(given), answer)

    def _read(
        self,
        schema: Schema,
        collection: Collection,
        own_rule: str | None,
        query: Mapping[str, str],
        asker: Asker,
        method: str,
        headers: Headers,
        *,
        also_now: bool = False,
    ) -> Read | None:
        """What the statement depends on; None where Python is needed for the record, or to decide."""
        caller, proof, _ = asker
        superuser = caller is not None and caller.is_superuser
        rule = None if superuser else own_rule
        wanted = wanted_by(rule)
        if wanted is None or not fits(schema, collection, caller, rule):
            return None
        heard = told(wanted, query, headers, also_now=also_now)
        if heard is None:
            return None
        only = None
        if text := query.get("fields"):
            only = plain_fields(text)
            if only is None:
                return None
        return Read(collection, caller, proof != "", method, heard, only)


@lru_cache(maxsize=1024)
def plain_fields(text: str) -> frozenset[str] | None:
    """The names in the parameter; None where it says more than names of members."""
    names = [stripped for part in text.split(",") if (stripped := part.strip())]
    if not names or len(text) > MAX_RELATED or not all(PLAIN_FIELD.fullmatch(name) for name in names):
        return None
    return frozenset(names)


async def answer_to(question: Question) -> Body | None:
    """Ask, and wait for the answer; raises Unavailable, and what the answer raises."""
    try:
        row = await question.lane.row(question.shape, question.values)
    except GroundplaneError as error:
        # What the database refuses, or no longer knows, is for the ordinary way to explain.
        if type(error) in (Unavailable, Departed):
            raise
        return None
    return question.answer(row) if row is not None else None


def view_body(row: asyncpg.Record) -> Body:
    return Body(escaped(row[0].encode()) + b"\n", f'"{row[1]}"')


def page_body(
    ask: ListRequest, totals: Totals, counted: object, last: int, row: asyncpg.Record
) -> Body | None:
    """The page around the items; an empty one takes the ordinary way, which counts those who fish for more.

    `last` is the total that was known when the page was asked for: it holds where no other was counted.
    """
    if row[0] is None:
        return None
    total = -1
    if not ask.skip_total:
        total = last if row[1] is None else row[1]
        totals.put(counted, Counted(row[2], total))
    pages = -1 if total < 0 else -(-total // ask.per_page)
    tail = f'],"page":{ask.page},"perPage":{ask.per_page},"totalItems":{total},"totalPages":{pages}}}\n'
    return Body(b'{"items":[' + escaped(row[0].encode()) + tail.encode())


def fits(schema: Schema, collection: Collection, caller: Caller | None, rule: str | None) -> bool:
    """Whether a collection's records can be shown to this caller without Python."""
    if restrictions(schema, collection):
        return False
    if collection.is_view or collection.has_own_wire or (caller is not None and not is_plain(caller.id)):
        return False
    superuser = caller is not None and caller.is_superuser
    if rule is None and not superuser:
        return False
    options = collection.options
    return options is None or not options.manage_rule or superuser


def kind_of(caller: Caller | None) -> str:
    return "" if caller is None else caller.collection_id


def is_plain_question(schema: Schema, ask: ListRequest) -> bool:
    """Whether filter and sort say nothing that depends on more than their own literals."""
    text, sort = ask.filter, ask.sort
    if not text and not sort:
        return True
    if len(text) + len(sort) > MAX_RELATED or "\x00" in text or "//" in text:
        return False
    if "@" in sort or "@request." in text or "@collection." in text:
        return False
    return ("." not in text and "." not in sort) or guards_are_known(schema)


# The statements


def write_view(schema: Schema, read: Read, given: Given) -> Sql:
    """The record's text and version by id, rule and caller."""
    record_id, proof, caller_id, *said = given
    collection, caller = read.collection, read.caller
    plan = plan_of(schema, collection)
    args = Args()
    info = read.told.info(caller, caller_id, read.method, said)
    rule = "" if info.is_superuser else collection.view_rule or ""
    condition = queries.all_of(
        f'{BASE}."id" = {args.add(record_id)}',
        rule_condition(schema, collection, rule, info, args) if rule else "",
        proof_condition(schema, caller, caller_id, proof, args) if read.proves else "",
    )
    shown = shown_text(plan, info, args, read.only)
    return args.bind(f"SELECT {shown}, {BASE}.xmin FROM {plan.table} {BASE}{queries.where(condition)}")  # noqa: S608


def write_page(schema: Schema, read: Read, skeleton: str, ask: ListRequest, given: Given) -> Sql:
    """The texts of a page, joined by commas, and the total if it is wanted; no row without the proof."""
    limit, offset, proof, caller_id, known, *rest = given
    said, values = rest[: len(read.told.classes)], rest[len(read.told.classes) :]
    collection, caller = read.collection, read.caller
    plan = plan_of(schema, collection)
    args = Args()
    info = read.told.info(caller, caller_id, read.method, said)
    rule = "" if info.is_superuser else collection.list_rule or ""
    conditions = []
    if rule:
        conditions.append(rule_condition(schema, collection, rule, info, args))
    if skeleton:
        text = written_with(skeleton, values)
        conditions.append(filter_condition(schema, collection, text, info, args))
    if ask.sort and not info.is_superuser:
        conditions.append(sort_condition(schema, collection, ask.sort, info, args))
    order = order_by(schema, collection, ask.sort, info, args)
    condition = queries.where(queries.all_of(*conditions))
    source = f"FROM {plan.table} {BASE}{condition}"
    page = (
        f"SELECT {shown_text(plan, info, args, read.only)} AS shown {source}{f' ORDER BY {order}' if order else ''}"
        f" LIMIT {args.add(limit)}::bigint OFFSET {args.add(offset)}::bigint"
    )
    items = f"(SELECT string_agg(page.shown, ',') FROM ({page}) page) AS items"  # noqa: S608
    total = ""
    if not ask.skip_total:
        counted = counting(
            f"{args.add(known)}::text", f"{plan.table} {BASE}", queries.all_of(*conditions) or "true"
        )
        total = f", {counted} AS total, pg_current_snapshot()::text AS snapshot"
    proven = proof_condition(schema, caller, caller_id, proof, args) if read.proves else ""
    return args.bind(f"SELECT {items}{total}{queries.where(proven)}")


def example(caller: Caller | None, caller_id: str, method: str) -> RequestInfo:
    """A request by a caller of this collection with another id, of which nothing else is known."""
    if caller is None:
        return RequestInfo(method=method)
    known = Caller(id=caller_id, collection_id=caller.collection_id, collection_name=caller.collection_name)
    return RequestInfo(caller=known, method=method)


def shown_text(plan: Plan, info: RequestInfo, args: Args, only: frozenset[str] | None = None) -> str:
    """SQL of the record as this caller sees it; a superuser sees every address. Raises NotLearnt."""
    address = plan.collection.field("email") if plan.collection.is_auth else None
    asks_who = address is not None and not address.hidden and not info.is_superuser
    if only is not None and "*" not in only and "email" not in only:
        asks_who = False
    own_id = f"{args.add(info.caller.id)}::text" if asks_who and info.caller is not None else ""
    text = record_text(plan, superuser=info.is_superuser, own_id=own_id, only=only)
    if text is None:
        raise NotLearnt()
    return text


def proof_condition(
    schema: Schema, caller: Caller | None, caller_id: str, proof: str, args: Args, version: str = ""
) -> str:
    """The caller's account is still there with the key that the token was made with (and in this version)."""
    owner = schema.find(caller.collection_id if caller is not None else "")
    source = f"{ident(owner.table)} gp_caller"
    same = f'gp_caller."id" = {args.add(caller_id)} AND gp_caller."tokenKey" = {args.add(proof)}'
    if version:
        same += f" AND gp_caller.xmin::text = {args.add(version)}"
    return f"EXISTS (SELECT 1 FROM {source} WHERE {same})"  # noqa: S608
