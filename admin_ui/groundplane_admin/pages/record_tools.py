"""What the list and the panel of records ask for on the side: rows, options, columns, words, live changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import msgspec
from litestar import Response, get, post
from litestar.response import Stream

from groundplane.api.exchange import AnyRequest
from groundplane.errors import Invalid, NotFound
from groundplane.schema.collection import Collection
from groundplane_admin.catalogue import say
from groundplane_admin.guard import caller_of
from groundplane_admin.pages.records import collection_of
from groundplane_admin.records.columns import (
    MAX_WIDTH,
    Choice,
    Column,
    columns_of,
    preference_name,
    title_field,
)
from groundplane_admin.records.display import name_of, one_line, quoted
from groundplane_admin.records.listing import Listing, Row, listing_row, problem_of
from groundplane_admin.records.panel import read_record
from groundplane_admin.records.state import ListState
from groundplane_admin.records.words import words_of
from groundplane_admin.registry import Screen
from groundplane_admin.visits import SESSION, Toast, Visit, visit_of

MOST_OPTIONS = 20
LOOK_S = 20.0  # between two looks for whether the session is still good
MAX_VIEWS = 50
MAX_VIEW_NAME = 60


class RowPage(NamedTuple):
    row: Row
    list: Listing


class Option(NamedTuple):
    id: str
    name: str
    detail: str


class OptionsPage(NamedTuple):
    query: str
    options: list[Option]


class ColumnsPage(NamedTuple):
    collection: Collection
    state: ListState
    columns: list[Column]


class CheckPage(NamedTuple):
    problem: str
    column: int


class View(msgspec.Struct, frozen=True):
    """A saved view: what the list's address says of filter, search and sort."""

    filter: str = ""
    search: str = ""
    sort: str = ""


class ViewsPage(NamedTuple):
    collection: Collection
    state: ListState
    views: list[tuple[str, str]]


@get("/_/c/{collection:str}/row/{id:str}")
async def one_row(request: AnyRequest) -> Response[bytes]:
    """A row of the table as it is now."""
    visit = visit_of(request)
    collection = collection_of(visit)
    stored = await read_record(visit, collection, visit.ask.segments[4])
    row, shown = await listing_row(
        visit, collection, ListState.read(collection.name, visit.ask.query), stored.record
    )
    return visit.fragment("records/_one_row.html", RowPage(row, shown))


@get("/_/c/{collection:str}/options")
async def options(request: AnyRequest) -> Response[bytes]:
    """Records to choose from in a relation: the newest ones, or those whose name or id matches."""
    visit = visit_of(request)
    collection = collection_of(visit)
    query = visit.ask.query.get("q", "")[:200]
    title = title_field(collection)
    condition = ""
    if query:
        parts = [f"id = {quoted(query)}"]
        if title != "id":
            parts.append(f"{title} ~ {quoted(query)}")
        if collection.is_auth:
            parts.append(f"email ~ {quoted(query)}")
        condition = " || ".join(parts)
    asked = {"filter": condition, "perPage": str(MOST_OPTIONS), "skipTotal": "1"}
    if not collection.is_view:
        asked["sort"] = "-@rowid"
    page = await visit.services.records.page(collection.id, asked, visit.info())
    found = [
        Option(str(each["id"]), name_of(each, collection), one_line(str(each.get("email") or each["id"])))
        for each in page["items"]
    ]
    return visit.fragment("records/_options.html", OptionsPage(query, found))


async def choice_of(visit: Visit, collection: Collection) -> Choice:
    preferences = visit.services.preferences
    return await preferences.read(visit.user.id, preference_name(collection), Choice, Choice())


@get("/_/c/{collection:str}/columns")
async def columns_page(request: AnyRequest) -> Response[bytes]:
    """Which columns are shown, and in which order."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState.read(collection.name, visit.ask.query)
    page = ColumnsPage(collection, state, columns_of(collection, await choice_of(visit, collection), state))
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("records/_columns.html", page)
    return visit.page("records/columns.html", page)


@post("/_/c/{collection:str}/columns")
async def choose_columns(request: AnyRequest) -> Response[bytes]:
    """Keep the columns of a superuser, or forget the choice (`reset`)."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState.read(collection.name, visit.ask.query)
    form = await visit.form()
    preferences, name = visit.services.preferences, preference_name(collection)
    if form.has("reset"):
        await preferences.forget(visit.user.id, name)
    else:
        before = await choice_of(visit, collection)
        order = [each for each in form.all("order") if each in collection.by_name]
        shown = set(form.all("shown"))
        hidden = [each for each in order if each not in shown]
        if shown:
            await preferences.keep(visit.user.id, name, Choice(order, hidden, before.widths))
    return visit.go_to(state.href)


@post("/_/c/{collection:str}/columns/width")
async def choose_width(request: AnyRequest) -> Response[bytes]:
    """Keep the width of a column."""
    visit = visit_of(request)
    collection = collection_of(visit)
    form = await visit.form()
    name, width = form.text("name"), form.text("width")
    if name not in collection.by_name or not width.isdigit() or not 20 <= int(width[:6]) <= MAX_WIDTH:
        raise Invalid()
    before = await choice_of(visit, collection)
    kept = {each: size for each, size in before.widths.items() if each in collection.by_name}
    choice = Choice(before.order, before.hidden, kept | {name: int(width)})
    await visit.services.preferences.keep(visit.user.id, preference_name(collection), choice)
    return Response(b"", status_code=204)


@get("/_/c/{collection:str}/words")
async def words(request: AnyRequest) -> Response[bytes]:
    """What an expression may name: fields, also of related records, operators, macros."""
    visit = visit_of(request)
    body = msgspec.json.encode(words_of(visit.services.schema.current, collection_of(visit)))
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


@get("/_/c/{collection:str}/check")
async def check(request: AnyRequest) -> Response[bytes]:
    """Whether a filter is complete and right, and where it is not."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState(collection.name, filter=visit.ask.query.get("filter", "").strip())
    page = CheckPage("", 0)
    if state.filter:
        try:
            # Of no row, so that only the text is looked at.
            asked = {
                "filter": f'({state.filter}) && id = ""',
                "perPage": "1",
                "skipTotal": "1",
                "fields": "id",
            }
            await visit.services.records.page(collection.id, asked, visit.info())
        except Invalid as error:
            page = CheckPage(*problem_of(state, error))
    body = msgspec.json.encode({"problem": page.problem.rstrip("."), "column": page.column})
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


# Saved views, which all superusers share


def views_name(collection: Collection, name: str) -> str:
    return f"view.{collection.id}.{name}"


async def views_of(visit: Visit, collection: Collection) -> dict[str, View]:
    return await visit.services.preferences.below("", views_name(collection, ""), View)


@get("/_/c/{collection:str}/views")
async def views_page(request: AnyRequest) -> Response[bytes]:
    """The saved views of a collection, and a field to save this one."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState.read(collection.name, visit.ask.query)
    found = await views_of(visit, collection)
    links = [
        (
            name,
            ListState(
                collection.name, filter=view.filter, search=view.search, sort=view.sort, view=name
            ).href,
        )
        for name, view in found.items()
    ]
    page = ViewsPage(collection, state, links)
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("records/_views.html", page)
    return visit.page("records/views.html", page)


@post("/_/c/{collection:str}/views")
async def save_view(request: AnyRequest) -> Response[bytes]:
    """Save the list's filter and sort under a name, or remove a name (`remove`)."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState.read(collection.name, visit.ask.query)
    form = await visit.form()
    preferences = visit.services.preferences
    if removed := form.text("remove"):
        await preferences.forget("", views_name(collection, removed))
        return visit.go_to(
            state._replace(view="").href, toast=Toast("records.view.removed", {"name": removed})
        )
    name = form.text("name").strip()
    known = await views_of(visit, collection)
    if not name or len(name) > MAX_VIEW_NAME or (len(known) >= MAX_VIEWS and name not in known):
        raise Invalid(say("records.view.bad_name", n=MAX_VIEW_NAME))
    await preferences.keep("", views_name(collection, name), View(state.filter, state.search, state.sort))
    return visit.go_to(state._replace(view=name).href, toast=Toast("records.view.saved", {"name": name}))


# Changes as they happen


@get("/_/live")
async def live(request: AnyRequest) -> Stream | Response[bytes]:
    """Events of one collection's records, for as long as the session is good: what happened, and to which id."""
    visit = visit_of(request)
    services, ask = visit.services, visit.ask
    collection = services.schema.current.get(visit.ask.query.get("collection", ""))
    if collection is None or collection.is_view:
        raise NotFound()
    client = await services.realtime.open(ask.ip, ask.remote_ip)
    try:
        await services.realtime.subscribe(client, visit.user, [f"{collection.id}/*"])
    except BaseException:
        services.realtime.clients.close(client)
        raise
    token = visit.sent_cookies.get(SESSION, "")

    async def ended() -> None:
        while await caller_of(services, token, ask.ip) is not None:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(LOOK_S)
        client.end("the session is over")

    async def events() -> AsyncIterator[bytes]:
        watching = asyncio.create_task(ended())
        try:
            yield b"retry: 3000\n\n"
            while (frames := await client.frames()) is not None:
                if told := told_of(frames):
                    yield told
                elif frames.startswith(b":"):
                    yield frames
        finally:
            watching.cancel()
            services.realtime.clients.close(client)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(events(), media_type="text/event-stream", headers=headers)


def told_of(frames: bytes) -> bytes:
    """The events of a stream as the console's pages want them: the action and the id, nothing of the record."""
    found = []
    for frame in frames.split(b"\n\n"):
        data = next((line[5:] for line in frame.split(b"\n") if line.startswith(b"data:")), b"")
        try:
            event: Mapping[str, Any] = msgspec.json.decode(data)
            told = {"action": event["action"], "id": event["record"]["id"]}
        except (msgspec.DecodeError, KeyError, TypeError):
            continue
        found.append(b"event: record\ndata: " + msgspec.json.encode(told) + b"\n\n")
    return b"".join(found)


SCREEN = Screen(
    handlers=[
        check,
        choose_columns,
        choose_width,
        columns_page,
        live,
        one_row,
        options,
        save_view,
        views_page,
        words,
    ]
)
