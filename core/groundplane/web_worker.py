"""One web process: takes its orders and its listening socket from the supervisor and answers requests.

It reads one JSON line from standard input (config, address of the database, number of the socket), writes
`ready` to standard output, and stops when it is told to or when standard input ends: then the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from groundplane.app import build
from groundplane.config import Config
from groundplane.db.engine import DatabaseUnusable
from groundplane.log import set_up_logging
from groundplane.parent import follow_parent

MAX_HEAD_BYTES = 65_536  # request line and headers
HEAD_TIMEOUT_S = 30.0
MAX_JOINED_BYTES = 65_536
UNUSABLE = 3  # exit code: the database cannot be used, as was said on standard error


class Order(msgspec.Struct):
    """What the supervisor sends."""

    config: Config
    database_url: str
    socket: int


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
    """uvicorn's protocol with two limits that it lacks: how long a request's head may be, and how slow."""

    head_bytes = 0
    in_head = False
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # has all of it
        self.begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.in_head:
            self.head_bytes += len(data)
        elif self.cycle is None or self.cycle.response_complete:
            self.begin_head()
            self.head_bytes = len(data)
        super().data_received(data)
        if self.in_head and self.head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's headers are too long.")

    def on_headers_complete(self) -> None:
        self.end_head()
        super().on_headers_complete()

    def begin_head(self) -> None:
        self.end_head()
        self.in_head, self.head_bytes = True, 0
        self.head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def end_head(self) -> None:
        self.in_head = False
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


class Server(uvicorn.Server):
    """uvicorn, telling the supervisor when it is ready and stopping when the supervisor is gone."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        # What was loaded stays; the garbage collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._on_input, loop)
        os.write(sys.stdout.fileno(), b"ready\n")

    def _on_input(self, loop: asyncio.AbstractEventLoop) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            self.should_exit = True


def main() -> int:
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()  # unbuffered: what follows stays in the pipe
    if not line:
        return 0
    order = msgspec.json.decode(line, type=Order)
    config = order.config
    follow_parent(config.server.shutdown_grace_s + 5)
    set_up_logging(config.log)
    application = build(config, order.database_url)
    server = Server(
        uvicorn.Config(
            application,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http=BoundedProtocol,
            ws="none",
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
    try:
        server.run(sockets=[socket.socket(fileno=order.socket)])
    except DatabaseUnusable as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    return 0 if server.started else UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
