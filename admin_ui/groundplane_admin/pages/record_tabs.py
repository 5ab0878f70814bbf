"""Further tabs of a record's panel: as JSON and code, its history; and acting as an account."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from litestar import Response, get, post

from groundplane.api.exchange import AnyRequest
from groundplane.clock import now
from groundplane.errors import NotFound
from groundplane.schema.collection import Collection
from groundplane_admin.pages.records import collection_of
from groundplane_admin.records.display import json_shown, name_of
from groundplane_admin.records.history import Entry, entries_of, restore_version, restores
from groundplane_admin.records.json_layout import laid_out
from groundplane_admin.records.panel import read_record
from groundplane_admin.records.state import ListState
from groundplane_admin.registry import RecordTab, Rendered, Screen
from groundplane_admin.visits import Toast, Visit, visit_of

DURATIONS = (900, 3600, 24 * 3600)  # seconds


class CodePage(NamedTuple):
    json: str
    curl: str
    javascript: str


class HistoryPage(NamedTuple):
    action: str
    entries: list[Entry]


class ImpersonatePage(NamedTuple):
    """`token` "" before one was asked for."""

    action: str
    name: str
    durations: tuple[int, ...]
    token: str = ""
    until: datetime | None = None
    javascript: str = ""


async def code_tab(visit: Visit, collection: Collection, record_id: str) -> Rendered:
    """The record as the API gives it to a superuser, and how it is asked for."""
    answer = await visit.services.records.view(collection.id, record_id, {}, visit.info())
    text = (
        "{" + ",".join(f"{json_shown(key)}:{json_shown(value)}" for key, value in answer.record.items()) + "}"
    )
    base = visit.services.settings.current.meta.app_url.rstrip("/")
    curl = (
        f'curl {base}/api/collections/{collection.name}/records/{record_id} \\\n  -H "Authorization: $TOKEN"'
    )
    javascript = (
        f"const record = await pb.collection({json_shown(collection.name)}).getOne({json_shown(record_id)});"
    )
    return "records/_code.html", CodePage(laid_out(text), curl, javascript)


async def history_tab(visit: Visit, collection: Collection, record_id: str) -> Rendered:
    """What has happened to the record, the newest first."""
    action = ListState(collection.name).path_href(f"restore/{quote(record_id, safe='')}")
    return "records/_history.html", HistoryPage(action, await entries_of(visit, collection, record_id))


@post("/_/c/{collection:str}/restore/{id:str}")
async def restore(request: AnyRequest) -> Response[bytes]:
    """Give the record the values that it had after one of its changes."""
    visit = visit_of(request)
    collection = collection_of(visit)
    record_id = visit.ask.segments[4]
    version = (await visit.form()).text("version")
    if not version.isdigit() or len(version) > 18:
        raise NotFound()
    await restore_version(visit, collection, record_id, int(version))
    state = ListState.read(collection.name, visit.ask.query)
    return visit.go_to(state.record_href(record_id), toast=Toast("records.restored_version"))


@get("/_/c/{collection:str}/r/{id:str}/impersonate")
async def ask_impersonate(request: AnyRequest) -> Response[bytes]:
    """For how long to act as an account."""
    visit = visit_of(request)
    collection = collection_of(visit)
    if not collection.is_auth:
        raise NotFound()
    stored = await read_record(visit, collection, visit.ask.segments[4])
    page = ImpersonatePage(visit.path, name_of(stored.record, collection), DURATIONS)
    return answer_impersonate(visit, page)


@post("/_/c/{collection:str}/r/{id:str}/impersonate")
async def impersonate(request: AnyRequest) -> Response[bytes]:
    """Make a token to act as an account with; it is shown once and cannot be refreshed."""
    visit = visit_of(request)
    collection = collection_of(visit)
    if not collection.is_auth:
        raise NotFound()
    record_id = visit.ask.segments[4]
    wanted = (await visit.form()).text("duration")
    duration = int(wanted) if wanted in {str(each) for each in DURATIONS} else DURATIONS[0]
    made = await visit.services.auth.impersonate(collection.id, record_id, duration, visit.info())
    page = ImpersonatePage(
        visit.path,
        name_of(made.record, collection),
        DURATIONS,
        made.token,
        now() + timedelta(seconds=duration),
        f"pb.authStore.save({json_shown(made.token)}, null);",
    )
    return answer_impersonate(visit, page)


def answer_impersonate(visit: Visit, page: ImpersonatePage) -> Response[bytes]:
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("records/_impersonate.html", page)
    return visit.page("records/impersonate.html", page)


SCREEN = Screen(
    handlers=[ask_impersonate, impersonate, restore],
    record_tabs=[
        RecordTab("history", "records.tabs.history", history_tab, order=20, applies=restores),
        RecordTab("json", "records.tabs.json", code_tab, order=90),
    ],
)
