"""Connections to other servers, made only to addresses that may be reached and kept for a moment."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from groundplane.outgoing.addresses import Reach, is_numeric, permitted

if TYPE_CHECKING:
    import httpcore

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

KEEP_ALIVE_S = 10.0
MAX_CONNECTIONS = 100
RESOLVERS = 8  # look-ups at a time


class NotAllowed(Exception):
    """A name leads to no address that may be reached."""


class Connections:
    """A pool of connections, opened with its first use.

    `resolve` gives the addresses of a name instead of the system; a numeric host is looked at without it.
    """

    def __init__(self, reach: Reach, *, resolve: Resolve | None = None) -> None:
        self.reach = reach
        self._resolve = resolve or self._look_up
        # A look-up cannot be stopped: threads of their own, so that slow names hold up nothing else.
        self._threads = ThreadPoolExecutor(RESOLVERS, "outgoing")
        self._pool: httpcore.AsyncConnectionPool | None = None

    def open(self) -> httpcore.AsyncConnectionPool:
        """The pool, for httpcore's own verbs."""
        if self._pool is None:
            import httpcore  # it takes its time, and most processes send nothing

            from groundplane.outgoing.network import CheckedNetwork

            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=ssl.create_default_context(),
                max_connections=MAX_CONNECTIONS,
                keepalive_expiry=KEEP_ALIVE_S,
                network_backend=CheckedNetwork(self._addresses),
            )
        return self._pool

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str, port: int) -> list[str]:
        """The numeric addresses of a name, as the system knows them; raises OSError."""
        look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        return [str(address[0]) for *_, address in found]

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Where to connect to for a host; raises NotAllowed and OSError."""
        found = [host] if is_numeric(host) else await self._resolve(host, port)
        usable = permitted(found, self.reach)
        if found and not usable:
            raise NotAllowed(
                f"{host} is at a private or local address, which is not allowed (outgoing.allow_networks)."
            )
        return usable


def reason(error: BaseException) -> str:
    """What the system says of a failed connection, without the numbers of errors."""
    cause: Any = error.__cause__ or error.__context__ or error
    with suppress(AttributeError):
        if cause.strerror:
            return str(cause.strerror)
    return (str(error) or type(error).__name__).rstrip(".")
