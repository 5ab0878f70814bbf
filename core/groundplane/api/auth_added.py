"""…/auth-with/{method}: ways to sign in that plugins add."""

from __future__ import annotations

from litestar import Response, Router, post
from litestar.params import FromPath

from groundplane.api.auth import answer, collection_of
from groundplane.api.exchange import AnyRequest, exchange, services_of


@post("/{method:str}", status_code=200)
async def auth_with_added(request: AnyRequest, method: FromPath[str]) -> Response[bytes]:
    """Sign in by a plugin's method; the body is the plugin's."""
    ask, services = exchange(request), services_of(request)
    values = (await ask.form()).values
    info = ask.info(body=values, context="default")
    outcome = await services.added_methods.sign_in(
        collection_of(ask), method, values, info, expand=ask.query.get("expand", "")
    )
    return answer(outcome, ask)


router = Router("/api/collections/{collection:str}/auth-with", route_handlers=[auth_with_added])
