"""/api/collections/{collection}/sessions: where one is signed in, and how that ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from litestar import Response, Router, delete, get, post

from groundplane.api.auth import collection_of
from groundplane.api.caller import require_caller, require_same_collection
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.clock import wire_date
from groundplane.context import Caller
from groundplane.errors import Invalid, NotFound
from groundplane.hooks.events_sessions import Session
from groundplane.records.paging import list_request, page_of
from groundplane.schema.collection import Collection
from groundplane.services import Services

CURRENT = "current"
NO_CURRENT = "The request belongs to no session."


class Whose(NamedTuple):
    """Whose sessions a request is about, and who asks."""

    collection: Collection
    record: Mapping[str, Any]
    caller: Caller

    @property
    def is_own(self) -> bool:
        return (self.collection.id, self.record["id"]) == (self.caller.collection_id, self.caller.id)


async def whose(ask: Exchange, services: Services, *, only_own: bool = False) -> Whose:
    """The caller's own, or for superusers those of the record that `?record=` names."""
    name, named = collection_of(ask), "" if only_own else ask.query.get("record", "")
    caller = require_caller(ask)
    if not (named and caller.is_superuser):
        require_same_collection(ask, services.schema.current, name)
    collection = services.auth.collection(name)
    if not named or (collection.id, named) == (caller.collection_id, caller.id):
        return Whose(collection, caller.record, caller)
    if not caller.is_superuser:
        raise NotFound()
    return Whose(collection, await services.auth.record(name, named), caller)


def shown(session: Session, current: str) -> dict[str, Any]:
    return {
        "id": session.id,
        "collectionId": session.collection.id,
        "recordId": session.record_id,
        "method": session.method,
        "ip": session.ip,
        "userAgent": session.agent,
        "current": session.id == current,
        "created": wire_date(session.created),
        "lastUsed": wire_date(session.used),
        "expires": wire_date(session.expires),
    }


@get("/")
async def list_sessions(request: AnyRequest) -> Response[bytes]:
    """List the sessions of oneself, or for a superuser those of any record, the last used first."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services)
    wanted = list_request(ask.query)
    sessions, total = await services.sessions.page(
        about.collection,
        about.record,
        limit=wanted.per_page,
        offset=wanted.offset,
        with_total=not wanted.skip_total,
    )
    current = await services.sessions.current(about.caller) if about.is_own else ""
    page = page_of([shown(each, current) for each in sessions], wanted, total)
    return to_response(json_reply(page, fields=ask.query.get("fields")))


@delete("/{id:str}")
async def end_session(request: AnyRequest) -> None:
    """Sign out one session; `current` is the one of the request."""
    ask, services = exchange(request), services_of(request)
    about, session_id = await whose(ask, services), ask.segments[4]
    if session_id == CURRENT:
        session_id = await services.sessions.settled(about.caller, ask.info()) if about.is_own else ""
        if not session_id:
            raise Invalid(NO_CURRENT)
    await services.sessions.end(about.collection, about.record["id"], session_id, ask.info())


@post("/revoke-others", status_code=200)
async def end_other_sessions(request: AnyRequest) -> Response[bytes]:
    """Sign out everywhere else; the answer is that of a refresh, as the request's token ends too."""
    ask, services = exchange(request), services_of(request)
    collection = collection_of(ask)
    caller = require_same_collection(ask, services.schema.current, collection)
    services.auth.collection(collection)
    outcome = await services.auth.sign_out_others(
        collection, caller, ask.info(), expand=ask.query.get("expand", "")
    )
    body = {"record": outcome.record, "token": outcome.token}
    return to_response(json_reply(body, fields=ask.query.get("fields")))


@post("/revoke-all", status_code=204)
async def end_all_sessions(request: AnyRequest) -> None:
    """Sign out everywhere, here too."""
    ask, services = exchange(request), services_of(request)
    about = await whose(ask, services)
    await services.sessions.end_all(about.collection, about.record["id"], ask.info())


router = Router(
    "/api/collections/{collection:str}/sessions",
    route_handlers=[end_all_sessions, end_other_sessions, end_session, list_sessions],
)
