"""The log: entries newest first, found by a filter and a stretch of time, counted in a picture, followed live."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from litestar import Response, get
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.clock import now, wire_date
from groundplane.errors import NotFound
from groundplane.logs.service import Bar
from groundplane_admin.pages.rule_lab import lab_address
from groundplane_admin.panels import closing, emptied, list_behind
from groundplane_admin.registry import Command, NavItem, Screen
from groundplane_admin.visits import Visit, visit_of, with_query

PAGE_ROWS = 100
EXPORT_ROWS = 10_000
BARS = 60
HEIGHT = 40  # of the picture, in its own units
RANGES = {"15m": 15, "1h": 60, "6h": 360, "24h": 1440, "7d": 10080, "30d": 43200}  # minutes
DEFAULT_RANGE = "1h"
LEVELS = {-4: "debug", 0: "info", 4: "warn", 8: "error"}


class Stretch(NamedTuple):
    """A stretch of time: one of RANGES that ends now, or `from` and `to` of the address."""

    name: str
    since: datetime
    until: datetime


class Column(NamedTuple):
    """A bar of the picture, in its units, and the address that shows its stretch alone."""

    x: int
    total: float
    errors: float
    label: str
    href: str


class Row(NamedTuple):
    """An entry as the list shows it; `facts` is None when it is not of a request."""

    id: str
    created: datetime
    level: str
    message: str
    method: str
    url: str
    status: int
    took_ms: float
    auth: str
    error: str


class LogsPage(NamedTuple):
    filter: str
    problem: str
    column: int
    range: str
    ranges: list[str]
    since: datetime
    until: datetime
    custom: tuple[str, str] | None
    live: bool
    rows: list[Row]
    newest: str
    older: str
    first_page: str
    columns: list[Column]
    total: int
    errors: int
    open: str
    address: str
    export: str


class Entry(NamedTuple):
    """What the panel shows; `found` is None when the entry is no longer kept."""

    found: tuple[Row, list[tuple[str, str]], str] | None
    back: str
    closing: str
    why: str


@get("/_/logs")
async def logs(request: AnyRequest) -> Response[bytes]:
    """The list; htmx asks for its parts by their names as targets."""
    visit = visit_of(request)
    if (none := emptied(visit)) is not None:
        return none
    page = await logs_page(visit)
    status = 422 if page.problem else 200
    if visit.is_fragment and (
        visit.ask.query.get("part") == "body" or visit.ask.headers.get("hx-target", "").endswith("#log-body")
    ):
        return visit.fragment("logs/_body.html", page, status=status)
    return visit.page("logs/page.html", page, status=status)


@get("/_/logs/export")
async def export(request: AnyRequest) -> Response[bytes]:
    """The newest entries that match, a JSON object in each line."""
    visit = visit_of(request)
    stretch = stretch_of(visit)
    found = await visit.services.logs.page(
        filter=within(visit.ask.query.get("filter", ""), stretch),
        sort="-created",
        limit=EXPORT_ROWS,
        offset=0,
        with_total=False,
    )
    lines = b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in found.items)
    name = f"logs-{now():%Y%m%d-%H%M%S}.ndjson"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(lines, media_type="application/x-ndjson", headers=headers)


@get("/_/logs/{entry_id:str}")
async def log(request: AnyRequest, entry_id: FromPath[str]) -> Response[bytes]:
    """One entry: in the panel, or as the list with the panel open."""
    visit = visit_of(request)
    back = list_behind(visit, "/_/logs")
    try:
        found = shown(await visit.services.logs.view(entry_id))
    except NotFound:
        found = None
    entry = Entry(found, back, closing(back), why_denied(found[0], found[1]) if found else "")
    status = 200 if found else 404
    if visit.is_fragment and visit.ask.headers.get("hx-target", "").endswith("#panel"):
        return visit.fragment("logs/_panel.html", entry, status=status)
    page = await logs_page(visit, open=entry_id, around=found[0].created if found else None)
    return visit.page("logs/page.html", LogsWithEntry(page, entry), status=status)


class LogsWithEntry:
    """The list's page, with the entry that its panel shows."""

    def __init__(self, page: LogsPage, entry: Entry) -> None:
        self.page = page
        self.entry = entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)


async def logs_page(visit: Visit, *, open: str = "", around: datetime | None = None) -> LogsPage:
    """What an address asks for: `filter`, `range` or `from` and `to`, `before` an entry, `live`."""
    query = visit.ask.query
    text = query.get("filter", "").strip()
    stretch = stretch_of(visit)
    if around is not None and "range" not in query and "from" not in query:
        stretch = Stretch("", around - timedelta(minutes=30), around + timedelta(minutes=30))
    wrong = visit.services.logs.problem(text)
    rows: list[Row] = []
    bars: list[Bar] = []
    before = query.get("before", "")
    if wrong is None:
        found = await visit.services.logs.page(
            filter=within(text, stretch, before=before),
            sort="-created",
            limit=PAGE_ROWS + 1,
            offset=0,
            with_total=False,
        )
        rows = [row_of(each) for each in found.items]
        bars = await visit.services.logs.histogram(text, stretch.since, stretch.until, BARS)
    more, rows = len(rows) > PAGE_ROWS, rows[:PAGE_ROWS]
    base = {"filter": text, **time_query(stretch)}
    return LogsPage(
        filter=text,
        problem=str(wrong) if wrong is not None else "",
        column=column_of(wrong.position, text) if wrong is not None else 0,
        range=stretch.name,
        ranges=list(RANGES),
        since=stretch.since,
        until=stretch.until,
        custom=None if stretch.name else (wire_date(stretch.since), wire_date(stretch.until)),
        live=query.get("live") == "1" and bool(stretch.name),
        rows=rows,
        newest=rows[0].id if rows else "",
        older=with_query("/_/logs", **base, before=rows[-1].id) if more else "",
        first_page=with_query("/_/logs", **base) if before else "",
        columns=columns_of(bars, text),
        total=sum(bar.total for bar in bars),
        errors=sum(bar.errors for bar in bars),
        open=open,
        address=with_query("/_/logs", **base),
        export=with_query("/_/logs/export", **base),
    )


def column_of(position: int | None, text: str) -> int:
    """Where reading stopped, counted from 1; the end of the text when there was too little of it."""
    return position + 1 if position is not None and 0 <= position < len(text) else len(text) + 1


def stretch_of(visit: Visit) -> Stretch:
    query = visit.ask.query
    moment = now()
    if "from" in query and "to" in query:
        since, until = read_date(query["from"]), read_date(query["to"])
        if since is not None and until is not None and since < until:
            return Stretch("", since, until)
    name = query.get("range", DEFAULT_RANGE)
    if name not in RANGES:
        name = DEFAULT_RANGE
    return Stretch(name, moment - timedelta(minutes=RANGES[name]), moment)


def read_date(text: str) -> datetime | None:
    """A time as it is on the wire; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def time_query(stretch: Stretch) -> dict[str, str]:
    if stretch.name:
        return {"range": stretch.name}
    return {"from": wire_date(stretch.since), "to": wire_date(stretch.until)}


def within(text: str, stretch: Stretch, before: str = "") -> str:
    """The filter, for a stretch of time; an end that is now stays open, or the newest would be missed."""
    parts = [f"({text})"] if text else []
    parts.append(f'created >= "{wire_date(stretch.since)}"')
    if not stretch.name:
        parts.append(f'created < "{wire_date(stretch.until)}"')
    if before and before.isalnum():
        parts.append(f'id < "{before}"')
    return " && ".join(parts)


def columns_of(bars: list[Bar], text: str) -> list[Column]:
    most = max((bar.total for bar in bars), default=0)
    if not most:
        return []
    length = bars[1].since - bars[0].since
    return [
        Column(
            number,
            round(HEIGHT * bar.total / most, 2),
            round(HEIGHT * bar.errors / most, 2),
            f"{bar.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            with_query(
                "/_/logs",
                filter=text,
                **{"from": wire_date(bar.since), "to": wire_date(bar.since + length)},
            ),
        )
        for number, bar in enumerate(bars)
        if bar.total
    ]


def row_of(item: dict[str, Any]) -> Row:
    data = item["data"] if isinstance(item["data"], dict) else {}
    is_request = data.get("type") == "request"
    return Row(
        id=item["id"],
        created=read_date(item["created"]) or now(),
        level=LEVELS.get(item["level"], str(item["level"])),
        message=item["message"],
        method=str(data.get("method", "")) if is_request else "",
        url=str(data.get("url", "")) if is_request else "",
        status=int(data.get("status", 0)) if is_request else 0,
        took_ms=float(data.get("execTime", 0)) if is_request else 0,
        auth=str(data.get("auth", "")),
        error=str(data.get("error", "")),
    )


def why_denied(row: Row, facts: list[tuple[str, str]]) -> str:
    """Where the rule lab explains a refused request; "" for other entries."""
    if row.status not in (400, 403, 404):
        return ""
    return lab_address(row.method, row.url, row.auth, dict(facts).get("authId", ""))


def shown(item: dict[str, Any]) -> tuple[Row, list[tuple[str, str]], str]:
    """An entry as a row, its data name by name, and whole as JSON."""
    data = item["data"] if isinstance(item["data"], dict) else {}
    facts = [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in data.items()
        if value not in ("", None) and not isinstance(value, dict | list)
    ]
    return row_of(item), facts, json.dumps(item, indent=2, ensure_ascii=False)


SCREEN = Screen(
    handlers=[logs, export, log],
    nav=[NavItem("operate", "logs.title", "/_/logs", "log", order=10)],
    commands=[
        Command("logs.command_errors", "/_/logs?filter=level%20%3E%3D%208&range=24h", "log"),
        Command("logs.command_live", "/_/logs?live=1", "log"),
    ],
)
