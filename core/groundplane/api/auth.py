"""/api/collections/{collection}/auth-… and /impersonate: signing in to an auth collection."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get, post

from groundplane.api.caller import require_same_collection, require_superuser
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.auth.service import FirstFactor, SignIn

PASSWORD_FORM: dict[str, type] = {"identity": str, "password": str, "identityField": str, "mfaId": str}
IMPERSONATE_FORM: dict[str, type] = {"duration": int}


def collection_of(ask: Exchange) -> str:
    """The name or id in the path, decoded as one part even with an encoded slash in it."""
    return ask.segments[2]


def answer(outcome: SignIn | FirstFactor, ask: Exchange) -> Response[bytes]:
    """A sign-in, or the 401 that asks for a second factor (which is no error body and never cut down)."""
    if isinstance(outcome, FirstFactor):
        return to_response(json_reply({"mfaId": outcome.mfa_id}, 401))
    body: dict[str, Any] = {} if outcome.meta is None else {"meta": outcome.meta}
    body |= {"record": outcome.record, "token": outcome.token}
    return to_response(json_reply(body, fields=ask.query.get("fields")))


@get("/auth-methods")
async def list_auth_methods(request: AnyRequest) -> Response[bytes]:
    """Say how one can sign in to a collection."""
    ask = exchange(request)
    methods = await services_of(request).auth.methods(collection_of(ask))
    return to_response(json_reply(methods, fields=ask.query.get("fields")))


@post("/auth-with-password")
async def auth_with_password(request: AnyRequest) -> Response[bytes]:
    """Sign in with an identity (an e-mail, usually) and a password."""
    ask, auth = exchange(request), services_of(request).auth
    collection = collection_of(ask)
    auth.collection(collection)
    form = await ask.json_form(PASSWORD_FORM)
    info = ask.info(body=(await ask.form()).values, context="password")
    outcome = await auth.with_password(collection, form, info, expand=ask.query.get("expand", ""))
    return answer(outcome, ask)


@post("/auth-refresh")
async def auth_refresh(request: AnyRequest) -> Response[bytes]:
    """Give a caller of this collection a new token and its current record."""
    ask, services = exchange(request), services_of(request)
    collection = collection_of(ask)
    caller = require_same_collection(ask, services.schema.current, collection)
    services.auth.collection(collection)
    info = ask.info(body=(await ask.form()).values)
    outcome = await services.auth.refresh(collection, caller, info, expand=ask.query.get("expand", ""))
    return answer(outcome, ask)


@post("/impersonate/{record_id:str}")
async def impersonate(request: AnyRequest) -> Response[bytes]:
    """Give a superuser a token to act as somebody else."""
    ask, auth = exchange(request), services_of(request).auth
    require_superuser(ask)
    collection, record_id = collection_of(ask), ask.segments[4]
    await auth.record(collection, record_id)
    form = await ask.json_form(IMPERSONATE_FORM, hide_cause=True)
    info = ask.info(body=(await ask.form()).values)
    outcome = await auth.impersonate(
        collection, record_id, form["duration"], info, expand=ask.query.get("expand", "")
    )
    return answer(outcome, ask)


router = Router(
    "/api/collections/{collection:str}",
    route_handlers=[auth_refresh, auth_with_password, impersonate, list_auth_methods],
)
