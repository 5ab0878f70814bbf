"""/api/realtime/channels: what a stream sends to a channel that it is in, and who is there."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from litestar import Response, get, post, put
from litestar.params import FromPath

from groundplane.api.caller import require_superuser
from groundplane.api.exchange import AnyRequest, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.errors import Invalid
from groundplane.realtime.channel_words import Message

T = TypeVar("T")
MAX_BODY = 2 * 1024 * 1024  # bytes: the largest data that a channel may allow, however it is written


class Saying(msgspec.Struct, rename="camel"):
    """A message: `to` one member or to all, `echo` also to who sends it."""

    client_id: str = ""
    event: str = "message"
    data: Any = None
    to: str = ""
    echo: bool = False

    def message(self, channel: str) -> Message:
        data = msgspec.json.encode(self.data).decode()
        return Message(channel=channel, event=self.event, data=data, to=self.to, echo=self.echo)


class Showing(msgspec.Struct, rename="camel"):
    """How a member is seen from now on."""

    state: dict[str, Any]
    client_id: str = ""

    def text(self) -> str:
        return msgspec.json.encode(self.state).decode()


def read(body: bytes, form: type[T]) -> T:
    """Read JSON of a fixed form; raises Invalid."""
    try:
        return msgspec.json.decode(body or b"{}", type=form)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Invalid() from None


@post("/channels/{channel:str}", status_code=204)
async def send_message(request: AnyRequest, channel: FromPath[str]) -> None:
    """Send a message: as a member, or without a stream as a superuser."""
    ask, services = exchange(request), services_of(request)
    ask.max_body = MAX_BODY
    saying = read(await ask.body(), Saying)
    message = saying.message(channel)
    if saying.client_id:
        await services.streams.say(saying.client_id, ask.ip, ask.caller, message)
        return
    require_superuser(ask)
    await services.realtime.channels.broadcast(message)


@put("/channels/{channel:str}/state", status_code=204)
async def set_state(request: AnyRequest, channel: FromPath[str]) -> None:
    """Change how a member is seen."""
    ask = exchange(request)
    ask.max_body = MAX_BODY
    showing = read(await ask.body(), Showing)
    streams = services_of(request).streams
    await streams.set_state(showing.client_id, ask.ip, ask.caller, channel, showing.text())


@get("/channels/{channel:str}")
async def list_members(request: AnyRequest, channel: FromPath[str]) -> Response[bytes]:
    """Who is in a channel, for those who could see each other in it."""
    ask = exchange(request)
    members = await services_of(request).realtime.channels.seen_by(channel, ask.info(context="realtime"))
    answer = {"members": [msgspec.json.decode(member) for member in members]}
    return to_response(json_reply(answer, fields=ask.query.get("fields")))
