"""List and view records under their rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from groundplane.context import RequestInfo
from groundplane.db.sql import Args, Sql
from groundplane.errors import Forbidden, Invalid, NotFound
from groundplane.hooks.events import ListQuery
from groundplane.query.effective import Rule, rule_of
from groundplane.query.errors import QueryError
from groundplane.query.filters import filter_condition, refuse_request_identifiers
from groundplane.query.rules import rule_condition
from groundplane.query.sort import RANDOM, SortKey, sort_condition, sort_keys
from groundplane.records import queries
from groundplane.records.answers import SUPERUSERS_ONLY, Answer, is_possible_id
from groundplane.records.attempts import REFUSED
from groundplane.records.cursors import NO_ORDER, behind, cursor_of, values_of
from groundplane.records.expand import Node
from groundplane.records.paging import ListRequest, list_request, page_of
from groundplane.records.plan import Plan, Row, plan_of
from groundplane.records.steps import Steps
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection


class Found(NamedTuple):
    """The rows of a page, how many there are in all (-1: not counted), and the cursor if that was asked for."""

    rows: list[Row]
    total: int
    cursor: str | None = None


class Reading:
    """The verbs that change nothing."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.db = steps.db
        self.cache = steps.cache

    async def page(self, name: str, query: Mapping[str, str], info: RequestInfo) -> dict[str, Any]:
        """One page of the records that list rule and filter let through."""
        return await self.steps.asked(
            "list", name, "", info, lambda schema: self._page(schema, name, query, info)
        )

    async def _page(
        self, schema: Schema, name: str, query: Mapping[str, str], info: RequestInfo
    ) -> dict[str, Any]:
        collection = schema.find(name)
        rule = rule_of(schema, collection, "list")
        if not info.is_superuser:
            if rule is None:
                raise Forbidden(SUPERUSERS_ONLY)
            refuse_request_identifiers(query.get("filter", ""), query.get("sort", ""), info)
        bounds: list[str] = []
        if self.steps.hooks.list_query:
            event = ListQuery(collection, dict(query), info)
            await self.steps.hooks.list_query(collection, event=event)
            query, bounds = event.query, event.restrict
        ask = list_request(query)
        plan = plan_of(schema, collection)
        args = Args()
        conditions: list[str] = []
        try:
            for bound in bounds:
                conditions.append(rule_condition(schema, collection, bound, info, args))
            if rule and not info.is_superuser:
                conditions.append(rule_condition(schema, collection, rule, info, args))
            if ask.filter:
                conditions.append(filter_condition(schema, collection, ask.filter, info, args))
            if ask.sort and not info.is_superuser:
                conditions.append(sort_condition(schema, collection, ask.sort, info, args))
            condition = queries.all_of(*conditions)
            # Before the sort adds values of its own.
            estimate = queries.estimate(plan, condition, args)
            keys = sort_keys(schema, collection, ask.sort, info, args)
        except QueryError:
            raise Invalid() from None
        found = await self._fetch_page(schema, plan, condition, keys, ask, args)
        total = found.total
        if ask.estimated and not ask.skip_total:
            total = await self._estimated(estimate, ask, len(found.rows))
        items = await self.steps.shown(schema, [Node(plan, row) for row in found.rows], info, ask.expand)
        return page_of(items, ask, total, found.cursor)

    async def _fetch_page(
        self, schema: Schema, plan: Plan, condition: str, keys: list[SortKey], ask: ListRequest, args: Args
    ) -> Found:
        counted = not ask.skip_total and not ask.estimated
        limit, offset, position = ask.per_page, ask.offset, ""
        shown: list[str] = []
        if ask.cursor is not None:
            if plan.collection.is_view or any(key.sql == RANDOM for key in keys):
                raise Invalid(NO_ORDER)
            position = behind(keys, values_of(schema, plan.collection, ask), args) if ask.cursor else ""
            # One more tells whether there is another page.
            limit, offset = ask.per_page + 1, 0
            shown = [f"({key.sql})::text" for key in keys]
        order = ", ".join(key.order for key in keys)
        statement = queries.select_page(
            plan, condition, order, limit, offset, args, counted=counted, behind=position, keys=shown
        )
        records: list[Any] = await self.db.fetch(statement.text, *statement.args)
        total = -1
        if counted:
            total = records[0][0]
            # The one row of an empty page has nothing but the count.
            empty = len(records) == 1 and records[0]["id"] is None
            records = [] if empty else [record[1:] for record in records]
        cursor = None
        if ask.cursor is not None:
            cursor = ""
            if len(records) > ask.per_page:
                records = records[: ask.per_page]
                cursor = cursor_of(schema, plan.collection, ask, records[-1][-len(keys) :])
        return Found([plan.row(record) for record in records], total, cursor)

    async def _estimated(self, estimate: Sql, ask: ListRequest, count: int) -> int:
        """About how many records match: exactly, where the page itself tells."""
        if ask.cursor is None and count < ask.per_page and (count or ask.page == 1):
            return ask.offset + count
        explained = json.loads(await self.db.fetchval(estimate.text, *estimate.args))
        expected: float = explained[0]["Plan"]["Plan Rows"]
        return max(round(expected), count + (ask.offset if ask.cursor is None else 0))

    async def view(self, name: str, record_id: str, query: Mapping[str, str], info: RequestInfo) -> Answer:
        """One record that the view rule lets through; raises NotFound."""
        return await self.steps.asked(
            "view", name, record_id, info, lambda schema: self._view(schema, name, record_id, query, info)
        )

    async def _view(
        self, schema: Schema, name: str, record_id: str, query: Mapping[str, str], info: RequestInfo
    ) -> Answer:
        collection = schema.find(name)
        rule = rule_of(schema, collection, "view")
        row = await self.find_allowed(schema, collection, record_id, rule, info)
        return await self.steps.answer(schema, plan_of(schema, collection), row, query, info)

    async def find_allowed(
        self,
        schema: Schema,
        collection: Collection,
        record_id: str,
        rule: Rule,
        info: RequestInfo,
        lock: str = "",
    ) -> Row:
        """Fetch a record by its id and a rule in one statement; raises Forbidden and NotFound."""
        if rule is None and not info.is_superuser:
            raise Forbidden(SUPERUSERS_ONLY)
        plan = plan_of(schema, collection)
        args = Args()
        if not is_possible_id(record_id):
            raise NotFound()
        try:
            allowed = (
                rule_condition(schema, collection, rule, info, args) if rule and not info.is_superuser else ""
            )
            statement = queries.select_one(plan, record_id, args, allowed, lock)
            record = await self.db.fetchrow(statement.text, *statement.args)
        except REFUSED:
            raise NotFound() from None
        if record is None:
            raise NotFound()
        return plan.row(record)

    async def find_one(self, collection: Collection, where: str, *args: object) -> dict[str, Any] | None:
        """The first record that satisfies a condition over the alias `r`, in stored form."""
        plan = plan_of(self.cache.current, collection)
        statement = queries.select_where(plan, where, Args())
        record = await self.db.fetchrow(f"{statement.text} LIMIT 1", *args)
        return plan.row(record).values if record is not None else None

    async def enrich(
        self,
        collection: Collection,
        rows: Sequence[Mapping[str, Any]],
        info: RequestInfo,
        *,
        expand: str = "",
    ) -> list[dict[str, Any]]:
        """Stored records as this caller may see them."""
        schema = self.cache.current
        plan = plan_of(schema, collection)
        nodes = [Node(plan, Row(dict(row))) for row in rows]
        return await self.steps.shown(schema, nodes, info, expand, given=not collection.is_view)
