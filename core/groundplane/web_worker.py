"""One web process: takes its orders and its listening socket from the supervisor and answers requests.

Standard input is a socket to the supervisor: it reads one JSON line from it (config, address of the database),
answers `ready`, and stops when it is told to or when the socket ends: then the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
from functools import partial
from typing import Any, cast

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from groundplane.api.direct import ASKED_KEY
from groundplane.api.direct_creates import BODY_KEY
from groundplane.api.realtime import CONNECTION
from groundplane.api.realtime_socket import MAX_SOCKET_MESSAGE
from groundplane.app import build
from groundplane.config import Config
from groundplane.db.unusable import DatabaseUnusable
from groundplane.log import set_up_logging
from groundplane.parent import follow_parent

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 65_536  # request line and headers
HEAD_TIMEOUT_S = 30.0
YOUNG_OBJECTS = 20_000  # more than were freed, since the garbage collector has looked at them
MAX_JOINED_BYTES = 65_536
MAX_DIRECT_BODY = 65_536  # bytes of a body that may be answered without ASGI
UNUSABLE = 3  # exit code: the database cannot be used, as was said on standard error


class Order(msgspec.Struct):
    """What the supervisor sends."""

    config: Config
    database_url: str


class JoinedWrites:
    """A transport that sends what was written in one turn of the loop together.

    uvicorn writes the head and the body of an answer apart, and each is a call into the operating system.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

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

    An application with a method `directly` is offered each request before it is called as ASGI has it.
    """

    head_bytes = 0
    in_head = False
    head_timer: asyncio.TimerHandle | None = None
    asked: asyncio.Future[Any] | None = None
    # A request whose body has not come with its head yet, while the bytes that have come are read.
    held: RequestResponseCycle | None = None
    is_reading = False
    idle_since = 0.0
    idle_timer: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.directly = getattr(self.app, "directly", None)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # has all of it
        self.begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end_head()
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        if self.asked is not None:
            self.asked.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.in_head:
            self.head_bytes += len(data)
        elif self.cycle is None or self.cycle.response_complete:
            self.in_head, self.head_bytes = True, len(data)
        self.is_reading = True
        try:
            super().data_received(data)
        finally:
            self.is_reading = False
            self.start_held()
        if not self.in_head or self.transport.is_closing():
            return
        if self.head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The request's headers are too long.")
        elif self.head_timer is None:
            # Most heads come whole, and need no clock.
            self.begin_head()

    def on_headers_complete(self) -> None:
        self.end_head()
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
        if self.directly is not None and app is self.app and not self.flow.write_paused:
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
        super()._start_asgi_task(cycle, app)

    def answer(self, cycle: RequestResponseCycle, headers: bytes | None, body: bytes | None) -> None:
        """Write what `directly` has found, or go the way of all others."""
        self.asked = None
        if cycle.disconnected:
            return
        if headers is None or body is None:
            cast("dict[str, object]", cycle.scope)[ASKED_KEY] = True
            super()._start_asgi_task(cycle, self.app)
            return
        ending = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        start = opening(self.server_state.default_headers)
        answer = b"".join((start, headers, ending, body))
        self.transport.write_now(answer)  # type: ignore[attr-defined]  # it is JoinedWrites
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

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
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.idle_since = self.loop.time()
        if self.idle_timer is None:
            self.idle_timer = self.loop.call_later(self.timeout_keep_alive, self.end_idle)

    def end_idle(self) -> None:
        """Close the connection if it has been idle for long enough; else look again when it could have been."""
        self.idle_timer = None
        if self.in_head or (self.cycle is not None and not self.cycle.response_complete):
            return  # the next answer sets the clock again
        left = self.idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.idle_timer = self.loop.call_later(left, self.end_idle)
        else:
            self.transport.close()


def opening(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The first lines of a good answer, with the headers that the server adds to every one."""
    return b"HTTP/1.1 200 OK\r\n" + b"".join([b"%b: %b\r\n" % header for header in headers])


class StreamSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol for WebSockets, with the way to end a connection whose client does not read."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            cast("dict[str, object]", self.scope)[CONNECTION] = self.transport


class Server(uvicorn.Server):
    """uvicorn, telling the supervisor when it is ready and stopping when the supervisor is gone."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        # What was loaded stays; the garbage collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        # A request leaves next to nothing in cycles; looking for them after every few requests is a few percent.
        gc.set_threshold(YOUNG_OBJECTS, 10, 10)
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._on_input, loop)
        os.write(sys.stdin.fileno(), b"ready\n")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Streams first: they would not end by themselves, and their clients go to another worker.
        if (begin := getattr(self.config.app, "begin_shutdown", None)) is not None:
            begin()
        await super().shutdown(sockets)

    def _on_input(self, loop: asyncio.AbstractEventLoop) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            self.should_exit = True


def http_server(application: Any, config: Config) -> Server:
    """The HTTP server of a web process, around any ASGI application."""
    return Server(
        uvicorn.Config(
            application,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http=BoundedProtocol,
            ws=StreamSocket,
            ws_max_size=MAX_SOCKET_MESSAGE,
            ws_per_message_deflate=False,  # memory for each connection, and a way to blow up a small message
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # the gateway knows which proxies to believe
            server_header=False,
            limit_concurrency=config.server.max_connections,
            timeout_keep_alive=int(config.server.keep_alive_s),
            timeout_graceful_shutdown=int(config.server.shutdown_grace_s),
        )
    )


def main(listener: int) -> int:
    """Answer requests on the listening socket with this number until the supervisor says stop."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()  # unbuffered: what follows stays in the pipe
    if not line:
        return 0
    order = msgspec.json.decode(line, type=Order)
    config = order.config
    follow_parent(config.server.shutdown_grace_s + 5)
    set_up_logging(config.log)
    server = http_server(build(config, order.database_url), config)
    try:
        server.run(sockets=[socket.socket(fileno=listener)])
    except DatabaseUnusable as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    return 0 if server.started else UNUSABLE
