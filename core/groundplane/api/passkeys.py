"""/api/collections/{collection}/passkeys, request-passkey and auth-with-passkey."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, delete, get, patch, post

from groundplane.api.auth import answer, collection_of
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.api.sessions import whose
from groundplane.auth.passkeys import Passkey
from groundplane.clock import wire_date

MAX_BODY = 128 * 1024  # bytes; what authenticators say has a few hundred
PASSWORD: dict[str, type] = {"password": str}
REGISTRATION: dict[str, type] = {"id": str, "credential": dict, "name": str}
NAME: dict[str, type] = {"name": str}
REQUEST: dict[str, type] = {"mfaId": str}
SIGN_IN: dict[str, type] = {"id": str, "credential": dict, "mfaId": str}


def shown(passkey: Passkey) -> dict[str, Any]:
    return {
        "id": passkey.id,
        "name": passkey.name,
        "model": passkey.model,
        "transports": list(passkey.transports),
        "synced": passkey.synced,
        "created": wire_date(passkey.created),
        "lastUsed": wire_date(passkey.used),
    }


def reply(value: Any, ask: Exchange) -> Response[bytes]:
    return to_response(json_reply(value, fields=ask.query.get("fields")))


@get("/passkeys")
async def list_passkeys(request: AnyRequest) -> Response[bytes]:
    """List one's passkeys, or for a superuser those of any record, oldest first."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services)
    found = await services.own_methods.passkeys.all(about.collection, about.record["id"])
    return reply([shown(each) for each in found], ask)


@post("/passkeys/options", status_code=200)
async def begin_registration(request: AnyRequest) -> Response[bytes]:
    """What a browser needs to make a passkey: `navigator.credentials.create` takes the options."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services, only_own=True)
    form = await ask.json_form(PASSWORD)
    await services.own_methods.require_fresh(about.caller, form["password"])
    challenge = await services.own_methods.passkeys.begin_registration(about.collection, about.record)
    return reply({"id": challenge.id, "options": challenge.options}, ask)


@post("/passkeys", status_code=200)
async def register_passkey(request: AnyRequest) -> Response[bytes]:
    """Keep the passkey that a browser has made."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services, only_own=True)
    ask.max_body = MAX_BODY
    form = await ask.json_form(REGISTRATION)
    passkey = await services.own_methods.passkeys.register(
        about.collection, about.record, form["id"], form["credential"], form["name"]
    )
    return reply(shown(passkey), ask)


@patch("/passkeys/{id:str}")
async def rename_passkey(request: AnyRequest) -> Response[bytes]:
    """Give a passkey another name."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services, only_own=True)
    form = await ask.json_form(NAME)
    passkeys = services.own_methods.passkeys
    renamed = await passkeys.rename(about.collection, about.record["id"], ask.segments[4], form["name"])
    return reply(shown(renamed), ask)


@delete("/passkeys/{id:str}")
async def delete_passkey(request: AnyRequest) -> None:
    """Forget one of one's passkeys, or for a superuser one of any record."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services)
    passkeys = services.own_methods.passkeys
    await passkeys.delete(about.collection, about.record["id"], ask.segments[4])


@post("/request-passkey", status_code=200)
async def request_passkey(request: AnyRequest) -> Response[bytes]:
    """What a browser is to sign: `navigator.credentials.get` takes the options."""
    ask, services = exchange(request), services_of(request)
    collection = collection_of(ask)
    services.auth.collection(collection)
    form = await ask.json_form(REQUEST)
    challenge = await services.own_methods.request_passkey(collection, form["mfaId"])
    return reply({"id": challenge.id, "options": challenge.options}, ask)


@post("/auth-with-passkey", status_code=200)
async def auth_with_passkey(request: AnyRequest) -> Response[bytes]:
    """Sign in with what a browser has signed."""
    ask, services = exchange(request), services_of(request)
    collection = collection_of(ask)
    services.auth.collection(collection)
    ask.max_body = MAX_BODY
    form = await ask.json_form(SIGN_IN)
    info = ask.info(body=(await ask.form()).values, context="passkey")
    outcome = await services.own_methods.with_passkey(
        collection, form, info, expand=ask.query.get("expand", "")
    )
    return answer(outcome, ask)


router = Router(
    "/api/collections/{collection:str}",
    route_handlers=[
        auth_with_passkey,
        begin_registration,
        delete_passkey,
        list_passkeys,
        register_passkey,
        rename_passkey,
        request_passkey,
    ],
)
