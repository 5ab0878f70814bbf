"""/api/x/{plugin}/…"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.api.caller import require_caller, require_superuser
from groundplane.api.exchange import Exchange, Reply
from groundplane.api.response import NO_CONTENT, json_reply
from groundplane.errors import NotFound
from groundplane.hooks.routes import PluginAnswer, PluginRequest

if TYPE_CHECKING:
    from groundplane.services import Services

ROUTE_S = 30.0  # seconds that a plugin's handler may take


async def handle_plugin(exchange: Exchange, services: Services) -> Reply:
    """Answer a request to a plugin's route; unknown plugins, broken ones and unknown routes are a 404."""
    method = "GET" if exchange.method == "HEAD" else exchange.method
    plugin = services.plugins.get(exchange.segments[2])
    for route, handler in plugin.routes if plugin is not None else ():
        params = route.matches(method, exchange.segments[3:])
        if params is None:
            continue
        match route.access:
            case "superusers":
                require_superuser(exchange)
            case "accounts":
                require_caller(exchange)
        request = PluginRequest(params, exchange.info(), exchange.body)
        given = {"request": request, "services": services}
        result = await handler.answer(services.plugins.hooks.surroundings, given, ROUTE_S)
        if result is None:
            return NO_CONTENT
        if isinstance(result, PluginAnswer):
            if not isinstance(result.body, bytes) or not 200 <= result.status <= 599:
                raise handler.failed("its answer has no bytes, or an impossible status")
            return Reply(result.status, result.body, result.headers, result.content_type)
        try:
            return json_reply(
                msgspec.to_builtins(result, enc_hook=ready), fields=exchange.query.get("fields")
            )
        except (TypeError, ValueError) as error:
            raise handler.failed(f"its answer is no JSON: {error}", error) from error
    raise NotFound()


def ready(value: Any) -> Any:
    """JSON that is written already, as the records that `services.records` answers hold it."""
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
