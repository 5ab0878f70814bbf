"""/api/service-keys: keys of programs, for superusers."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, delete, get, post
from litestar.params import FromPath

from groundplane.api.caller import require_superuser
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.auth.scopes import Access, Key, names_of
from groundplane.clock import now, wire_date
from groundplane.services import Services

ROTATION: dict[str, type] = {"grace": int}


def superuser_exchange(request: AnyRequest) -> Exchange:
    ask = exchange(request)
    require_superuser(ask)
    return ask


def shown(key: Key, services: Services) -> dict[str, Any]:
    """A key as the API shows it: never the key itself, nor its hash."""
    names = {collection.id: collection.name for collection in services.schema.current}
    moment = now()
    goes_on = key.previous_until is not None and key.previous_until > moment
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "access": key.access.value,
        "record": {"collection": names.get(key.collection, key.collection), "id": key.record}
        if key.access is Access.RULES
        else None,
        "scopes": [
            {"collections": names_of(scope, names), "actions": list(scope.actions)} for scope in key.scopes
        ],
        "valid": key.is_valid(moment),
        "expires": wire_date(key.expires),
        "previousUntil": wire_date(key.previous_until) if goes_on else "",
        "lastUsed": wire_date(key.used),
        "created": wire_date(key.created),
        "updated": wire_date(key.updated),
    }


def answer(value: Any, ask: Exchange) -> Response[bytes]:
    return to_response(json_reply(value, fields=ask.query.get("fields")))


@get("/")
async def list_keys(request: AnyRequest) -> Response[bytes]:
    """List every key, newest first."""
    ask, services = superuser_exchange(request), services_of(request)
    return answer([shown(key, services) for key in await services.keys.all()], ask)


@post("/", status_code=200)
async def create_key(request: AnyRequest) -> Response[bytes]:
    """Make a key; the only answer but that of a rotation that shows it."""
    ask, services = superuser_exchange(request), services_of(request)
    key, text = await services.keys.create((await ask.form()).values)
    return answer(shown(key, services) | {"key": text}, ask)


@get("/{id:str}")
async def view_key(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Show a key."""
    ask, services = superuser_exchange(request), services_of(request)
    return answer(shown(await services.keys.view(id), services), ask)


@post("/{id:str}/rotate", status_code=200)
async def rotate_key(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Replace the key by another with the same rights; the old one goes on for `grace` seconds."""
    ask, services = superuser_exchange(request), services_of(request)
    form = await ask.json_form(ROTATION)
    key, text = await services.keys.rotate(id, form["grace"])
    return answer(shown(key, services) | {"key": text}, ask)


@delete("/{id:str}")
async def revoke_key(request: AnyRequest, id: FromPath[str]) -> None:
    """Revoke a key, at once and everywhere."""
    superuser_exchange(request)
    await services_of(request).keys.revoke(id)


router = Router("/api/service-keys", route_handlers=[create_key, list_keys, revoke_key, rotate_key, view_key])
