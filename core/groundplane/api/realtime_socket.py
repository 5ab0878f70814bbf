"""/api/realtime/ws: the stream of events over a WebSocket, on which the client also says what it wants to hear."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.api.caller import token_of
from groundplane.api.cors import Cors
from groundplane.api.errors import failure_reply
from groundplane.api.exchange import Exchange
from groundplane.api.realtime import CONNECTION, FAILED, Connection, checked
from groundplane.api.realtime_channels import Saying, Showing, read
from groundplane.context import Caller
from groundplane.errors import Forbidden, Invalid
from groundplane.hooks.events import ActorRequest, RealtimeConnect
from groundplane.realtime.clients import Client, SocketClient
from groundplane.security.addresses import covers
from groundplane.services import Services

if TYPE_CHECKING:
    from litestar.types import Receive, Send

SOCKET = ("api", "realtime", "ws")
MAX_SOCKET_MESSAGE = 3 * 1024 * 1024  # bytes: the most topics, each as long as it may be, fit
SUBSCRIBED, SENT, SHOWN, ERROR = "@subscribed", "@sent", "@shown", "@error"
GOING_AWAY = 1001  # RFC 6455 §7.4.1


class InChannel(msgspec.Struct):
    """The channel that a message or a state is for; the rest of it stands beside."""

    channel: str


class Wish(msgspec.Struct):
    """What a client sends: one of these; a token is needed only if the request that opened the socket had none."""

    subscriptions: list[str | None] | None = None
    send: msgspec.Raw = msgspec.Raw()
    show: msgspec.Raw = msgspec.Raw()
    token: str = ""


def check_origin(ask: Exchange, cors: Cors) -> None:
    """Refuse the pages of other sites: a browser opens WebSockets to anywhere and asks nobody.

    Programs that are no browsers send no Origin.
    """
    origin = ask.headers.get("origin", "")
    own = origin.partition("://")[2] == ask.headers.get("host", "")
    if origin and not own and cors.allowed(origin) is None:
        raise Forbidden()


async def open_socket(ask: Exchange, services: Services) -> Client:
    """Make the stream that a WebSocket will carry; raises what refuses it."""
    realtime = services.realtime
    await realtime.admit(RealtimeConnect("websocket", ask.ip, ask.headers, ask.query, ask.caller))
    return await realtime.open(ask.ip, ask.remote_ip, ask.query.get("since", ""), kind=SocketClient)


async def refuse_socket(send: Any, message: Any) -> None:
    """Send a part of an ordinary answer instead of accepting the WebSocket."""
    await send({**message, "type": f"websocket.{message['type']}"})


async def serve_socket(
    client: Client,
    ask: Exchange,
    services: Services,
    headers: Sequence[tuple[bytes, bytes]],
    scope: dict[str, Any],
    receive: Receive,
    send: Send,
) -> None:
    """Accept the WebSocket: events out and wishes in, until one of both ends it or the stream is too old."""
    connection: Connection | None = scope.get(CONNECTION)
    try:
        await send({"type": "websocket.accept", "subprotocol": None, "headers": list(headers)})
        if connection is not None:
            client.cut = connection.abort
        taking = asyncio.create_task(take_wishes(client, ask, services, receive))
        try:
            await send_messages(client, send)
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
    finally:
        client.cut = None
        services.realtime.clients.close(client)


async def send_messages(client: Client, send: Send) -> None:
    while (messages := await client.next()) is not None:
        for message in messages:
            await send({"type": "websocket.send", "bytes": None, "text": message.decode()})
    await send({"type": "websocket.close", "code": GOING_AWAY, "reason": client.ended})


async def take_wishes(client: Client, ask: Exchange, services: Services, receive: Receive) -> None:
    """Do what the client says, one thing after another, and answer each; end the stream when it has gone."""
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] != "websocket.receive":
            continue
        try:
            client.put(await do(client, ask, services, message.get("text") or ""), b"{}")
        except Exception as error:  # noqa: BLE001  # an answer, whatever it is
            client.put(ERROR, failure_reply(error, ask).body.rstrip(b"\n"))
    client.end("its client has gone")


async def do(client: Client, ask: Exchange, services: Services, text: str) -> str:
    """Do what a message says, with the limits of the request that says it over HTTP; returns the answer's event."""
    try:
        wish = msgspec.json.decode(text, type=Wish)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Invalid(FAILED) from None
    if wish.subscriptions is not None:
        await subscribe(client, ask, services, wish)
        return SUBSCRIBED
    sending, showing = bytes(wish.send), bytes(wish.show)
    part = sending or showing
    if not part:
        raise Invalid(FAILED)
    name = read(part, InChannel).channel
    ask.path = f"/api/realtime/channels/{name}"
    if sending:
        saying = read(part, Saying)
        ask.method = "POST"
        await ask.limits.check_path(ask)
        await services.realtime.channels.say(client, saying.message(name))
        return SENT
    shown = read(part, Showing)
    ask.method, ask.path = "PUT", ask.path + "/state"
    await ask.limits.check_path(ask)
    await services.realtime.channels.set_state(client, name, shown.text())
    return SHOWN


async def subscribe(client: Client, ask: Exchange, services: Services, wish: Wish) -> None:
    """Replace everything that the stream wants to hear, as `POST /api/realtime` does, with its limits."""
    _, topics = checked({"clientId": client.id, "subscriptions": wish.subscriptions})
    ask.caller = await caller_of(wish.token, ask, services)
    superuser_ips = services.settings.current.superuser_ips
    if superuser_ips and is_superuser(ask.caller) and not covers(superuser_ips, ask.ip):
        raise Forbidden()
    # Counted as what it is over HTTP.
    ask.method, ask.path = "POST", "/api/realtime"
    await ask.limits.check_path(ask)
    await services.streams.subscribe(client.id, ask.ip, ask.caller, topics)


async def caller_of(token: str, ask: Exchange, services: Services) -> Caller | None:
    """Who asks: by this token, by that of the request that opened the socket, or by the word of a plugin."""
    token = token or token_of(ask.headers.get("authorization", ""))
    caller = await services.auth.callers.caller(token) if token else None
    if caller is None and services.plugins.hooks.resolve_actor:
        asked = ActorRequest("POST", "/api/realtime", ask.headers, ask.ip)
        return await services.actors.resolve(asked)
    return caller


def is_superuser(caller: Caller | None) -> bool:
    return caller is not None and caller.is_superuser
