"""Talks to clamd, the daemon of ClamAV, over TCP or a Unix socket (clamd(8), "Commands")."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

CHUNK = struct.Struct(">I")  # the length in front of each piece
MAX_ANSWER_BYTES = 4096
PIECE_BYTES = 256 * 1024
FOUND, FINE, SIZE_LIMIT = " FOUND", "stream: OK", "size limit exceeded"


class NotScanned(Exception):
    """Nobody knows what is in the content; the message is for logs. `may_help` says to try again."""

    def __init__(self, message: str, *, may_help: bool = False) -> None:
        super().__init__(message)
        self.may_help = may_help


class TooLarge(Exception):
    """The content is larger than clamd takes."""


class Clamd:
    """One connection per question; `address` is `tcp://host:port` or `unix:///path`. Raises ValueError for others."""

    def __init__(self, address: str, *, connect_timeout_s: float, scan_timeout_s: float) -> None:
        parts = urlsplit(address)
        self.address = address
        self._path = parts.path if parts.scheme == "unix" else ""
        self._host, self._port = parts.hostname or "", parts.port or 0
        if not (self._path or (parts.scheme == "tcp" and self._host and self._port)):
            raise ValueError(
                f"{address!r} is no address: write tcp://host:port or unix:///path/of/the/socket"
            )
        self._connect_timeout_s = connect_timeout_s
        self._scan_timeout_s = scan_timeout_s

    async def scan(self, chunks: AsyncIterator[bytes]) -> str:
        """Have content looked at; returns the name of what was found, "" when it is clean.

        Raises NotScanned, TooLarge, and what `chunks` raises.
        """
        answer = await self._asked(b"zINSTREAM\0", chunks, self._scan_timeout_s)
        if answer.endswith(FOUND):
            return answer.removesuffix(FOUND).removeprefix("stream: ") or "unnamed"
        if answer == FINE:
            return ""
        if SIZE_LIMIT in answer:
            raise TooLarge
        raise NotScanned(f"clamd said {answer[:200]!r}")

    async def version(self) -> str:
        """What clamd says of itself, as `ClamAV 1.4.6/27400/Sun Nov 22 09:30:00 2026`; raises NotScanned."""
        return await self._asked(b"zVERSION\0", None, self._connect_timeout_s)

    async def _asked(self, command: bytes, chunks: AsyncIterator[bytes] | None, limit_s: float) -> str:
        reader, writer = await self._connected()
        timeout = asyncio.timeout(limit_s)
        try:
            async with timeout:
                try:
                    writer.write(command)
                    if chunks is not None:
                        await send(writer, chunks)
                except ConnectionError:
                    pass  # it has heard enough, and says why
                answer = await reader.readuntil(b"\0")
        except TimeoutError:
            if not timeout.expired():
                raise
            raise NotScanned(f"clamd took longer than {limit_s:g} s") from None
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            raise NotScanned(f"clamd hung up: {type(error).__name__}", may_help=True) from error
        finally:
            writer.transport.abort()
        return answer[:-1].decode("utf-8", "replace").strip()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if self._path:
                    return await asyncio.open_unix_connection(self._path, limit=MAX_ANSWER_BYTES)
                return await asyncio.open_connection(self._host, self._port, limit=MAX_ANSWER_BYTES)
        except (OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise NotScanned(f"clamd at {self.address} does not answer: {reason}", may_help=True) from error


async def send(writer: asyncio.StreamWriter, chunks: AsyncIterator[bytes]) -> None:
    """Write content as clamd wants it: pieces with their lengths, and an empty one at the end."""
    async for chunk in chunks:
        for start in range(0, len(chunk), PIECE_BYTES):
            piece = chunk[start : start + PIECE_BYTES]
            writer.write(CHUNK.pack(len(piece)) + piece)
            await writer.drain()
    writer.write(CHUNK.pack(0))
    await writer.drain()


async def scanned(
    clamd: Clamd, content: Callable[[], AsyncIterator[bytes]], *, attempts: int, wait_s: float
) -> str:
    """`Clamd.scan`, tried again where that may help, after `wait_s` and then twice as long each time."""
    for attempt in range(1, attempts + 1):
        try:
            return await clamd.scan(content())
        except NotScanned as problem:
            if not problem.may_help or attempt >= attempts:
                raise
        await asyncio.sleep(wait_s * 2 ** (attempt - 1))
    raise NotScanned("it was never tried")
