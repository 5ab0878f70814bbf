"""One record: its panel, saving, creating, deleting, and what else is done with it."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from litestar import Response, get, post

from groundplane.api.exchange import AnyRequest, Exchange
from groundplane.api.records import body_limit
from groundplane.errors import Invalid, NotFound, PreconditionFailed
from groundplane.schema.collection import Collection
from groundplane.services import Services
from groundplane_admin.fields import field_messages
from groundplane_admin.pages.records import ListPage, PanelPage, Tab, collection_of, links_of
from groundplane_admin.records.dependents import Dependent, dependents_of
from groundplane_admin.records.display import name_of
from groundplane_admin.records.history import restore_deleted, restores
from groundplane_admin.records.inputs import value_of
from groundplane_admin.records.listing import listing, listing_row
from groundplane_admin.records.panel import Panel, Read, panel_of, read_record
from groundplane_admin.records.saving import TAKE, VERSION, Clash, Typed, body_of, clashes, typed
from groundplane_admin.records.state import ListState
from groundplane_admin.registry import Screen, record_tabs
from groundplane_admin.visits import Toast, Visit, visit_of

SAFE_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class SavedPage(NamedTuple):
    """The form as it is now, and the row of the table, when the table shows the record."""

    panel: Panel
    row: Any = None
    list: Any = None


class ConflictPage(NamedTuple):
    panel: Panel
    clashes: list[Clash]
    texts: list[tuple[str, str]]
    version: str
    has_files: bool


class DeletePage(NamedTuple):
    collection: Collection
    state: ListState
    id: str
    name: str
    dependents: list[Dependent]
    is_restorable: bool


def form_limit(ask: Exchange, services: Services) -> int:
    """How large a form of a record may be: what its fields may hold, and as much again for its base."""
    collection = services.schema.current.get(ask.segments[2])
    return 2 * body_limit(collection) if collection is not None else 1 << 20


def state_of(visit: Visit, collection: Collection) -> ListState:
    return ListState.read(collection.name, visit.ask.query)


async def show(visit: Visit, collection: Collection, panel: Panel, tab: Tab | None = None) -> Response[bytes]:
    """The panel by itself, or the list with it where a whole page is asked for."""
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("records/_panel.html", PanelPage(panel, tab))
    page = ListPage(
        collection,
        await listing(visit, collection, panel.state),
        links_of(collection),
        side=PanelPage(panel, tab),
    )
    return visit.page("records/page.html", page)


@get("/_/c/{collection:str}/r/{id:str}")
async def open_record(request: AnyRequest) -> Response[bytes]:
    """The form of a record, beside the list it was opened from."""
    visit = visit_of(request)
    collection = collection_of(visit)
    stored = await read_record(visit, collection, visit.ask.segments[4])
    return await show(
        visit, collection, await panel_of(visit, collection, state_of(visit, collection), stored)
    )


@get("/_/c/{collection:str}/r/{id:str}/{tab:str}")
async def open_tab(request: AnyRequest) -> Response[bytes]:
    """Another tab of a record's panel, by whoever has registered it."""
    visit = visit_of(request)
    collection = collection_of(visit)
    name = visit.ask.segments[5]
    found = next((tab for tab in record_tabs() if tab.name == name and tab.applies(visit, collection)), None)
    if found is None:
        raise NotFound()
    stored = await read_record(visit, collection, visit.ask.segments[4])
    panel = await panel_of(visit, collection, state_of(visit, collection), stored)
    template, data = await found.render(visit, collection, panel.id)
    return await show(visit, collection, panel, Tab(found.name, template, data))


@get("/_/c/{collection:str}/new")
async def new_record(request: AnyRequest) -> Response[bytes]:
    """The form of a new record, empty or with the values of another one (`like`)."""
    visit = visit_of(request)
    collection = collection_of(visit)
    if collection.is_view:
        raise NotFound()
    values = None
    if like := visit.ask.query.get("like", ""):
        other = await read_record(visit, collection, like)
        panel = await panel_of(visit, collection, state_of(visit, collection), other)
        values = {
            each.name: list_of_ids(each)
            if each.kind == "relation"
            else other_value(collection, each.name, other)
            for each in panel.inputs
            if each.kind not in ("file", "password") and each.name != "id"
        }
    return await show(
        visit, collection, await panel_of(visit, collection, state_of(visit, collection), None, values=values)
    )


def list_of_ids(each: Any) -> list[str] | str:
    ids = [link.id for link in each.links]
    return ids if each.is_multiple else (ids[0] if ids else "")


def other_value(collection: Collection, name: str, other: Read) -> Any:
    return value_of(collection.by_name[name], other.record)


@post("/_/c/{collection:str}/new", opt={"body_limit": form_limit})
async def create_record(request: AnyRequest) -> Response[bytes]:
    """Create a record from the form."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = state_of(visit, collection)
    form = await visit.form()
    said = typed(collection, form, {}, is_new=True)
    errors = dict(said.errors)
    problem = ""
    if not errors:
        try:
            sent = body_of(collection, said, {}, said.changed)
            answer = await visit.services.records.create(
                collection.id, sent, {}, visit.info(body=sent.values)
            )
        except Invalid as error:
            errors = field_messages(error)
            problem = "" if errors else error.message
        else:
            return await created(visit, collection, state, str(answer.record["id"]))
    panel = await panel_of(
        visit, collection, state, None, values=said.values, errors=errors, problem=problem, is_dirty=True
    )
    return await form_again(visit, collection, panel)


async def created(visit: Visit, collection: Collection, state: ListState, record_id: str) -> Response[bytes]:
    address = state.record_href(record_id)
    if not visit.is_fragment or visit.is_boosted:
        return visit.go_to(address, toast=Toast("records.created"))
    visit.toasts.append(Toast("records.created"))
    panel = await panel_of(
        visit, collection, state, await read_record(visit, collection, record_id), is_saved=True
    )
    page = ListPage(
        collection, await listing(visit, collection, state), links_of(collection), side=PanelPage(panel, None)
    )
    headers = {"HX-Retarget": "#panel", "HX-Reswap": "innerHTML", "HX-Push-Url": address}
    return visit.fragment("records/_created.html", page, headers=headers)


@post("/_/c/{collection:str}/r/{id:str}", opt={"body_limit": form_limit})
async def save_record(request: AnyRequest) -> Response[bytes]:
    """Write what was changed in the form, onto the version that was read; else show what differs."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state, record_id = state_of(visit, collection), visit.ask.segments[4]
    form = await visit.form()
    stored = await read_record(visit, collection, record_id)
    said = typed(collection, form, stored.record, is_new=False)
    errors, problem = dict(said.errors), ""
    if not errors:
        sent = body_of(collection, said, stored.record, said.changed)
        if not sent.values and not sent.uploads:
            return await saved(visit, collection, state, record_id, stored, "records.unchanged")
        try:
            await visit.services.records.update(
                collection.id, record_id, sent, {}, visit.info(body=sent.values), if_match=form.text(VERSION)
            )
        except PreconditionFailed:
            current = await read_record(visit, collection, record_id)
            return await conflict(
                visit, collection, state, current, typed(collection, form, current.record, is_new=False)
            )
        except Invalid as error:
            errors = field_messages(error)
            problem = "" if errors else error.message
        else:
            return await saved(visit, collection, state, record_id, None, "records.saved")
    panel = await panel_of(
        visit,
        collection,
        state,
        stored,
        values=said.values,
        errors=errors,
        problem=problem,
        base=form.text("_base"),
        version=form.text(VERSION),
        is_dirty=True,
    )
    return await form_again(visit, collection, panel)


async def form_again(visit: Visit, collection: Collection, panel: Panel) -> Response[bytes]:
    """The form with its errors; nothing that was typed is lost."""
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("records/_form.html", panel, status=422)
    page = ListPage(
        collection,
        await listing(visit, collection, panel.state),
        links_of(collection),
        side=PanelPage(panel, None),
    )
    return visit.page("records/page.html", page, status=422)


async def saved(
    visit: Visit, collection: Collection, state: ListState, record_id: str, stored: Read | None, words: str
) -> Response[bytes]:
    if not visit.is_fragment or visit.is_boosted:
        return visit.go_to(state.record_href(record_id), toast=Toast(words))
    visit.toasts.append(Toast(words))
    stored = stored or await read_record(visit, collection, record_id)
    panel = await panel_of(visit, collection, state, stored, is_saved=True)
    row, shown = await listing_row(visit, collection, state, stored.record)
    is_safe = set(record_id) <= SAFE_ID
    return visit.fragment("records/_saved.html", SavedPage(panel, row if is_safe else None, shown))


async def conflict(
    visit: Visit, collection: Collection, state: ListState, current: Read, said: Typed
) -> Response[bytes]:
    """Who else has changed the record is shown field by field; what only one side changed is merged already."""
    form = await visit.form()
    found = clashes(collection, form, said, current.record)
    texts = [
        (name, value)
        for name, values in form.texts.items()
        if name not in ("_csrf", VERSION) and not name.startswith(TAKE)
        for value in values
    ]
    panel = await panel_of(visit, collection, state, current)
    page = ConflictPage(panel, found, texts, current.version, bool(said.uploads))
    if visit.is_fragment and not visit.is_boosted:
        headers = {"HX-Retarget": "#dialog", "HX-Reswap": "innerHTML"}
        return visit.fragment("records/_conflict.html", page, status=412, headers=headers)
    return visit.page("records/conflict.html", page, status=412)


@get("/_/c/{collection:str}/r/{id:str}/delete")
async def ask_delete(request: AnyRequest) -> Response[bytes]:
    """What goes along when the record goes."""
    visit = visit_of(request)
    collection = collection_of(visit)
    stored = await read_record(visit, collection, visit.ask.segments[4])
    page = DeletePage(
        collection,
        state_of(visit, collection),
        str(stored.record["id"]),
        name_of(stored.record, collection),
        await dependents_of(visit, collection, str(stored.record["id"])),
        restores(visit, collection),
    )
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("records/_delete.html", page)
    return visit.page("records/delete.html", page)


@post("/_/c/{collection:str}/r/{id:str}/delete")
async def delete_record(request: AnyRequest) -> Response[bytes]:
    """Delete a record; with a history that keeps it, the message has an Undo that brings it back."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state, record_id = state_of(visit, collection), visit.ask.segments[4]
    await visit.services.records.delete(collection.id, record_id, visit.info())
    undo = f"{state.base}/r/{quote(record_id, safe='')}/restore" if restores(visit, collection) else ""
    return visit.go_to(state.href, toast=Toast("records.deleted", undo=undo))


@post("/_/c/{collection:str}/r/{id:str}/restore")
async def undelete_record(request: AnyRequest) -> Response[bytes]:
    """Bring a deleted record back from the history."""
    visit = visit_of(request)
    collection = collection_of(visit)
    record_id = visit.ask.segments[4]
    await restore_deleted(visit, collection, record_id)
    state = ListState(collection.name)
    return visit.go_to(state.record_href(record_id), toast=Toast("records.restored"))


@get("/_/file/{collection:str}/{record:str}/{name:str}")
async def open_file(request: AnyRequest) -> Response[bytes]:
    """Send the browser to a file; one of a protected field gets a token that is good for a moment."""
    visit = visit_of(request)
    collection, record_id, name = visit.ask.segments[2:5]
    address = f"/api/files/{quote(collection, safe='')}/{quote(record_id, safe='')}/{quote(name, safe='')}"
    superusers = visit.services.schema.current.find(visit.user.collection_id)
    token = visit.services.auth.callers.file_token(superusers, visit.user.record, 0)
    thumb = visit.ask.query.get("thumb", "")
    query = f"?thumb={quote(thumb)}&token={token}" if thumb else f"?token={token}"
    return Response(b"", status_code=302, headers={"Location": address + query, "Cache-Control": "no-store"})


SCREEN = Screen(
    handlers=[
        ask_delete,
        create_record,
        delete_record,
        new_record,
        open_file,
        open_record,
        open_tab,
        save_record,
        undelete_record,
    ]
)
