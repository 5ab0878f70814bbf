"""/api/logs"""

from __future__ import annotations

from litestar import Response, Router, delete, get
from litestar.params import FromPath

from groundplane.api.caller import require_superuser
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.records.paging import list_request, page_of


def superuser_exchange(request: AnyRequest) -> Exchange:
    ask = exchange(request)
    require_superuser(ask)
    return ask


@get("/")
async def list_logs(request: AnyRequest) -> Response[bytes]:
    """List entries, in the order in which they came if no other is asked for."""
    ask = superuser_exchange(request)
    wanted = list_request(ask.query)
    page = await services_of(request).logs.page(
        filter=wanted.filter,
        sort=wanted.sort,
        limit=wanted.per_page,
        offset=wanted.offset,
        with_total=not wanted.skip_total,
    )
    return to_response(json_reply(page_of(page.items, wanted, page.total), fields=ask.query.get("fields")))


@get("/stats")
async def view_stats(request: AnyRequest) -> Response[bytes]:
    """Count entries by hour, hours without any left out."""
    ask = superuser_exchange(request)
    stats = await services_of(request).logs.stats(ask.query.get("filter", ""))
    return to_response(json_reply(stats, fields=ask.query.get("fields")))


@get("/{id:str}")
async def view_log(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Show one entry."""
    ask = superuser_exchange(request)
    return to_response(json_reply(await services_of(request).logs.view(id), fields=ask.query.get("fields")))


@delete("/", status_code=204)
async def forget_logs(request: AnyRequest) -> None:
    """Forget every entry."""
    superuser_exchange(request)
    await services_of(request).logs.forget()


router = Router("/api/logs", route_handlers=[forget_logs, list_logs, view_log, view_stats])
