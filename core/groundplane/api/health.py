"""/api/health"""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get

from groundplane.api.exchange import AnyRequest, exchange, services_of
from groundplane.api.response import json_reply, to_response

PATIENCE_S = 3.0  # with plugins that look at their own health
# Headers by which well-known proxies tell the client's address, offered when none of them is trusted yet.
KNOWN_PROXY_HEADERS = ("CF-Connecting-IP", "Fly-Client-IP")


@get("/")
async def health(request: AnyRequest) -> Response[bytes]:
    """Say that the server answers; superusers also see how it sees them."""
    ask = exchange(request)
    data: dict[str, Any] = {}
    if ask.caller is not None and ask.caller.is_superuser:
        trusted = services_of(request).settings.current.trusted_proxy.headers
        present = (name for name in (*trusted, *KNOWN_PROXY_HEADERS) if ask.headers.get(name.lower()))
        data = {"canBackup": True, "possibleProxyHeader": next(present, ""), "realIP": ask.ip}
        plugins = services_of(request).plugins
        if plugins.hooks.health_checks:
            data["plugins"] = [each._asdict() for each in await plugins.findings(PATIENCE_S)]
    body = {"message": "API is healthy.", "code": 200, "data": data}
    return to_response(json_reply(body, fields=ask.query.get("fields")))


router = Router("/api/health", route_handlers=[health])
