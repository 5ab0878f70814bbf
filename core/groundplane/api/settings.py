"""/api/settings"""

from __future__ import annotations

import asyncio

from litestar import Response, Router, get, patch, post

from groundplane.api.caller import require_superuser
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.auth.apple import apple_client_secret
from groundplane.errors import Invalid
from groundplane.settings.service import NOT_LOADED
from groundplane.settings.values import SettingsValues, to_json

APPLE_FORM: dict[str, type] = {
    "clientId": str,
    "teamId": str,
    "keyId": str,
    "privateKey": str,
    "duration": int,
}


def answer(values: SettingsValues, ask: Exchange) -> Response[bytes]:
    return to_response(json_reply(to_json(values), fields=ask.query.get("fields")))


@get("/")
async def view_settings(request: AnyRequest) -> Response[bytes]:
    """Show the settings without their secrets."""
    ask = exchange(request)
    require_superuser(ask)
    return answer(services_of(request).settings.current, ask)


@patch("/")
async def change_settings(request: AnyRequest) -> Response[bytes]:
    """Merge a change into the settings; answered when every process has it."""
    ask = exchange(request)
    require_superuser(ask)
    try:
        change = (await ask.form()).values
    except Invalid:
        raise Invalid(NOT_LOADED) from None
    return answer(await services_of(request).settings.change(change), ask)


@post("/apple/generate-client-secret")
async def generate_apple_client_secret(request: AnyRequest) -> Response[bytes]:
    """Sign the secret with which a collection signs its users in through Apple."""
    ask = exchange(request)
    require_superuser(ask)
    form = await ask.json_form(APPLE_FORM, "Invalid client secret data.", hide_cause=True)
    body = {"secret": await asyncio.to_thread(apple_client_secret, form)}
    return to_response(json_reply(body, fields=ask.query.get("fields")))


router = Router(
    "/api/settings", route_handlers=[change_settings, generate_apple_client_secret, view_settings]
)
