"""What is done with many records at once: deleting, changing one field, exporting."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from litestar import Response, get, post
from litestar.response import Stream

from groundplane.api.exchange import AnyRequest
from groundplane.errors import GroundplaneError, Invalid, NotFound
from groundplane.records.values import Submitted
from groundplane.schema.collection import Collection
from groundplane_admin.catalogue import say
from groundplane_admin.fields import field_messages
from groundplane_admin.pages.records import collection_of
from groundplane_admin.records.columns import visible_fields
from groundplane_admin.records.dependents import Dependent, dependents_of
from groundplane_admin.records.display import json_shown, quoted
from groundplane_admin.records.history import restores
from groundplane_admin.records.inputs import BadInput, Input, blank, editable, input_of, read, to_api
from groundplane_admin.records.listing import request_filter
from groundplane_admin.records.state import ListState
from groundplane_admin.registry import Screen
from groundplane_admin.visits import Toast, Visit, visit_of

MOST = 1000  # records at once: more is work for a job
TYPED_FROM = 100  # records: above that the name has to be typed
LOOKED_AT = 20  # records whose dependents are counted
PAGE = 500
FORMATS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


class BulkPage(NamedTuple):
    collection: Collection
    state: ListState
    ids: list[str]
    is_typed: bool
    dependents: list[Dependent]
    is_restorable: bool
    problem: str = ""


class EditPage(NamedTuple):
    collection: Collection
    state: ListState
    ids: list[str]
    names: list[str]
    input: Input | None
    problem: str = ""


async def chosen(visit: Visit, collection: Collection, state: ListState) -> list[str]:
    """The ids of the form, or of all that match (`all`), as many as go at once; raises Invalid for none."""
    form = await visit.form()
    if form.has("all"):
        asked = {
            "filter": request_filter(collection, state),
            "perPage": str(MOST),
            "skipTotal": "1",
            "fields": "id",
        }
        page = await visit.services.records.page(collection.id, asked, visit.info())
        return [str(each["id"]) for each in page["items"]]
    ids = list(dict.fromkeys(form.all("id")))[:MOST]
    if not ids:
        raise Invalid(say("records.bulk.nothing"))
    return ids


@post("/_/c/{collection:str}/bulk/delete")
async def bulk_delete(request: AnyRequest) -> Response[bytes]:
    """Ask first, with what goes along; then delete one after the other, as the API would."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState.read(collection.name, visit.ask.query)
    form = await visit.form()
    ids = await chosen(visit, collection, state)
    is_typed = len(ids) > TYPED_FROM
    problem = ""
    if form.has("confirmed"):
        if not is_typed or form.text("typed").strip() == collection.name:
            return await deleted(visit, collection, state, ids)
        problem = say("records.bulk.wrong")
    page = BulkPage(
        collection,
        state,
        ids,
        is_typed,
        await all_dependents(visit, collection, ids),
        restores(visit, collection),
        problem,
    )
    return answer(visit, "delete", page, 422 if problem else 200)


async def all_dependents(visit: Visit, collection: Collection, ids: Sequence[str]) -> list[Dependent]:
    """Who names the first of them, added up; of very many it would take long to say."""
    sums: dict[tuple[str, str], Dependent] = {}
    for each in ids[:LOOKED_AT]:
        for found in await dependents_of(visit, collection, each):
            key = (found.collection, found.field)
            before = sums.get(key)
            sums[key] = found if before is None else found._replace(records=before.records + found.records)
    return list(sums.values())


async def deleted(visit: Visit, collection: Collection, state: ListState, ids: list[str]) -> Response[bytes]:
    done, failed, reason = 0, 0, ""
    for each in ids:
        try:
            await visit.services.records.delete(collection.id, each, visit.info())
            done += 1
        except NotFound:
            continue  # somebody was faster
        except GroundplaneError as error:
            if error.status >= 500:
                raise
            failed, reason = failed + 1, reason or error.message
    toast = Toast("records.bulk.deleted", {"n": done})
    if failed:
        toast = Toast("records.bulk.some", {"n": done, "failed": failed, "reason": reason}, kind="error")
    return visit.go_to(state.first_page().href, toast=toast)


@post("/_/c/{collection:str}/bulk/edit")
async def bulk_edit(request: AnyRequest) -> Response[bytes]:
    """Choose a field, then its value; then change one record after the other, as the API would."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState.read(collection.name, visit.ask.query)
    form = await visit.form()
    ids = await chosen(visit, collection, state)
    names = [f.name for f in editable(collection, is_new=False) if f.type_name not in ("file", "password")]
    name = form.text("field")
    field = collection.by_name[name] if name in names else None
    shown = (
        input_of(field, blank(field), zone=visit.zone, target=target_of(visit, field))
        if field is not None
        else None
    )
    problem = ""
    if field is not None and form.has("confirmed"):
        try:
            value = to_api(field, read(field, form, blank(field)))
        except BadInput as error:
            problem = str(error)
        else:
            return await changed(visit, collection, state, ids, {name: value})
    page = EditPage(collection, state, ids, names, shown, problem)
    return answer(visit, "edit", page, 422 if problem else 200)


def target_of(visit: Visit, field: Any) -> str:
    target = visit.services.schema.current.get(getattr(field, "collection_id", ""))
    return target.name if target is not None and field.type_name == "relation" else ""


async def changed(
    visit: Visit, collection: Collection, state: ListState, ids: list[str], values: dict[str, Any]
) -> Response[bytes]:
    done, failed, reason = 0, 0, ""
    for each in ids:
        try:
            await visit.services.records.update(
                collection.id, each, Submitted(values), {}, visit.info(body=values)
            )
            done += 1
        except NotFound:
            continue
        except GroundplaneError as error:
            if error.status >= 500:
                raise
            failed += 1
            reason = reason or next(iter(field_messages(error).values()), error.message)
    toast = Toast("records.bulk.changed", {"n": done})
    if failed:
        toast = Toast(
            "records.bulk.changed_some", {"n": done, "failed": failed, "reason": reason}, kind="error"
        )
    return visit.go_to(state.href, toast=toast)


def answer(visit: Visit, name: str, page: object, status: int) -> Response[bytes]:
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment(f"records/_bulk_{name}.html", page, status=status)
    return visit.page(f"records/bulk_{name}.html", page, status=status)


@get("/_/c/{collection:str}/export")
async def export(request: AnyRequest) -> Stream:
    """All that match as CSV or JSON, page by page; with `id`s only those."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState.read(collection.name, visit.ask.query)
    kind = visit.ask.query.get("format", "csv")
    if kind not in FORMATS:
        raise NotFound()
    ids = [value for name, value in visit.ask.query_pairs if name == "id"][:200]
    condition = request_filter(collection, state)
    if ids:
        condition = " || ".join(f"id = {quoted(each)}" for each in ids)
    name = f"{collection.name}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    write = csv_lines if kind == "csv" else json_lines
    return Stream(
        write(collection, pages(visit, collection, condition, state.sort)),
        media_type=FORMATS[kind],
        headers=headers,
    )


async def pages(visit: Visit, collection: Collection, condition: str, sort: str) -> AsyncIterator[list[Any]]:
    """Every record that matches, some at a time."""
    cursor, number = "", 1
    while True:
        asked = {"filter": condition, "sort": sort, "perPage": str(PAGE), "skipTotal": "1"}
        asked |= {"page": str(number)} if collection.is_view else {"cursor": cursor}
        page = await visit.services.records.page(collection.id, asked, visit.info())
        yield page["items"]
        cursor, number = page.get("nextCursor") or "", number + 1
        if (collection.is_view and len(page["items"]) < PAGE) or (not collection.is_view and not cursor):
            return


async def csv_lines(collection: Collection, found: AsyncIterator[list[Any]]) -> AsyncIterator[bytes]:
    names = [field.name for field in visible_fields(collection)]
    yield csv_line(names)
    async for items in found:
        yield b"".join(csv_line([csv_text(each.get(name)) for name in names]) for each in items)


def csv_line(cells: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()


def csv_text(value: Any) -> str:
    """A cell; a text that a spreadsheet would take for a formula is told apart by an apostrophe."""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    return "" if value is None else json_shown(value)


async def json_lines(collection: Collection, found: AsyncIterator[list[Any]]) -> AsyncIterator[bytes]:
    names = [field.name for field in visible_fields(collection)]
    before = b"[\n"
    async for items in found:
        for each in items:
            members = [f"{json.dumps(name)}: {json_shown(each.get(name))}" for name in names]
            yield before + ("{" + ", ".join(members) + "}").encode()
            before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


SCREEN = Screen(handlers=[bulk_delete, bulk_edit, export])
