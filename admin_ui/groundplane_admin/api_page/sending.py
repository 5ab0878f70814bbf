"""Send a request to the records of this server as a guest or an account, with the rules applied, and no token."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlencode

import msgspec

from groundplane.api.errors import failure_reply
from groundplane.api.exchange import Exchange
from groundplane.api.records import handle_records
from groundplane.context import Caller
from groundplane.errors import Invalid, NotFound
from groundplane_admin.catalogue import say
from groundplane_admin.records.json_layout import laid_out

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive

    from groundplane_admin.api_page.code import Call
    from groundplane_admin.visits import Visit

MAX_SHOWN = 60_000  # characters of an answer
AGENT = "Groundplane console"


class Answer(NamedTuple):
    """What came back; `took_ms` without the network."""

    status: int
    took_ms: float
    size: int
    text: str
    is_cut: bool
    headers: list[tuple[str, str]]


async def caller_named(visit: Visit, text: str) -> Caller | None:
    """Who `collection/id` or `collection/address` is; None for "", a guest. Raises Invalid for nobody."""
    if not text:
        return None
    services = visit.services
    name, _, key = text.partition("/")
    collection = services.schema.current.get(name)
    if collection is None or not collection.is_auth or not key or "\x00" in key:
        raise Invalid(say("api.nobody", text=text[:100]))
    record = await services.auth.callers.record(collection, key)
    if record is None:
        found = await services.records.find_one(collection, 'r."email" = $1', key)
        record = await services.auth.callers.record(collection, found["id"]) if found is not None else None
    if record is None:
        raise Invalid(say("api.nobody", text=text[:100]))
    return Caller(
        id=record["id"],
        collection_id=collection.id,
        collection_name=collection.name,
        record=record,
        refreshable=False,
    )


async def send(visit: Visit, call: Call, method: str, caller: Caller | None) -> Answer:
    """Carry out a call, for real, as this caller; what fails is an answer, too."""
    body = msgspec.json.encode(call.body) if method in ("POST", "PATCH") else b""
    exchange = exchange_of(visit, call.path, method, urlencode(call.query), body)
    exchange.caller = caller
    began = time.perf_counter()
    try:
        if len(exchange.segments) not in (4, 5) or "" in exchange.segments:
            raise NotFound()
        reply = await handle_records(exchange, visit.services)
    except Exception as error:  # noqa: BLE001  # a client would get an answer to it, too
        reply = failure_reply(error, exchange)
    took = 1000 * (time.perf_counter() - began)
    exchange.close()
    text = reply.body.decode("utf-8", "replace")
    shown = laid_out(text[:MAX_SHOWN]) if len(text) <= MAX_SHOWN else text[:MAX_SHOWN]
    headers = [("Content-Type", reply.content_type), *reply.headers] if text else list(reply.headers)
    return Answer(reply.status, took, len(reply.body), shown, len(text) > MAX_SHOWN, headers)


def exchange_of(visit: Visit, path: str, method: str, query: str, body: bytes) -> Exchange:
    """A request from the superuser's address; none of the browser's own headers is in it."""
    ask = visit.ask
    headers = [(b"user-agent", AGENT.encode()), (b"host", ask.headers.get("host", "").encode("latin-1"))]
    if body:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": query.encode(),
        "headers": headers,
        "client": (ask.remote_ip, 0),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    made = Exchange(cast("HTTPScope", scope), cast("Receive", receive))
    made.ip, made.request_id, made.limits, made.max_body = ask.ip, ask.request_id, ask.limits, ask.max_body
    return made
