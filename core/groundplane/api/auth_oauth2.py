"""…/auth-with-oauth2 and /api/oauth2-redirect: signing in with other services (contract, auth §7)."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from litestar import Response, Router, get, post

from groundplane.api.auth import answer, collection_of
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.auth.oauth2 import FORM
from groundplane.errors import GroundplaneError
from groundplane.records.wire import encode
from groundplane.services import Services

TOPIC = "@oauth2"
MAX_STATE_CHARS = 255
MAX_TEXT_BYTES = 16 * 1024  # of a code, and of an error
MAX_USER_BYTES = 4096
# Of the console; they close the window, or say that one may.
SUCCEEDED = "../_/#/auth/oauth2-redirect-success"
FAILED = "../_/#/auth/oauth2-redirect-failure"


@post("/auth-with-oauth2")
async def auth_with_oauth2(request: AnyRequest) -> Response[bytes]:
    """Sign in with the code that a service has given, and sign up with the first one."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.require_oauth2(collection_of(ask))
    form = await ask.json_form(FORM)
    body = (await ask.form()).values
    # Two keys for one thing, which differ in the case of letters only: the newer one goes first.
    if isinstance(newer := body.get("redirectURL"), str) and newer:
        form["redirectURL"] = newer
    info = ask.info(body=body, context="oauth2")
    may_create = partial(ask.limits.check_action, ask, collection, "create")
    outcome = await services.auth.with_oauth2(
        collection.id, form, info, may_create, expand=ask.query.get("expand", "")
    )
    return answer(outcome, ask)


@get("/oauth2-redirect")
async def oauth2_redirect(request: AnyRequest) -> Response[bytes]:
    """Take the code that a service sends people back with to the stream that waits for it."""
    ask = exchange(request)
    return await hand_over(ask, services_of(request), ask.query, 307)


@post("/oauth2-redirect")
async def oauth2_redirect_form(request: AnyRequest) -> Response[bytes]:
    """The same for services that send a form."""
    ask = exchange(request)
    try:
        form = await ask.json_form({"state": str, "code": str, "error": str, "user": str})
    except GroundplaneError:
        form = {}
    return await hand_over(ask, services_of(request), form, 303)


async def hand_over(ask: Exchange, services: Services, given: Any, status: int) -> Response[bytes]:
    """Send state, code and error to the client that `state` names, once; then show the end in the window."""
    state, code, error = (str(given.get(name, "")) for name in ("state", "code", "error"))
    sizes = len(code.encode("utf-8", "replace")), len(error.encode("utf-8", "replace"))
    is_usable = 0 < len(state) <= MAX_STATE_CHARS and state.isascii() and max(sizes) <= MAX_TEXT_BYTES
    if not is_usable:
        return redirect(FAILED, status)
    message = {"state": state, "code": code} | ({"error": error} if error else {})
    is_well = bool(code) and not error
    user = str(given.get("user", "")) if is_well else ""
    if user:
        # First, because the client may exchange the code as soon as it hears of it.
        await keep_name(services, code, user)
    try:
        is_sent = await services.streams.send(state, ask.ip, TOPIC, encode(message).rstrip(b"\n"))
    except GroundplaneError:
        is_sent = False
    if user and not is_sent:
        # Nobody waits for this code, or anybody could fill the table.
        await services.auth.oauth2.forget_name(code)
    return redirect(SUCCEEDED if is_sent and is_well else FAILED, status)


async def keep_name(services: Services, code: str, user: str) -> None:
    """Remember the name in the JSON text that Apple sends along, as far as there is one."""
    if len(user.encode("utf-8", "replace")) > MAX_USER_BYTES:
        return
    try:
        name = msgspec.json.decode(user, type=AppleUser).name
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return
    await services.auth.oauth2.remember_name(code, name.first, name.last)


class AppleName(msgspec.Struct):
    first: str = msgspec.field(default="", name="firstName")
    last: str = msgspec.field(default="", name="lastName")


class AppleUser(msgspec.Struct):
    name: AppleName = msgspec.field(default_factory=AppleName)


def redirect(to: str, status: int) -> Response[bytes]:
    """A redirect within the server, whatever host the request names."""
    return Response(b"", status_code=status, headers={"Location": to, "Cache-Control": "no-store"})


router = Router("/api/collections/{collection:str}", route_handlers=[auth_with_oauth2])
redirect_router = Router("/api", route_handlers=[oauth2_redirect, oauth2_redirect_form])
