"""The schema as a picture: collections, their fields, and the relations between them; also as a list and a file."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get

from groundplane.api.exchange import AnyRequest
from groundplane.schema.collection import Collection
from groundplane_admin.diagram.layout import Diagram, Relation, lay_out, relations_of
from groundplane_admin.registry import NavItem, Screen
from groundplane_admin.templates import render
from groundplane_admin.visits import Visit, visit_of, with_query

ZOOMS = (50, 75, 100, 150, 200)


class DiagramPage(NamedTuple):
    """`at` is the collection whose relations stand out; `near` are the ids of those it is related to."""

    diagram: Diagram
    relations: list[tuple[str, Relation, str]]
    at: str
    near: set[str]
    system: bool
    related: bool
    zoom: int
    smaller: str
    larger: str
    toggles: list[tuple[str, bool, str]]
    names: list[str]


def chosen(visit: Visit) -> tuple[list[Collection], bool, bool]:
    query = visit.ask.query
    system, related = query.get("system") == "1", query.get("related") == "1"
    ordered = sorted(visit.services.schema.current, key=lambda each: each.name.lower())
    collections = [each for each in ordered if system or not each.system]
    if related:
        relations = relations_of(collections)
        linked = {each.source for each in relations} | {each.target for each in relations}
        collections = [each for each in collections if each.id in linked]
    return collections, system, related


def page_of(visit: Visit) -> DiagramPage:
    collections, system, related = chosen(visit)
    query = visit.ask.query
    names = {each.id: each.name for each in collections}
    found = next(
        (each for each in collections if each.name.lower() == query.get("at", "").strip().lower()), None
    )
    drawn = lay_out(collections)
    relations = [edge.relation for edge in drawn.edges]
    near: set[str] = set()
    if found is not None:
        near = {found.id}
        near |= {each.source for each in relations if each.target == found.id}
        near |= {each.target for each in relations if each.source == found.id}
    zoom = next((each for each in ZOOMS if str(each) == query.get("zoom", "")), 100)
    place = ZOOMS.index(zoom)

    def address(**changed: str) -> str:
        values = {
            "at": found.name if found is not None else "",
            "system": "1" if system else "",
            "related": "1" if related else "",
            "zoom": str(zoom) if zoom != 100 else "",
        }
        return with_query("/_/diagram", **(values | changed))

    return DiagramPage(
        drawn,
        [(names[each.source], each, names[each.target]) for each in relations],
        found.id if found is not None else "",
        near,
        system,
        related,
        zoom,
        address(zoom=str(ZOOMS[place - 1])) if place else "",
        address(zoom=str(ZOOMS[place + 1])) if place + 1 < len(ZOOMS) else "",
        [
            ("related", related, address(related="" if related else "1")),
            ("system", system, address(system="" if system else "1")),
        ],
        list(names.values()),
    )


@get("/_/diagram")
async def diagram(request: AnyRequest) -> Response[bytes]:
    """The picture and the list of relations."""
    visit = visit_of(request)
    return visit.page("diagram/page.html", page_of(visit))


@get("/_/diagram/schema.svg")
async def export(request: AnyRequest) -> Response[bytes]:
    """The picture as a file that stands alone."""
    visit = visit_of(request)
    text = render("diagram/export.svg", page=page_of(visit), visit=visit)
    headers = {"Content-Disposition": 'attachment; filename="schema.svg"', "Cache-Control": "no-store"}
    return Response(text.encode(), media_type="image/svg+xml", headers=headers)


SCREEN = Screen(
    handlers=[diagram, export],
    nav=[NavItem("build", "diagram.title", "/_/diagram", "diagram", order=20)],
)
