"""The least that Groundplane's HTTP server can do: the unit in which the other cases are measured."""

from __future__ import annotations

import os
import sys
from typing import Any

from groundplane.config import Config, ServerConfig
from groundplane.supervisor import listen
from groundplane.web_worker import http_server


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer everything with 200 and no body."""
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def main(port: int, workers: int) -> None:
    """Serve with `workers` processes, each on a socket of its own, until standard input ends."""
    config = Config(server=ServerConfig(port=port, workers=workers))
    listeners = listen(config)
    for listener in listeners[1:]:
        if os.fork() == 0:
            http_server(app, config).run(sockets=[listener])
            os._exit(0)
    http_server(app, config).run(sockets=[listeners[0]])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
