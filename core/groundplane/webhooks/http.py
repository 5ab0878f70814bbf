"""Sends messages over HTTP to addresses that were looked at first."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from groundplane.webhooks.addresses import Reach, is_numeric, permitted
from groundplane.webhooks.sender import (
    MAX_ANSWER_BYTES,
    MAX_HEADER_CHARS,
    MAX_HEADERS,
    Answer,
    Message,
    NotSent,
)

if TYPE_CHECKING:
    import httpcore

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

CONNECT_TIMEOUT_S = 5.0
BODY_TIMEOUT_S = 5.0
KEEP_ALIVE_S = 10.0
MAX_CONNECTIONS = 100
RESOLVERS = 8  # look-ups at a time


class NotAllowed(Exception):
    """A name leads to no address that may be reached."""


class HttpSender:
    """Keeps connections open for a moment, so that many messages to one receiver share one.

    `resolve` gives the addresses of a name instead of the system; a numeric host is looked at without it.
    """

    def __init__(self, reach: Reach, *, resolve: Resolve | None = None) -> None:
        self._reach = reach
        self._resolve = resolve or self._look_up
        # A look-up cannot be stopped: threads of their own, so that slow names hold up nothing else.
        self._threads = ThreadPoolExecutor(RESOLVERS, "webhooks")
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def send(self, message: Message) -> Answer:
        import httpcore  # it takes its time, and most processes send nothing

        if not self._reach.allow_http and not message.url.startswith("https://"):
            raise NotSent("The address does not begin with https:// (outgoing.allow_http).")
        pool = self._open()
        request = pool.stream(
            "POST",
            message.url,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in message.headers],
            content=message.body,
            extensions={"timeout": {"connect": min(CONNECT_TIMEOUT_S, message.timeout_s)}},
        )
        try:
            # The only bound on the whole: those of the library are for single reads and writes.
            async with asyncio.timeout(message.timeout_s) as limit, request as response:
                text = await excerpt(response, limit)
                return Answer(status=response.status, headers=kept(response.headers), text=text)
        except NotAllowed as error:
            raise NotSent(str(error)) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise NotSent(f"There was no answer within {message.timeout_s:g} seconds.") from None
        except httpcore.ConnectError as error:
            raise NotSent(f"The receiver cannot be reached: {reason(error)}.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise NotSent(f"The connection failed: {reason(error)}.") from None

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _open(self) -> httpcore.AsyncConnectionPool:
        if self._pool is None:
            import httpcore

            from groundplane.webhooks.network import CheckedNetwork

            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=ssl.create_default_context(),
                max_connections=MAX_CONNECTIONS,
                keepalive_expiry=KEEP_ALIVE_S,
                network_backend=CheckedNetwork(self._addresses),
            )
        return self._pool

    async def _look_up(self, host: str, port: int) -> list[str]:
        """The numeric addresses of a name, as the system knows them; raises OSError."""
        look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        return [str(address[0]) for *_, address in found]

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Where to connect to for a host; raises NotAllowed and OSError."""
        found = [host] if is_numeric(host) else await self._resolve(host, port)
        usable = permitted(found, self._reach)
        if found and not usable:
            raise NotAllowed(
                f"{host} is at a private or local address, which is not allowed (outgoing.allow_networks)."
            )
        return usable


async def excerpt(response: httpcore.Response, limit: asyncio.Timeout) -> str:
    """The beginning of an answer's body; what does not come in time is left out."""
    import httpcore

    body = b""
    now = asyncio.get_running_loop().time()
    # Before the limit of the whole: a receiver that has answered is not failed for a body that never ends.
    until = min(limit.when() or now + BODY_TIMEOUT_S, now + BODY_TIMEOUT_S) - 0.05
    with suppress(TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout_at(until):
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) >= MAX_ANSWER_BYTES:
                    break
    return body[:MAX_ANSWER_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")


def kept(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The headers of an answer, as far as they are worth keeping."""
    shown = [
        (name.decode("latin-1")[:MAX_HEADER_CHARS], value.decode("latin-1")[:MAX_HEADER_CHARS])
        for name, value in headers
    ]
    return [(name, value.replace("\x00", "")) for name, value in shown[:MAX_HEADERS]]


def reason(error: BaseException) -> str:
    """What the system says, without the numbers of errors."""
    cause: Any = error.__cause__ or error.__context__ or error
    with suppress(AttributeError):
        if cause.strerror:
            return str(cause.strerror)
    return (str(error) or type(error).__name__).rstrip(".")
