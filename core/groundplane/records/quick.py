"""The short way of a plain read: one statement with who asks, what they may see and the finished JSON in it.

Taken when nothing in Python needs the record. Every answer but "here it is" comes from the ordinary way in
`records.service`, which also knows how to refuse: whatever is unusual about a request is simply None here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import asyncpg

from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args, Sql, ident
from groundplane.errors import GroundplaneError, Invalid, Unavailable
from groundplane.query.filters import filter_condition
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
    depends_on_caller_only,
    guards_are_known,
    is_plain,
    literals,
    shapes_of,
    written_with,
)
from groundplane.records.wire import escaped
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection

COUNTED_TOGETHER = 8  # pages with a total in one statement: a count may take long
PAGES_TOGETHER = 32
ROWS_TOGETHER = 64
MAX_RELATED = 8192  # bytes of a filter or sort that is worth a statement of its own
# Parameters that need the record in Python.
DECODED = ("expand", "fields")


class Asker(NamedTuple):
    """Who asks. A `proof`, the tokenKey the token was made with, is still to be compared with the stored one."""

    caller: Caller | None = None
    proof: str = ""


NOBODY = Asker()


class Body(NamedTuple):
    """A finished answer; `etag` is "" for lists."""

    body: bytes
    etag: str = ""


class QuickReads:
    """Answers views and lists from shapes; None stands for "take the ordinary way"."""

    def __init__(self, db: Database, cache: SchemaCache) -> None:
        self._db = db
        self._cache = cache

    async def view(
        self, name: str, record_id: str, query: Mapping[str, str], asker: Asker, method: str
    ) -> Body | None:
        """One record that the view rule lets through."""
        schema = self._cache.current
        collection = schema.get(name)
        if collection is None or (query and any(key in query for key in DECODED)):
            return None
        caller, proof = asker
        rule = None if caller is not None and caller.is_superuser else collection.view_rule
        if not fits(collection, caller, rule) or not (record_id.isascii() and record_id.isalnum()):
            return None
        key = ("view", collection.id, kind_of(caller), proof != "", method)
        given: Given = (record_id, proof, caller.id if caller is not None else "")
        learnt = shapes_of(schema).find(
            key,
            (TEXT, TEXT, TEXT),
            partial(write_view, schema, collection, caller, proof != "", method),
            together=ROWS_TOGETHER,
        )
        found = await self._ask(learnt, given)
        if found is None:
            return None
        return Body(escaped(found[0].encode()) + b"\n", f'"{found[1]}"')

    async def page(self, name: str, query: Mapping[str, str], asker: Asker, method: str) -> Body | None:
        """A page, not empty, of the records that the list rule lets through."""
        schema = self._cache.current
        collection = schema.get(name)
        if collection is None or any(key in query for key in DECODED):
            return None
        caller, proof = asker
        rule = None if caller is not None and caller.is_superuser else collection.list_rule
        if not fits(collection, caller, rule):
            return None
        try:
            ask = list_request(query)
        except Invalid:
            return None
        if not is_plain_question(schema, ask):
            return None
        skeleton, classes, values = literals(ask.filter) if ask.filter else ("", [], [])
        if "@" in skeleton:
            return None
        key = (
            "page", collection.id, kind_of(caller), proof != "", method,
            skeleton, tuple(classes), ask.sort, ask.skip_total,
        )  # fmt: skip
        given: Given = (
            ask.per_page, ask.offset, proof, caller.id if caller is not None else "", *values,
        )  # fmt: skip
        learnt = shapes_of(schema).find(
            key,
            (COUNT, COUNT, TEXT, TEXT, *classes),
            partial(write_page, schema, collection, caller, proof != "", method, skeleton, ask),
            together=PAGES_TOGETHER if ask.skip_total else COUNTED_TOGETHER,
        )
        found = await self._ask(learnt, given, pages=True)
        if found is None or found[0] is None:
            return None
        total = -1 if ask.skip_total else found[1]
        pages = -1 if total < 0 else -(-total // ask.per_page)
        tail = f'],"page":{ask.page},"perPage":{ask.per_page},"totalItems":{total},"totalPages":{pages}}}\n'
        return Body(b'{"items":[' + escaped(found[0].encode()) + tail.encode())

    async def _ask(
        self, learnt: Learnt | None, given: Given, *, pages: bool = False
    ) -> asyncpg.Record | None:
        if learnt is None:
            return None
        lane = self._db.pages if pages else self._db.rows
        try:
            return await lane.row(learnt.shape, learnt.values(given))
        except GroundplaneError as error:
            # What the database refuses, or no longer knows, is for the ordinary way to explain.
            if type(error) is Unavailable:
                raise
            return None


def fits(collection: Collection, caller: Caller | None, rule: str | None) -> bool:
    """Whether a collection's records can be shown to this caller without Python."""
    if collection.is_view or (caller is not None and not is_plain(caller.id)):
        return False
    superuser = caller is not None and caller.is_superuser
    if rule is None and not superuser:
        return False
    options = collection.options
    if options is not None and options.manage_rule and not superuser:
        return False
    return depends_on_caller_only(rule)


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


def write_view(
    schema: Schema, collection: Collection, caller: Caller | None, proves: bool, method: str, given: Given
) -> Sql:
    """The record's text and version by id, rule and caller."""
    record_id, proof, caller_id = given
    plan = plan_of(schema, collection)
    args = Args()
    info = example(caller, caller_id, method)
    rule = "" if info.is_superuser else collection.view_rule or ""
    condition = queries.all_of(
        f'{BASE}."id" = {args.add(record_id)}',
        rule_condition(schema, collection, rule, info, args) if rule else "",
        proof_condition(schema, caller, caller_id, proof, args) if proves else "",
    )
    shown = shown_text(plan, info, args)
    return args.bind(f"SELECT {shown}, {BASE}.xmin FROM {plan.table} {BASE}{queries.where(condition)}")  # noqa: S608


def write_page(
    schema: Schema,
    collection: Collection,
    caller: Caller | None,
    proves: bool,
    method: str,
    skeleton: str,
    ask: ListRequest,
    given: Given,
) -> Sql:
    """The texts of a page, joined by commas, and the total if it is wanted; no row without the proof."""
    limit, offset, proof, caller_id, *values = given
    plan = plan_of(schema, collection)
    args = Args()
    info = example(caller, caller_id, method)
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
        f"SELECT {shown_text(plan, info, args)} AS shown {source}{f' ORDER BY {order}' if order else ''}"
        f" LIMIT {args.add(limit)}::bigint OFFSET {args.add(offset)}::bigint"
    )
    items = f"(SELECT string_agg(page.shown, ',') FROM ({page}) page) AS items"  # noqa: S608
    total = "" if ask.skip_total else f", (SELECT count(*) {source})"
    proven = proof_condition(schema, caller, caller_id, proof, args) if proves else ""
    return args.bind(f"SELECT {items}{total}{queries.where(proven)}")


def example(caller: Caller | None, caller_id: str, method: str) -> RequestInfo:
    """A request by a caller of this collection with another id, of which nothing else is known."""
    if caller is None:
        return RequestInfo(method=method)
    known = Caller(id=caller_id, collection_id=caller.collection_id, collection_name=caller.collection_name)
    return RequestInfo(caller=known, method=method)


def shown_text(plan: Plan, info: RequestInfo, args: Args) -> str:
    """SQL of the record as this caller sees it; a superuser sees every address."""
    address = plan.collection.field("email") if plan.collection.is_auth else None
    asks_who = address is not None and not address.hidden and not info.is_superuser
    own_id = f"{args.add(info.caller.id)}::text" if asks_who and info.caller is not None else ""
    return record_text(plan, superuser=info.is_superuser, own_id=own_id)


def proof_condition(schema: Schema, caller: Caller | None, caller_id: str, proof: str, args: Args) -> str:
    """The caller's account is still there with the key that the token was made with."""
    owner = schema.find(caller.collection_id if caller is not None else "")
    source = f"{ident(owner.table)} gp_caller"
    same = f'gp_caller."id" = {args.add(caller_id)} AND gp_caller."tokenKey" = {args.add(proof)}'
    return f"EXISTS (SELECT 1 FROM {source} WHERE {same})"  # noqa: S608
