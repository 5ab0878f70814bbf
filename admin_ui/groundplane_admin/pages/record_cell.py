"""Editing one cell in its place: what is typed is written onto the version that was read."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from litestar import Response, get, post

from groundplane.api.exchange import AnyRequest
from groundplane.errors import Invalid, NotFound, PreconditionFailed
from groundplane.records.values import Submitted
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field
from groundplane_admin.catalogue import say
from groundplane_admin.fields import field_messages
from groundplane_admin.pages.record import SAFE_ID
from groundplane_admin.pages.record_tools import RowPage
from groundplane_admin.pages.records import collection_of
from groundplane_admin.records.inputs import (
    INPUT,
    ZONE,
    BadInput,
    Input,
    input_of,
    kind_of,
    read,
    to_api,
    value_of,
)
from groundplane_admin.records.listing import listing_row
from groundplane_admin.records.panel import Read, read_record
from groundplane_admin.records.saving import VERSION
from groundplane_admin.records.state import ListState
from groundplane_admin.registry import Screen
from groundplane_admin.visits import Toast, Visit, visit_of

SIMPLE = frozenset({"text", "long", "email", "url", "number", "bool", "select", "date"})


class CellPage(NamedTuple):
    action: str
    place: str
    version: str
    input: Input


def simple_field(visit: Visit, collection: Collection) -> Field:
    """The field in the path, if it is one for a cell; raises NotFound."""
    field = collection.by_name.get(visit.ask.segments[5])
    if (
        field is None
        or collection.is_view
        or field.is_multiple
        or field.name == "id"
        or field.type_name == "autodate"
        or kind_of(field) not in SIMPLE
    ):
        raise NotFound()
    return field


def cell_page(visit: Visit, stored: Read, field: Field, value: object, error: str = "") -> CellPage:
    id = str(stored.record["id"])
    return CellPage(
        visit.here,
        f"cell-{id}-{field.name}",
        stored.version,
        input_of(field, value, error=error, zone=visit.zone),
    )


@get("/_/c/{collection:str}/cell/{id:str}/{field:str}")
async def edit_cell(request: AnyRequest) -> Response[bytes]:
    """The input of one cell."""
    visit = visit_of(request)
    collection = collection_of(visit)
    field = simple_field(visit, collection)
    stored = await read_record(visit, collection, visit.ask.segments[4])
    page = cell_page(visit, stored, field, value_of(field, stored.record))
    return visit.fragment("records/_cell_form.html", page)


@post("/_/c/{collection:str}/cell/{id:str}/{field:str}")
async def save_cell(request: AnyRequest) -> Response[bytes]:
    """Write one value; answers with the row, and a message that can undo it."""
    visit = visit_of(request)
    collection = collection_of(visit)
    field = simple_field(visit, collection)
    record_id = visit.ask.segments[4]
    form = await visit.form()
    stored = await read_record(visit, collection, record_id)
    before = value_of(field, stored.record)
    typed: object = form.text(INPUT + field.name)
    problem = ""
    try:
        typed = read(field, form, before)
        body = {field.name: to_api(field, typed)}
        await visit.services.records.update(
            collection.id, record_id, Submitted(body), {}, visit.info(body=body), if_match=form.text(VERSION)
        )
    except BadInput as error:
        problem = str(error)
    except PreconditionFailed:
        problem = say("records.cell.changed")
    except Invalid as error:
        problem = field_messages(error).get(field.name, error.message)
    if problem:
        page = cell_page(visit, stored, field, typed, problem)
        place = (
            {"HX-Retarget": f"#{page.place}", "HX-Reswap": "outerHTML"} if set(page.place) <= SAFE_ID else {}
        )
        return visit.fragment("records/_cell_form.html", page, status=422, headers=place)
    if not visit.is_fragment or visit.is_boosted:
        return visit.go_to(ListState(collection.name).record_href(record_id), toast=Toast("records.undone"))
    now = await read_record(visit, collection, record_id)
    base = f"/_/c/{quote(collection.name, safe='')}/cell/{quote(record_id, safe='')}/{quote(field.name, safe='')}"
    undo = {INPUT + field.name: "true" if before is True else "false" if before is False else str(before)}
    if kind_of(field) == "date":
        undo |= {ZONE + field.name: "UTC"}
    visit.toasts.append(
        Toast(
            "records.cell.saved", {"name": field.name}, undo=base, undo_fields=undo | {VERSION: now.version}
        )
    )
    row, shown = await listing_row(
        visit, collection, ListState.read(collection.name, visit.ask.query), now.record
    )
    return visit.fragment("records/_one_row.html", RowPage(row, shown))


SCREEN = Screen(handlers=[edit_cell, save_cell])
