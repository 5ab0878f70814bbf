"""How a web process speaks HTTP: uvicorn's protocol, with limits that it lacks and a shorter way to plain answers.

It leans on how uvicorn's protocol is made inside: `missing` says where an installed uvicorn is made otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from groundplane.api.direct import ASKED_KEY
from groundplane.api.direct_creates import BODY_KEY
from groundplane.api.gateway import DEPARTURE_KEY
from groundplane.api.realtime import CONNECTION
from groundplane.db.lanes import Departure
from groundplane.sent_file import sent_file

if TYPE_CHECKING:
    from groundplane.api.direct import Asked

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 65_536  # request line and headers
HEAD_TIMEOUT_S = 30.0
MAX_JOINED_BYTES = 65_536
MAX_DIRECT_BODY = 65_536  # bytes of a body that may be answered without ASGI
MAX_BEHIND = 65_536  # bytes that wait behind a request without their client being slowed down


class JoinedWrites:
    """A transport that sends what was written in one turn of the loop together.

    uvicorn writes the head and the body of an answer apart, and each is a call into the operating system.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0
        self.cycle: RequestResponseCycle | None = None  # the request that is being answered

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size >= MAX_JOINED_BYTES:
            # The transport, not this, is where a slow client makes itself felt.
            self._flush()

    def write_now(self, data: bytes) -> None:
        """Write a whole answer, after what is still waiting."""
        self._flush()
        self._transport.write(data)

    async def send_file(self, file: int, start: int, length: int) -> None:
        """Send a part of an open file, after what was written."""
        cycle = self.cycle
        if cycle is None or cycle.disconnected:
            return
        self._flush()
        try:
            await sent_file(self._transport, file, start, length)
        except OSError as error:
            log.debug("A file was not sent to its end: %s", error)
            # The connection is being closed; who goes on to write then is not listened to.
            while not cycle.disconnected:  # noqa: ASYNC110  # it is in the next turn of the loop
                await asyncio.sleep(0)
        cycle.expected_content_length -= length

    def write_if_free(self, data: bytes) -> bool:
        """Write at once if nothing waits to be sent; false when something does, or the connection is closing."""
        transport = self._transport
        if self._parts or transport.get_write_buffer_size() or transport.is_closing():
            return False
        transport.write(data)
        return True

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with two limits that it lacks: how long a request's head may be, and how slow.

    An application with a method `directly` is offered each request before it is called as ASGI has it. One with
    `again` and `remember` is even offered requests that nobody has read yet, where it knows their headers.
    """

    head_bytes = 0
    in_head = False
    heads = 0  # that were read whole in the bytes that have come last
    head_timer: asyncio.TimerHandle | None = None
    asked: Asked | None = None
    # A request that is answered unread, the bytes that it came in, those that have come since, and whether the
    # connection ends with its answer.
    short: Asked | None = None
    unread = b""
    behind = b""
    is_ending = False
    was_asked = False
    # A request whose body has not come with its head yet, while the bytes that have come are read.
    held: RequestResponseCycle | None = None
    is_reading = False
    most_connections: int | None = None
    idle_since = 0.0
    idle_timer: asyncio.TimerHandle | None = None
    opened: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.directly = getattr(self.app, "directly", None)
        self.again = getattr(self.app, "again", None)

    @property
    def limit_concurrency(self) -> int | None:
        """Connections beyond which requests are answered 503; streams have a limit of their own."""
        most = self.most_connections
        return None if most is None else most + getattr(self.app, "open_streams", 0)

    @limit_concurrency.setter
    def limit_concurrency(self, most: int | None) -> None:
        # uvicorn's protocol sets it from its configuration.
        self.most_connections = most

    def connection_made(self, transport: Any) -> None:
        self.bare = transport
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # has all of it
        self.address = self.client[0] if self.client else ""
        self.begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end_head()
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        for asked in (self.asked, self.short):
            if asked is not None:
                asked.cancel()
        super().connection_lost(exc)
        cycle = cast("JoinedWrites", self.transport).cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            departure = cast("dict[str, Departure]", cycle.scope).get(DEPARTURE_KEY)
            if departure is not None:
                departure.leave()

    def data_received(self, data: bytes) -> None:
        if self.short is not None:
            self.behind += data
            if len(self.behind) > MAX_BEHIND:
                self.flow.pause_reading()
            return
        cycle = self.cycle
        # Nothing of a request has come before, and nothing of the last one's body is to come any more.
        is_new = (cycle is None or (cycle.response_complete and not cycle.more_body)) and (
            not self.in_head or not self.head_bytes
        )
        if is_new and self.again is not None and not self.flow.write_paused and self.has_room():
            try:
                self.short = self.again(data, self.address, self.answer_unread)
            except Exception:
                log.exception("A request was not understood unread")
            if self.short is not None:
                self.unread = data
                if self.in_head:
                    self.end_head()
                return
        self.read(data, is_new=is_new)

    def read(self, data: bytes, *, is_new: bool) -> None:
        """Have bytes read as HTTP."""
        if self.in_head:
            self.head_bytes += len(data)
        elif self.cycle is None or self.cycle.response_complete:
            self.in_head, self.head_bytes = True, len(data)
        self.is_reading, self.heads = True, 0
        try:
            super().data_received(data)
        finally:
            self.is_reading = False
            self.start_held()
        if is_new and self.heads == 1 and self.asked is not None and self.again is not None:
            cycle = self.cycle
            if cycle.keep_alive and not cycle.more_body and data.find(b"\r\n\r\n") == len(data) - 4:
                self.app.remember(data, cycle.scope)
        if not self.in_head or self.transport.is_closing():
            return
        if self.head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The request's headers are too long.")
        elif self.head_timer is None:
            # Most heads come whole, and need no clock.
            self.begin_head()

    def has_room(self) -> bool:
        """Whether uvicorn would take a request on."""
        limit = self.limit_concurrency
        return limit is None or (len(self.connections) < limit and len(self.tasks) < limit)

    def on_headers_complete(self) -> None:
        self.end_head()
        self.heads += 1
        super().on_headers_complete()
        # For streams: what they send goes past ASGI, and one whose client does not read is cut off.
        cast("dict[str, object]", self.scope)[CONNECTION] = self.transport

    def handle_websocket_upgrade(self) -> None:
        if self.idle_timer is not None:
            # The connection is no longer ours, and is not idle while nobody says anything.
            self.idle_timer.cancel()
        super().handle_websocket_upgrade()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.start_held()

    def start_held(self) -> None:
        held, self.held = self.held, None
        if held is not None:
            self._start_asgi_task(held, self.app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cast("JoinedWrites", self.transport).cycle = cycle
        if self.was_asked:
            self.was_asked = False
            cast("dict[str, object]", cycle.scope)[ASKED_KEY] = True
        elif self.directly is not None and app is self.app and not self.flow.write_paused:
            if cycle.scope["method"] == "POST":
                if cycle.more_body and self.is_reading and not cycle.waiting_for_100_continue:
                    # Small bodies mostly come with the head.
                    self.held = cycle
                    return
                if not cycle.more_body and len(cycle.body) <= MAX_DIRECT_BODY:
                    cast("dict[str, object]", cycle.scope)[BODY_KEY] = bytes(cycle.body)
            try:
                self.asked = self.directly(cycle.scope, partial(self.answer, cycle))
            except Exception:
                log.exception("A request was not understood directly")
            if self.asked is not None:
                return
        self.call(cycle, app)

    def call(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Have the application answer in a task."""
        cast("dict[str, object]", cycle.scope)[DEPARTURE_KEY] = Departure()
        super()._start_asgi_task(cycle, app)

    def answer(self, cycle: RequestResponseCycle, headers: bytes | None, body: bytes | None) -> None:
        """Write what `directly` has found, or go the way of all others."""
        self.asked = None
        if cycle.disconnected:
            return
        if headers is None or body is None:
            cast("dict[str, object]", cycle.scope)[ASKED_KEY] = True
            self.call(cycle, self.app)
            return
        self.write_answer(headers, body, keep_alive=cycle.keep_alive)
        cycle.response_started = cycle.response_complete = True
        cycle.on_response()

    def answer_unread(self, headers: bytes | None, body: bytes | None) -> None:
        """Write what `again` has found, or read the request after all."""
        self.short = None
        if self.bare.is_closing():
            return
        if headers is None or body is None:
            self.was_asked = True
            self.read(self.unread, is_new=False)
            self.was_asked = False
            if self.is_ending:
                self.shutdown()
        else:
            self.write_answer(headers, body, keep_alive=not self.is_ending)
            self.server_state.total_requests += 1
            self.begin_idle()
        if self.behind and not self.bare.is_closing():
            behind, self.behind = self.behind, b""
            self.flow.resume_reading()
            self.data_received(behind)

    def write_answer(self, headers: bytes, body: bytes, *, keep_alive: bool) -> None:
        general = self.server_state.default_headers
        if self.opened[0] is not general:
            # They change once a second.
            BoundedProtocol.opened = general, opening(general)
        ending = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
        answer = b"".join((self.opened[1], headers, ending, body))
        self.transport.write_now(answer)  # type: ignore[attr-defined]  # it is JoinedWrites
        if not keep_alive:
            self.transport.close()

    def begin_head(self) -> None:
        self.in_head = True
        self.head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def end_head(self) -> None:
        self.in_head = False
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def on_response_complete(self) -> None:
        # As uvicorn's, with one clock for a connection instead of one for each of its requests.
        self.server_state.total_requests += 1
        if self.bare.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.begin_idle()

    def begin_idle(self) -> None:
        self.idle_since = self.loop.time()
        if self.idle_timer is None:
            self.idle_timer = self.loop.call_later(self.timeout_keep_alive, self.end_idle)

    def end_idle(self) -> None:
        """Close the connection if it has been idle for long enough; else look again when it could have been."""
        self.idle_timer = None
        is_busy = self.short is not None or (self.cycle is not None and not self.cycle.response_complete)
        if self.in_head or is_busy:
            return  # the next answer sets the clock again
        left = self.idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.idle_timer = self.loop.call_later(left, self.end_idle)
        else:
            self.transport.close()

    def shutdown(self) -> None:
        if self.short is not None:
            self.is_ending = True
        else:
            super().shutdown()


def opening(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The first lines of a good answer, with the headers that the server adds to every one."""
    return b"HTTP/1.1 200 OK\r\n" + b"".join([b"%b: %b\r\n" % header for header in headers])


class StreamSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol for WebSockets, with the way to end a connection whose client does not read."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            cast("dict[str, object]", self.scope)[CONNECTION] = self.transport
