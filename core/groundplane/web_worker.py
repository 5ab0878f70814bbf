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
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from groundplane.api.realtime_socket import MAX_SOCKET_MESSAGE
from groundplane.app import build
from groundplane.config import Config
from groundplane.config_sources import Origin, remember
from groundplane.db.unusable import DatabaseUnusable
from groundplane.http_protocol import BoundedProtocol, StreamSocket
from groundplane.log import set_up_logging
from groundplane.parent import follow_parent
from groundplane.protocol_check import otherwise

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

YOUNG_OBJECTS = 20_000  # more than were freed, since the garbage collector has looked at them
OTHER_FILES = 1000  # beside connections of clients
UNUSABLE = 3  # exit code: the database cannot be used, as was said on standard error


class Order(msgspec.Struct):
    """What the supervisor sends."""

    config: Config
    database_url: str
    origin: Origin = Origin()


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


def http_protocol() -> type[asyncio.Protocol]:
    """Our protocol, or uvicorn's own where that is made otherwise than ours expects: slower, and without our limits."""
    if difference := otherwise():
        log.warning(
            "uvicorn %s is not made as expected (%s): requests are answered in a slower way, and slow or long heads "
            "are not cut off. Install a version that `pip install groundplane` asks for.",
            uvicorn.__version__,
            difference,
        )
        return HttpToolsProtocol
    return BoundedProtocol


def http_server(application: Any, config: Config) -> Server:
    """The HTTP server of a web process, around any ASGI application."""
    return Server(
        uvicorn.Config(
            application,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http=http_protocol(),
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


def allow_open_files(config: Config) -> None:
    """Let the process have as many connections as it is configured for, where the system's limit is lower."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.server.max_connections + config.realtime.max_clients + OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning("Only %d files may be open: raise the limit (ulimit -n) or lower max_clients", most)


def main(listener: int) -> int:
    """Answer requests on the listening socket with this number until the supervisor says stop."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()  # unbuffered: what follows stays in the pipe
    if not line:
        return 0
    order = msgspec.json.decode(line, type=Order)
    config = order.config
    remember(order.origin)
    follow_parent(config.server.shutdown_grace_s + 5)
    set_up_logging(config.log)
    allow_open_files(config)
    server = http_server(build(config, order.database_url), config)
    try:
        server.run(sockets=[socket.socket(fileno=listener)])
    except DatabaseUnusable as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    return 0 if server.started else UNUSABLE
