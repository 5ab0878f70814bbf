"""Sends messages over HTTP to addresses that were looked at first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from groundplane.outgoing.addresses import Reach
from groundplane.outgoing.connections import Connections, NotAllowed, Resolve, reason
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

CONNECT_TIMEOUT_S = 5.0
BODY_TIMEOUT_S = 5.0


class HttpSender:
    """Keeps connections open for a moment, so that many messages to one receiver share one.

    `resolve` gives the addresses of a name instead of the system; a numeric host is looked at without it.
    """

    def __init__(self, reach: Reach, *, resolve: Resolve | None = None) -> None:
        self._connections = Connections(reach, resolve=resolve)

    async def send(self, message: Message) -> Answer:
        import httpcore  # it takes its time, and most processes send nothing

        if not self._connections.reach.allow_http and not message.url.startswith("https://"):
            raise NotSent("The address does not begin with https:// (outgoing.allow_http).")
        request = self._connections.open().stream(
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
        await self._connections.close()


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
