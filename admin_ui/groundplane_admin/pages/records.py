"""Records: the list, the panel of one record, and everything that is done with them."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get

from groundplane.api.exchange import AnyRequest
from groundplane.schema.collection import Collection
from groundplane_admin.catalogue import say
from groundplane_admin.records.listing import Listing, exact_total, listing
from groundplane_admin.records.panel import Panel
from groundplane_admin.records.state import PER_PAGE, ListState
from groundplane_admin.registry import CollectionLink, Screen, collection_links
from groundplane_admin.visits import Visit, visit_of


class Tab(NamedTuple):
    """A tab of the panel that another screen draws."""

    name: str
    template: str
    page: object


class PanelPage(NamedTuple):
    panel: Panel
    tab: Tab | None = None


class ListPage(NamedTuple):
    """`side` is the panel of a record, where the address names one."""

    collection: Collection
    listing: Listing
    links: list[CollectionLink]
    per_page: tuple[int, ...] = PER_PAGE
    side: PanelPage | None = None


def collection_of(visit: Visit) -> Collection:
    """The collection in the path; raises NotFound."""
    return visit.services.schema.current.find(visit.ask.segments[2], say("records.no_collection"))


def links_of(collection: Collection) -> list[CollectionLink]:
    return [link for link in collection_links() if link.applies(collection)]


async def list_page(visit: Visit, collection: Collection) -> ListPage:
    state = ListState.read(collection.name, visit.ask.query)
    return ListPage(collection, await listing(visit, collection, state), links_of(collection))


@get("/_/c/{collection:str}")
async def list_records(request: AnyRequest) -> Response[bytes]:
    """The table of a collection; as a fragment, only its rows and what is around them."""
    visit = visit_of(request)
    page = await list_page(visit, collection_of(visit))
    if visit.is_fragment and not visit.is_boosted:
        if page.listing.problem:
            headers = {"HX-Retarget": "#filter-message", "HX-Push-Url": "false"}
            return visit.fragment("records/_filter_message.html", page.listing, status=422, headers=headers)
        return visit.fragment("records/_list.html", page)
    return visit.page("records/page.html", page)


@get("/_/c/{collection:str}/count")
async def count_records(request: AnyRequest) -> Response[bytes]:
    """How many records match, counted."""
    visit = visit_of(request)
    collection = collection_of(visit)
    total = await exact_total(visit, collection, ListState.read(collection.name, visit.ask.query))
    if visit.is_fragment:
        return visit.fragment("records/_counted.html", total)
    return visit.page("records/counted.html", total)


SCREEN = Screen(handlers=[count_records, list_records])
