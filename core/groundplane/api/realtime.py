"""/api/realtime: the stream of events, and what a stream wants to hear (contract, realtime §1-3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from litestar import Router, post

from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.realtime_channels import list_members, send_message, set_state
from groundplane.errors import REQUIRED, FieldError, Invalid
from groundplane.hooks.events import RealtimeConnect
from groundplane.realtime.clients import Client
from groundplane.services import Services

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

CONNECTION = "groundplane.connection"  # in the scope
FAILED = Invalid.message
MAX_ID_LENGTH = 255
MAX_TOPICS = 1000
MAX_TOPIC_LENGTH = 2500
HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Connection(Protocol):
    """The connection of a request, where the HTTP server lets us at it."""

    def abort(self) -> None:
        """End it at once, whatever is still to be sent."""
        ...

    def write_if_free(self, data: bytes) -> bool:
        """Write without waiting; false, and nothing is written, when there would be something to wait for."""
        ...


async def serve_stream(
    ask: Exchange,
    services: Services,
    headers: Sequence[tuple[bytes, bytes]],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Answer GET /api/realtime: events until the client goes, reads too slowly, or the stream is too old."""
    realtime = services.realtime
    await realtime.admit(RealtimeConnect("sse", ask.ip, ask.headers, ask.query, ask.caller))
    client = await realtime.open(ask.ip, ask.remote_ip, ask.query.get("since", ""))
    connection: Connection | None = scope.get(CONNECTION)  # type: ignore[assignment]  # our own key
    try:
        names = {name for name, _ in HEADERS}
        general = [header for header in headers if header[0] not in names]
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *general]})
        leaving = asyncio.create_task(gone(client, receive))
        try:
            if connection is not None:
                client.write, client.cut = partial(write_chunk, connection), connection.abort
            await send_events(client, send)
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
    finally:
        client.write = client.cut = None
        realtime.clients.close(client)


def write_chunk(connection: Connection, frames: bytes) -> bool:
    """Write a chunk of the body (RFC 9112 §7.1) without waiting; false when it would have to."""
    return connection.write_if_free(b"%x\r\n%b\r\n" % (len(frames), frames))


async def send_events(client: Client, send: Send) -> None:
    while (frames := await client.frames()) is not None:
        await send({"type": "http.response.body", "body": frames, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def gone(client: Client, receive: Receive) -> None:
    """End the stream when its client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
    client.end("its client has gone")


@post("/", status_code=204)
async def set_subscriptions(request: AnyRequest) -> None:
    """Replace everything that a stream wants to hear, and bind it to who asks."""
    ask = exchange(request)
    form = await ask.json_form({"clientId": str, "subscriptions": list}, FAILED)
    client_id, topics = checked(form)
    await services_of(request).streams.subscribe(client_id, ask.ip, ask.caller, topics)


def checked(form: dict[str, Any]) -> tuple[str, list[str]]:
    """The client's id and the topics of a request's body; raises Invalid."""
    client_id: str = form["clientId"]
    given: list[Any] = form["subscriptions"]
    if not all(isinstance(each, str | None) for each in given):
        raise Invalid(FAILED)
    topics = [each or "" for each in given]
    errors: dict[str, Any] = {}
    if not client_id:
        errors["clientId"] = REQUIRED
    elif len(client_id) > MAX_ID_LENGTH:
        errors["clientId"] = too_long(1, MAX_ID_LENGTH)
    if len(topics) > MAX_TOPICS:
        errors["subscriptions"] = too_long(0, MAX_TOPICS)
    else:
        long = {
            str(number): too_long(0, MAX_TOPIC_LENGTH)
            for number, each in enumerate(topics)
            if len(each) > MAX_TOPIC_LENGTH
        }
        if long:
            errors["subscriptions"] = long
    if errors:
        raise Invalid(FAILED, errors)
    return client_id, topics


def too_long(least: int, most: int) -> FieldError:
    if least:
        return FieldError(
            "validation_length_out_of_range",
            f"The length must be between {least} and {most}.",
            {"min": least, "max": most},
        )
    return FieldError(
        "validation_length_too_long", f"The length must be no more than {most}.", {"min": least, "max": most}
    )


router = Router("/api/realtime", route_handlers=[set_subscriptions, send_message, set_state, list_members])
