"""A page of records for the table: rows, how many there are, and why a filter is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from groundplane.errors import GroundplaneError, Invalid
from groundplane.query.errors import QueryError
from groundplane.query.parser import parse
from groundplane_admin.catalogue import say
from groundplane_admin.records.columns import Choice, Column, columns_of, preference_name, visible_fields
from groundplane_admin.records.display import Cell, cell_of, name_of, quoted
from groundplane_admin.records.state import ListState

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection
    from groundplane_admin.visits import Visit

EXACT_UP_TO = 10_000  # records: counting more takes longer than the number is worth
MAX_EXPANDED = 8  # relations that are shown by name
SEARCHED = ("text", "email", "url", "editor", "select")
NEWEST_FIRST = "-@rowid"


class Row(NamedTuple):
    id: str
    name: str
    href: str
    cells: list[Cell]


class Total(NamedTuple):
    """`value` -1 is unknown; `is_exact` says whether it is a count or an estimate."""

    value: int
    is_exact: bool


class Listing(NamedTuple):
    """What the table gets; with a `problem` it has no rows, and `column` says where in the filter."""

    state: ListState
    columns: list[Column]
    rows: list[Row]
    total: Total
    next_href: str
    before_href: str
    problem: str = ""
    column: int = 0

    @property
    def shown(self) -> list[Column]:
        return [each for each in self.columns if each.is_shown]

    @property
    def on_phone(self) -> list[str]:
        """The columns that have room beside the name of a record where the screen is narrow."""
        return [each.name for each in self.shown if not each.is_title and each.name != "id"][:3]

    @property
    def last(self) -> int:
        return self.state.start + len(self.rows)


def request_filter(collection: Collection, state: ListState) -> str:
    """The filter and the quick search as one text of the filter language."""
    parts = [f"({state.filter})"] if state.filter else []
    if state.search:
        wanted = quoted(state.search)
        names = [f.name for f in visible_fields(collection) if f.type_name in SEARCHED and f.name != "id"]
        asked = [f"id = {wanted}", *(f"{name} ~ {wanted}" for name in names[:20])]
        parts.append(f"({' || '.join(asked)})")
    return " && ".join(parts)


def expansions(collection: Collection) -> str:
    fields = [each.name for each in visible_fields(collection) if each.type_name == "relation"]
    return ",".join(fields[:MAX_EXPANDED])


def asked_of(collection: Collection, state: ListState) -> dict[str, str]:
    """The parameters of the API for a page."""
    asked = {
        "filter": request_filter(collection, state),
        "perPage": str(state.per_page),
        "expand": expansions(collection),
    }
    if collection.is_view:
        # A view has no order of its own and no cursor; pages go by number.
        return asked | {"sort": state.sort, "page": str(state.start // state.per_page + 1), "skipTotal": "1"}
    return asked | {"sort": state.sort or NEWEST_FIRST, "cursor": state.cursor, "skipTotal": "1"}


async def listing(visit: Visit, collection: Collection, state: ListState) -> Listing:
    """Read a page; what is wrong with a filter or sort is in it, other failures are raised."""
    preferences = visit.services.preferences
    choice = await preferences.read(visit.user.id, preference_name(collection), Choice, Choice())
    columns = columns_of(collection, choice, state)
    try:
        page = await visit.services.records.page(collection.id, asked_of(collection, state), visit.info())
        total = await total_of(visit, collection, state, len(page["items"]))
    except Invalid as error:
        message, column = problem_of(state, error)
        return Listing(state, columns, [], Total(-1, False), "", "", message, column)
    shown = [each for each in columns if each.is_shown]
    rows = [row_of(visit, collection, state, each, shown) for each in page["items"]]
    return Listing(
        state, columns, rows, total, next_href(collection, state, page, len(rows)), before_href(state)
    )


async def listing_row(
    visit: Visit, collection: Collection, state: ListState, record: Mapping[str, Any]
) -> tuple[Row, Listing]:
    """One row as the table shows it, with the columns that it is shown in."""
    preferences = visit.services.preferences
    choice = await preferences.read(visit.user.id, preference_name(collection), Choice, Choice())
    columns = columns_of(collection, choice, state)
    row = row_of(visit, collection, state, record, [each for each in columns if each.is_shown])
    return row, Listing(state, columns, [row], Total(-1, False), "", "")


def row_of(
    visit: Visit, collection: Collection, state: ListState, record: Mapping[str, Any], shown: Sequence[Column]
) -> Row:
    schema = visit.services.schema.current
    cells = [cell_of(collection.by_name[each.name], record, schema, collection) for each in shown]
    id = str(record["id"])
    return Row(id, name_of(record, collection), state.record_href(id), cells)


def next_href(collection: Collection, state: ListState, page: Mapping[str, Any], count: int) -> str:
    if collection.is_view:
        full = count == state.per_page
        return state._replace(cursor="n", start=state.start + count).href if full else ""
    cursor = page.get("nextCursor") or ""
    return state.next_page(cursor, count).href if cursor else ""


def before_href(state: ListState) -> str:
    before = state.page_before()
    return before.href if before is not None else ""


async def total_of(visit: Visit, collection: Collection, state: ListState, count: int) -> Total:
    """How many match: exactly where that is cheap, else what PostgreSQL expects."""
    if not state.cursor and count < state.per_page:
        return Total(count, True)
    asked = {"filter": request_filter(collection, state), "perPage": "1", "total": "estimate", "fields": "id"}
    if not collection.is_view:
        asked |= {"cursor": "", "sort": NEWEST_FIRST}
    whole = await count_with(visit, collection, asked | {"filter": ""})
    if whole <= EXACT_UP_TO:
        return Total(await exact_total(visit, collection, state), True)
    about = await count_with(visit, collection, asked) if asked["filter"] else whole
    return Total(max(about, state.start + count), False)


async def exact_total(visit: Visit, collection: Collection, state: ListState) -> int:
    """Count what matches, however long that takes."""
    asked = {"filter": request_filter(collection, state), "perPage": "1", "fields": "id"}
    return await count_with(visit, collection, asked)


async def count_with(visit: Visit, collection: Collection, asked: Mapping[str, str]) -> int:
    page = await visit.services.records.page(collection.id, asked, visit.info())
    total: int = page["totalItems"]
    return total


def problem_of(state: ListState, error: GroundplaneError) -> tuple[str, int]:
    """Why a list could not be read, in words, and the column of the filter where reading stopped (0: none)."""
    if state.filter:
        try:
            parse(state.filter)
        except QueryError as wrong:
            if wrong.position is not None and wrong.position >= 0:
                return f"{wrong}", wrong.position + 1
            # The end of the text is where something was missing.
            return f"{wrong}", len(state.filter) + 1
        cause = error.__context__ if isinstance(error.__context__, QueryError) else None
        if cause is not None:
            position = cause.position if cause.position is not None and cause.position >= 0 else -1
            return str(cause), position + 1
        return say("records.filter.unknown"), 0
    return error.message, 0
