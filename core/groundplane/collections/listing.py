"""GET /api/collections: the list of collections, filtered and sorted like records."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from groundplane.collections import queries
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.errors import GroundplaneError, Invalid
from groundplane.query.errors import QueryError
from groundplane.query.filters import filter_condition
from groundplane.query.sort import order_by
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.registry import make_field

MAX_FILTER_BYTES = 3500  # as for records
TABLE = "_collections"
# Only the columns can be named here, unlike in the filters of records.
TEXT_LITERAL = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
ELSEWHERE = re.compile(r"@(?:collection|request)\b")


class PageRequest(NamedTuple):
    """Which page; `filter` and `sort` know the columns id, created, updated, name, system and type."""

    page: int = 1
    per_page: int = 30
    skip_total: bool = False
    filter: str = ""
    sort: str = ""


class Page(NamedTuple):
    """A page of collections; totals are -1 when they were not asked for."""

    items: list[Collection]
    page: int
    per_page: int
    total_items: int
    total_pages: int


@cache
def listed() -> Collection:
    """The table of collections as the query compiler sees it."""
    types = {
        "id": "text",
        "created": "autodate",
        "updated": "autodate",
        "name": "text",
        "system": "bool",
        "type": "text",
    }
    fields = [make_field({"id": name, "name": name, "type": kind}) for name, kind in types.items()]
    return Collection(id=TABLE, name=TABLE, fields=fields, system=True)


async def list_collections(db: Database, schema: Schema, request: PageRequest, info: RequestInfo) -> Page:
    """Read one page; raises Invalid without a reason, as for records, when filter or sort are wrong."""
    if len(request.filter.encode()) > MAX_FILTER_BYTES:
        raise Invalid()
    if any(ELSEWHERE.search(TEXT_LITERAL.sub("", text)) for text in (request.filter, request.sort)):
        raise Invalid()
    table, args = listed(), Args()
    try:
        where = filter_condition(schema, table, request.filter, info, args) if request.filter else "true"
        counted = args.bind(queries.total(table.table, where))
        order = order_by(schema, table, request.sort, info, args) if request.sort else 'r."_row"'
    except QueryError:
        raise Invalid() from None
    limit = args.add(request.per_page)
    # A page beyond what a table can hold stays within 64 bits.
    offset = args.add(min((request.page - 1) * request.per_page, 2**63 - 1))
    statement = args.bind(queries.page_of_ids(table.table, where, order, limit, offset))
    try:
        total = -1 if request.skip_total else int(await db.fetchval(counted.text, *counted.args))
        found = await db.fetch(statement.text, *statement.args)
    except GroundplaneError as error:
        if error.status >= 500:
            raise
        raise Invalid() from error
    pages = -1 if request.skip_total else -(-total // request.per_page)
    # A collection that was deleted between the snapshot and the query is left out.
    items = [collection for row in found if (collection := schema.by_id.get(row["id"])) is not None]
    return Page(items, request.page, request.per_page, total, pages)
