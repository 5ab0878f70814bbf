"""Whether the installed uvicorn is made as `http_protocol` expects: it leans on more than uvicorn promises.

A request is put through uvicorn's own protocol, without a network, and what `http_protocol` uses is looked at.
"""

from __future__ import annotations

import inspect
from collections import deque
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

REQUEST = b"POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
BODY = b"{}"
# Methods that we override or call, with their parameters.
METHODS = {
    "connection_lost": ["self", "exc"],
    "connection_made": ["self", "transport"],
    "data_received": ["self", "data"],
    "handle_websocket_upgrade": ["self"],
    "on_headers_complete": ["self"],
    "on_message_complete": ["self"],
    "on_response_complete": ["self"],
    "send_400_response": ["self", "msg"],
    "shutdown": ["self"],
    "_start_asgi_task": ["self", "cycle", "app"],
}


class Wire:
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class Clock:
    """The part of an event loop that an answered request needs."""

    def call_later(self, delay: float, act: Any, *arguments: Any) -> None:
        return None


def otherwise(base: type[Any] = HttpToolsProtocol) -> str:
    """What uvicorn's protocol does otherwise than `http_protocol` expects; "" when all is well."""
    try:
        for name, parameters in METHODS.items():
            if list(inspect.signature(getattr(base, name)).parameters) != parameters:
                return f"{name} has other parameters"
        return wrong_with(base)
    except Exception as error:  # noqa: BLE001  # whatever it is, we cannot lean on it
        return f"{type(error).__name__}: {error}"


def wrong_with(base: type[Any]) -> str:
    started: list[tuple[Any, Any]] = []
    told: list[str] = []

    class Probe(base):  # type: ignore[misc]  # whichever it is
        def on_headers_complete(self) -> None:
            told.append("head")
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            told.append("message")
            super().on_message_complete()

        def on_response_complete(self) -> None:
            told.append("response")
            super().on_response_complete()

        def _start_asgi_task(self, cycle: Any, app: Any) -> None:
            started.append((cycle, app))

    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(application, log_config=None, lifespan="off", ws="none", proxy_headers=False)
    config.load()
    state = ServerState()
    wire = Wire()
    probe: Any = Probe(config=config, server_state=state, app_state={}, _loop=Clock())
    probe.connection_made(wire)
    probe.data_received(REQUEST)
    [(cycle, app)] = started
    scope = cycle.scope
    expected = {
        "a request starts when its head is there": told == ["head"],
        "the application": app is probe.app,
        "the cycle": probe.cycle is cycle,
        "what a scope holds": (scope["method"], scope["raw_path"], scope["query_string"], scope["client"])
        == ("POST", b"/a%20b", b"c=d", ("127.0.0.1", 1)),
        "a scope's headers": scope["headers"] == [(b"host", b"x"), (b"content-length", b"2")],
        "the flow": probe.flow.write_paused is False,
        "the pipeline": probe.pipeline == deque(),
        "the limits": (probe.limit_concurrency, probe.timeout_keep_alive) == (None, 5),
        "the connections": (probe.connections == {probe}, probe.tasks) == (True, set()),
        "the clients": probe.client == ("127.0.0.1", 1),
        "a new cycle": (cycle.more_body, cycle.disconnected, cycle.response_started, cycle.response_complete)
        == (True, False, False, False),
        "a cycle's connection": (cycle.keep_alive, cycle.waiting_for_100_continue) == (True, False),
        "the general headers": (state.default_headers, state.total_requests) == ([], 0),
    }
    probe.flow.pause_reading()
    expected["pausing"] = not wire.is_reading
    probe.flow.resume_reading()
    expected["resuming"] = wire.is_reading
    probe.data_received(BODY)
    expected["a body"] = (bytes(cycle.body), cycle.more_body, told) == (BODY, False, ["head", "message"])
    cycle.response_started = cycle.response_complete = True
    cycle.on_response()
    expected["the end of an answer"] = (told[-1], state.total_requests) == ("response", 1)
    probe.data_received(b"GET / HTTP/1.1\r\n\r\n")
    expected["the next request"] = len(started) == 2 and probe.cycle is started[1][0] is not cycle
    expected["what is written"] = wire.written == []
    return ", ".join(name for name, holds in expected.items() if not holds)
