"""Tells plugins of every answered request: which route it was, how it ended, how long it took."""

from __future__ import annotations

import re
from time import perf_counter
from typing import TYPE_CHECKING

from groundplane.hooks.events import RequestFinished

if TYPE_CHECKING:
    from groundplane.api.exchange import Exchange
    from groundplane.hooks.calls import Observe
    from groundplane.services import Services

RECORDS = "/api/collections/{collection}/records"
RECORD = "/api/collections/{collection}/records/{id}"
UPLOADS = "/api/files/uploads"
TYPED = re.compile(r"\{(\w+):\w+\}")


def tell(exchange: Exchange, services: Services) -> None:
    """Call the hook for an exchange that has its answer; nothing is computed while nobody implements it."""
    hook = services.plugins.hooks.request_finished
    if hook:
        took_s = perf_counter() - exchange.started
        route = route_of(exchange, services)
        hook(RequestFinished(exchange.method, route, exchange.raw_path, exchange.status, took_s))


def tell_directly(hook: Observe, method: str, path: str, *, started: float) -> None:
    """Call the hook for a request to records that was answered without an exchange."""
    route = RECORDS if path.count("/") == 4 else RECORD
    hook(RequestFinished(method, route, path, 200, perf_counter() - started))


def route_of(exchange: Exchange, services: Services) -> str:
    """The template of the route that has answered; "" where none has."""
    match exchange.segments:
        case ("api", "collections", _, "records"):
            return RECORDS
        case ("api", "collections", _, "records", _):
            return RECORD
        case ("api", "batch" | "realtime") | ("api", "realtime", "ws"):
            return exchange.raw_path
        case ("api", "files", "uploads"):
            return UPLOADS
        case ("api", "files", "uploads", _):
            return f"{UPLOADS}/{{token}}"
        case ("api", "x", name, *rest):
            plugin = services.plugins.get(name)
            method = "GET" if exchange.method == "HEAD" else exchange.method
            for route, _ in plugin.routes if plugin is not None else ():
                if route.matches(method, tuple(rest)) is not None:
                    return f"/api/x/{name}{route.path}"
            return ""
    return TYPED.sub(r"{\1}", exchange.route)
