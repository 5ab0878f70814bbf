"""One request's bytes on their way into an upload: written, made safe from time to time, and noted."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, TypeAlias

from groundplane.db.engine import uninterrupted
from groundplane.errors import TooLarge
from groundplane.files.staging import Writer
from groundplane.files.uploads_refused import Locked, WrongChecksum

BEAT_S = 1.0  # how often who writes notes what is safe, and says that it is still there
SILENCE_S = 3.0  # after it, somebody else who wants to write may
FLUSH_BYTES = 8 * 1024 * 1024

Note: TypeAlias = Callable[[int, int, Sequence[str]], Awaitable[bool]]
"""Moves the offset from one place to another, with the segments that there are then, and keeps the upload ours.

Returns whether somebody else wants to write; raises Locked when somebody else does.
"""


class Checksum(NamedTuple):
    """What the bytes of one request must come to; `algorithm` by hashlib's name."""

    algorithm: str
    digest: bytes


class Appending:
    """`noted` bytes of `length` are safe, and others know of them; `segments` is where they are."""

    def __init__(
        self, writer: Writer, note: Note, *, noted: int, length: int, segments: Sequence[str]
    ) -> None:
        self._writer = writer
        self._note = note
        self.noted = noted
        self.segments = segments
        self._length = length
        self._position = noted
        self._noted_at = self._heard_at = monotonic()
        self._is_whole = True  # nothing is half written, and nobody else has the upload
        self._is_certain = True  # what is noted is known

    async def run(self, chunks: AsyncIterator[bytes], checksum: Checksum | None) -> None:
        """Write until the chunks end. What arrived before they failed is kept, unless there is a checksum."""
        digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum is not None else None
        reading: asyncio.Task[bytes | None] | None = None
        try:
            while True:
                reading = reading or asyncio.create_task(following(chunks))
                await asyncio.wait({reading}, timeout=BEAT_S)
                if reading.done():
                    arrived, reading = reading, None
                    chunk = arrived.result()
                    if chunk is None:
                        break
                    await self._write(chunk)
                    if digest is not None:
                        digest.update(chunk)
                await self._beat(may_advance=digest is None)
        except BaseException:
            # A client may have no more than this much luck each time.
            if digest is None and self._is_whole:
                with suppress(Exception):
                    await uninterrupted(self._advance())
            raise
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        if digest is not None and checksum is not None and digest.digest() != checksum.digest:
            raise WrongChecksum
        await self._advance()

    async def _write(self, chunk: bytes) -> None:
        self._heard_at = monotonic()
        if self._position + len(chunk) > self._length:
            raise TooLarge(f"The upload has {self._length} bytes, and more were sent.")
        self._is_whole = False
        await self._writer.write(chunk)
        self._is_whole = True
        self._position += len(chunk)

    async def _beat(self, *, may_advance: bool) -> None:
        is_much = may_advance and self._position - self.noted >= FLUSH_BYTES
        if not is_much and monotonic() - self._noted_at < BEAT_S:
            return
        is_wanted = await (self._advance() if may_advance else self._say(self.noted))
        if is_wanted and monotonic() - self._heard_at > SILENCE_S:
            raise Locked("Nothing arrived for some time, and another request waits for this upload.")

    async def _advance(self) -> bool:
        """Make safe what was written, and note it."""
        self._is_whole = False
        if self._position > self.noted or not self._length:
            self.segments = await self._writer.flush(last=self._position == self._length)
        is_wanted = await self._say(self._position)
        await self._writer.settle()
        self._is_whole = True
        return is_wanted

    async def _say(self, position: int) -> bool:
        self._is_whole = self._is_certain = False
        try:
            is_wanted = await self._note(self.noted, position, self.segments)
        except Locked:
            self._is_certain = True
            raise
        self.noted, self._noted_at = position, monotonic()
        self._is_whole = self._is_certain = True
        return is_wanted

    async def close(self) -> None:
        """Let go of the bytes; what was not noted is not kept, but what may have been is."""
        await self._writer.close(undo=self._is_certain)


async def following(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


async def nothing() -> AsyncIterator[bytes]:
    """No bytes at all."""
    none: tuple[bytes, ...] = ()
    for chunk in none:
        yield chunk
