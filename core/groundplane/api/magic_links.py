"""/api/collections/{collection}/request-magic-link and auth-with-magic-link."""

from __future__ import annotations

from litestar import Response, Router, post

from groundplane.api.auth import answer, collection_of
from groundplane.api.exchange import AnyRequest, exchange, services_of
from groundplane.api.response import json_reply, to_response

REQUEST: dict[str, type] = {"email": str, "sameBrowser": bool}
SIGN_IN: dict[str, type] = {"token": str, "browserKey": str, "mfaId": str}


@post("/request-magic-link", status_code=200)
async def request_magic_link(request: AnyRequest) -> Response[bytes]:
    """Have a link mailed that signs in; the answer is the same for an address that nobody has."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.collection(collection_of(ask))
    form = await ask.json_form(REQUEST)
    links = services.own_methods.magic_links
    key = await links.request(collection, form["email"], same_browser=form["sameBrowser"])
    return to_response(json_reply({"browserKey": key}, fields=ask.query.get("fields")))


@post("/auth-with-magic-link", status_code=200)
async def auth_with_magic_link(request: AnyRequest) -> Response[bytes]:
    """Sign in with the token of a mailed link."""
    ask, services = exchange(request), services_of(request)
    collection = collection_of(ask)
    services.auth.collection(collection)
    form = await ask.json_form(SIGN_IN)
    info = ask.info(body=(await ask.form()).values, context="magicLink")
    outcome = await services.own_methods.with_magic_link(
        collection, form, info, expand=ask.query.get("expand", "")
    )
    return answer(outcome, ask)


router = Router(
    "/api/collections/{collection:str}", route_handlers=[auth_with_magic_link, request_magic_link]
)
