"""/api/collections"""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, delete, get, patch, post, put
from litestar.params import FromPath

from groundplane.api.caller import require_superuser
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import NO_CONTENT, json_reply, to_response
from groundplane.collections.listing import PageRequest
from groundplane.collections.service import BAD_SHAPE, BAD_TYPE_SHAPE
from groundplane.errors import Invalid
from groundplane.records.paging import list_request, page_of
from groundplane.schema.collection import Collection
from groundplane.schema.wire import collection_to_json


def superuser_exchange(request: AnyRequest) -> Exchange:
    """The request of a superuser; nobody else may see or change what collections there are."""
    ask = exchange(request)
    require_superuser(ask)
    return ask


def answer(value: Any, ask: Exchange) -> Response[bytes]:
    return to_response(json_reply(value, fields=ask.query.get("fields")))


def show(collection: Collection, ask: Exchange) -> Response[bytes]:
    return answer(collection_to_json(collection), ask)


async def submitted(ask: Exchange, unreadable: str) -> dict[str, Any]:
    try:
        return (await ask.form()).values
    except Invalid:
        raise Invalid(unreadable) from None


@get("/")
async def list_collections(request: AnyRequest) -> Response[bytes]:
    """List collections by page, filter and sort."""
    ask = superuser_exchange(request)
    wanted = list_request(ask.query)
    page = await services_of(request).collections.page(
        PageRequest(wanted.page, wanted.per_page, wanted.skip_total, wanted.filter, wanted.sort), ask.info()
    )
    items = [collection_to_json(collection) for collection in page.items]
    return answer(page_of(items, wanted, page.total_items), ask)


@post("/", status_code=200)
async def create_collection(request: AnyRequest) -> Response[bytes]:
    """Create a collection and its table."""
    ask = superuser_exchange(request)
    raw = await submitted(ask, BAD_TYPE_SHAPE)
    return show(await services_of(request).collections.create(raw), ask)


@put("/import")
async def import_collections(request: AnyRequest) -> Response[bytes]:
    """Create and change many collections, all or none."""
    ask = superuser_exchange(request)
    form = await ask.json_form({"collections": list, "deleteMissing": bool})
    await services_of(request).collections.import_all(form["collections"], form["deleteMissing"])
    return to_response(NO_CONTENT)


@get("/meta/scaffolds")
async def view_scaffolds(request: AnyRequest) -> Response[bytes]:
    """Show a blank collection of each type."""
    ask = superuser_exchange(request)
    return answer(services_of(request).collections.scaffolds(), ask)


@get("/meta/oauth2-providers")
async def list_oauth2_providers(request: AnyRequest) -> Response[bytes]:
    """List the OAuth2 providers that a collection can be given."""
    ask = superuser_exchange(request)
    providers = [
        {"name": each.name, "displayName": each.display_name, "logo": each.logo}
        for each in services_of(request).auth.oauth2.providers.all
    ]
    return answer(providers, ask)


@post("/meta/dry-run-view", status_code=200)
async def dry_run_view(request: AnyRequest) -> Response[bytes]:
    """Show what a view query would give, without keeping anything."""
    ask = superuser_exchange(request)
    form = await ask.json_form({"query": str})
    return answer(await services_of(request).collections.dry_run_view(form["query"]), ask)


@get("/{collection:str}")
async def view_collection(request: AnyRequest, collection: FromPath[str]) -> Response[bytes]:
    """Show one collection."""
    ask = superuser_exchange(request)
    return show(services_of(request).collections.view(collection), ask)


@patch("/{collection:str}")
async def update_collection(request: AnyRequest, collection: FromPath[str]) -> Response[bytes]:
    """Change a collection and its table; absent keys stay as they are."""
    ask = superuser_exchange(request)
    collections = services_of(request).collections
    collections.view(collection)
    raw = await submitted(ask, BAD_SHAPE)
    return show(await collections.update(collection, raw), ask)


@delete("/{collection:str}", status_code=204)
async def delete_collection(request: AnyRequest, collection: FromPath[str]) -> None:
    """Delete a collection with its records and files."""
    superuser_exchange(request)
    await services_of(request).collections.delete(collection)


@delete("/{collection:str}/truncate", status_code=204)
async def truncate_collection(request: AnyRequest, collection: FromPath[str]) -> None:
    """Delete every record of a collection."""
    superuser_exchange(request)
    await services_of(request).collections.truncate(collection)


router = Router(
    "/api/collections",
    route_handlers=[
        create_collection,
        delete_collection,
        dry_run_view,
        import_collections,
        list_collections,
        list_oauth2_providers,
        truncate_collection,
        update_collection,
        view_collection,
        view_scaffolds,
    ],
)
