"""/api/collections/{collection}/totp and auth-with-totp: code generators as a second factor."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, delete, get, post

from groundplane.api.auth import answer, collection_of
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.api.sessions import whose
from groundplane.clock import wire_date
from groundplane.errors import Forbidden

PASSWORD: dict[str, type] = {"password": str}
CODE: dict[str, type] = {"code": str}
CODES: dict[str, type] = {"code": str, "recoveryCode": str}
SIGN_IN: dict[str, type] = {"mfaId": str, "code": str, "recoveryCode": str}


def reply(value: Any, ask: Exchange) -> Response[bytes]:
    return to_response(json_reply(value, fields=ask.query.get("fields")))


@get("/totp")
async def view_totp(request: AnyRequest) -> Response[bytes]:
    """Say whether one has a code generator, or for a superuser whether a record has."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services)
    standing = await services.own_methods.totp.standing(about.collection, about.record["id"])
    return reply(
        {
            "enabled": standing.since is not None,
            "since": wire_date(standing.since),
            "recoveryCodes": standing.recovery_codes,
        },
        ask,
    )


@post("/totp", status_code=200)
async def begin_totp(request: AnyRequest) -> Response[bytes]:
    """Make a secret for a code generator, which counts once it is confirmed."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services, only_own=True)
    form = await ask.json_form(PASSWORD)
    await services.own_methods.require_fresh(about.caller, form["password"])
    issuer = services.settings.current.meta.app_name
    secret, url = await services.own_methods.totp.begin(about.collection, about.record, issuer)
    return reply({"secret": secret, "url": url}, ask)


@post("/totp/confirm", status_code=200)
async def confirm_totp(request: AnyRequest) -> Response[bytes]:
    """Have the code generator count from now on; the only answer that shows the recovery codes."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services, only_own=True)
    form = await ask.json_form(CODE)
    codes = await services.own_methods.totp.confirm(about.collection, about.record["id"], form["code"])
    return reply({"recoveryCodes": codes}, ask)


@post("/totp/recovery-codes", status_code=200)
async def replace_recovery_codes(request: AnyRequest) -> Response[bytes]:
    """Replace the recovery codes by new ones."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services, only_own=True)
    form = await ask.json_form(CODE)
    totp = services.own_methods.totp
    codes = await totp.new_recovery_codes(about.collection, about.record["id"], form["code"])
    return reply({"recoveryCodes": codes}, ask)


@post("/totp/disable", status_code=204)
async def disable_totp(request: AnyRequest) -> None:
    """Do without the code generator; needs one of its codes, or a recovery code."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services, only_own=True)
    form = await ask.json_form(CODES)
    totp = services.own_methods.totp
    await totp.check(about.collection, about.record["id"], form["code"], form["recoveryCode"])
    await totp.end(about.collection, about.record["id"])


@delete("/totp")
async def reset_totp(request: AnyRequest) -> None:
    """Take the code generator from a record that has lost it; superusers only, and not for themselves."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services)
    if about.is_own:
        raise Forbidden()
    await services.own_methods.totp.end(about.collection, about.record["id"])


@post("/auth-with-totp", status_code=200)
async def auth_with_totp(request: AnyRequest) -> Response[bytes]:
    """Complete a sign-in that waits for a second factor."""
    ask, services = exchange(request), services_of(request)
    collection = collection_of(ask)
    services.auth.collection(collection)
    form = await ask.json_form(SIGN_IN)
    form["mfaId"] = ask.query.get("mfaId") or form["mfaId"]
    info = ask.info(body=(await ask.form()).values, context="totp")
    outcome = await services.own_methods.with_totp(collection, form, info, expand=ask.query.get("expand", ""))
    return answer(outcome, ask)


router = Router(
    "/api/collections/{collection:str}",
    route_handlers=[
        auth_with_totp,
        begin_totp,
        confirm_totp,
        disable_totp,
        replace_recovery_codes,
        reset_totp,
        view_totp,
    ],
)
