"""Asks other servers for something and reads their whole answer, within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urljoin

import msgspec

from groundplane.outgoing.addresses import Reach, split
from groundplane.outgoing.connections import Connections, NotAllowed, Resolve, reason

if TYPE_CHECKING:
    import httpcore

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 15.0
MAX_BYTES = 1024 * 1024  # of an answer, unless the caller says otherwise
MAX_REDIRECTS = 5
MAX_DEPTH = 64  # levels of a JSON answer; what shows it to a client later is recursive
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What must not reach another server than the one it was meant for.
CREDENTIALS = frozenset({"authorization", "cookie", "client-id", "trakt-api-key"})
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Groundplane"}


class NotFetched(Exception):
    """There is no usable answer; a sentence that says why, without secrets."""


class Interrupted(NotFetched):
    """The connection ended before the answer did."""


class Fetched(NamedTuple):
    """An answer: `content_type` in lower case without parameters, `body` whole."""

    status: int
    content_type: str
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON; raises NotFetched."""
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NotFetched("The answer is not JSON.") from None
        if is_deeper_than(value, MAX_DEPTH):
            raise NotFetched("The answer is nested too deeply.")
        return value


class Client:
    """Sends requests to addresses that `reach` permits; `resolve` as in `Connections`."""

    def __init__(self, reach: Reach, *, resolve: Resolve | None = None) -> None:
        self._connections = Connections(reach, resolve=resolve)

    async def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        timeout_s: float = TIMEOUT_S,
    ) -> Fetched:
        """Fetch a resource, following redirects; raises NotFetched.

        A request whose connection ends is sent once more: one that was kept may have been closed meanwhile.
        """
        async with limited(timeout_s):
            sent = dict(headers or {})
            for _ in range(MAX_REDIRECTS + 1):
                try:
                    fetched, location = await self._send("GET", url, sent, b"", max_bytes)
                except Interrupted:
                    fetched, location = await self._send("GET", url, sent, b"", max_bytes)
                if fetched.status not in REDIRECTS or not location:
                    return fetched
                onward = urljoin(url, location)
                sent = carried_on(url, onward, sent)
                url = onward
            raise NotFetched(f"There are more than {MAX_REDIRECTS} redirects.")

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        max_bytes: int = MAX_BYTES,
        timeout_s: float = TIMEOUT_S,
    ) -> Fetched:
        """Send something once; a redirect is an answer like others. Raises NotFetched."""
        async with limited(timeout_s):
            return (await self._send("POST", url, headers, body, max_bytes))[0]

    async def close(self) -> None:
        await self._connections.close()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int
    ) -> tuple[Fetched, str]:
        """One request; the answer, and where it points to."""
        import httpcore

        parts = split(url)
        if parts is None or parts.scheme not in ("http", "https"):
            raise NotFetched("The address is not one of the web.")
        if parts.scheme == "http" and not self._connections.reach.allow_http:
            raise NotFetched("The address does not begin with https:// (outgoing.allow_http).")
        own = [(name.encode(), latin(value)) for name, value in {**HEADERS, **headers}.items()]
        request = self._connections.open().stream(
            method, url, headers=own, content=body, extensions={"timeout": {"connect": CONNECT_TIMEOUT_S}}
        )
        try:
            async with request as response:
                known = {name.lower(): value for name, value in response.headers}
                kind = known.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
                location = known.get(b"location", b"").decode("latin-1")
                return Fetched(response.status, kind, await read(response, max_bytes)), location
        except NotAllowed as error:
            raise NotFetched(str(error)) from None
        except httpcore.TimeoutException:
            raise NotFetched("The other server does not answer.") from None
        except httpcore.ConnectError as error:
            raise NotFetched(f"The other server cannot be reached: {reason(error)}.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise Interrupted(f"The connection failed: {reason(error)}.") from None


async def read(response: httpcore.Response, max_bytes: int) -> bytes:
    """The whole body; raises NotFetched for one that is too large, without reading the rest."""
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > max_bytes:
            raise NotFetched(f"The answer has more than {max_bytes} bytes.")
    return bytes(body)


@asynccontextmanager
async def limited(timeout_s: float) -> AsyncIterator[None]:
    """A bound on the whole of a request, whose end is NotFetched; those of the library are for single reads."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise NotFetched(f"There was no answer within {timeout_s:g} seconds.") from None


def latin(value: str) -> bytes:
    """A header's value; raises NotFetched for one that would end the line, or has other letters."""
    if any(character < " " or character == "\x7f" for character in value) or not value.isascii():
        raise NotFetched("A header's value cannot be sent.")
    return value.encode("ascii")


def carried_on(url: str, onward: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers for the address of a redirect: no credentials for another server, nor without TLS."""
    if origin(split(url)) == origin(split(onward)):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in CREDENTIALS}


def origin(parts: SplitResult | None) -> tuple[str, str | None, int | None]:
    return (parts.scheme, parts.hostname, parts.port) if parts is not None else ("", None, None)


def is_deeper_than(value: Any, levels: int) -> bool:
    """Whether arrays and objects are nested more than `levels` deep; looks level by level, not recursively."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            child
            for each in layer
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not layer:
            return False
    return True
