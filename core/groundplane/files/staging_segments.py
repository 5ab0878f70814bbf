"""A file store as the place for uploads on their way: objects that are joined when a record takes them."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO

from groundplane.files.mime import MediaType, detect
from groundplane.files.s3 import S3Files
from groundplane.files.staging import Leftover, Place, StagingLost, Writer, buffered
from groundplane.files.storage import CHUNK_BYTES, STAGING, FileMissing, FileStorage, StorageFailed
from groundplane.security.ids import LOWER_ALPHANUMERIC, random_text

log = logging.getLogger(__name__)

MIN_JOINED = 5 * 1024 * 1024  # bytes that each part but the last must have, in S3
MANY_PARTS = 500  # of a joined object, about; more take long to join, and S3 allows 10,000
MAX_SMALL = 64  # smaller segments that may wait to be made one
IN_MEMORY_BYTES = 1024 * 1024  # of a segment that is being collected; the rest is in a temporary file
READ_S = 60.0
READERS = ThreadPoolExecutor(8, thread_name_prefix="staged")


class SegmentStaging:
    """Each segment of an upload is an object; its name begins with its size.

    Names are never used twice, so two who write to one upload cannot overwrite each other: the one whose
    segments are noted has won. Small segments are put together as soon as they are enough for a part of a
    joined object, so each byte is stored twice at most before a record takes it.
    """

    def __init__(self, storage: FileStorage) -> None:
        self._storage = storage

    async def writer(self, place: Place, length: int) -> Writer:
        """Begin to append behind the offset."""
        return SegmentWriter(self._storage, place, length)

    def reader(self, place: Place) -> BinaryIO:
        """The bytes up to the offset; raises OSError while reading."""
        loop = asyncio.get_running_loop()

        def read_at(start: int, length: int) -> bytes:
            try:
                reading = asyncio.run_coroutine_threadsafe(self._bytes(place, start, length), loop)
                return reading.result(READ_S)
            except FileMissing as error:
                raise FileNotFoundError(str(error)) from error
            except StorageFailed as error:
                raise OSError(str(error)) from error

        return buffered(place.offset, read_at)

    async def detect(self, place: Place) -> MediaType:
        """Tell the type of the content; raises FileNotFoundError when it is gone, else OSError."""
        # Threads of our own: these wait for a store that may need the others.
        return await asyncio.get_running_loop().run_in_executor(READERS, detect, self.reader(place))

    def chunks(self, place: Place) -> AsyncIterator[bytes]:
        """The bytes up to the offset."""
        return self._read(place)

    async def _bytes(self, place: Place, start: int, length: int) -> bytes:
        return b"".join([chunk async for chunk in self._read(place, start, length)])

    async def _read(self, place: Place, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        end = place.offset if length is None else start + length
        begins = 0
        for segment in place.segments:
            ends = begins + size_of(segment)
            if begins < end and ends > start:
                first = max(start - begins, 0)
                wanted = min(ends, end) - begins - first
                async for chunk in self._storage.read(key_of(place.id, segment), first, wanted):
                    yield chunk
            begins = ends

    async def move(
        self, place: Place, target: FileStorage, key: str, content_type: str, original_name: str
    ) -> None:
        """Store a finished upload under a key: inside the store where it can, else by reading it once."""
        if target is self._storage and isinstance(target, S3Files) and place.segments:
            sources = [key_of(place.id, segment) for segment in place.segments]
            try:
                await target.join(sources, key, content_type=content_type, original_name=original_name)
                if (await target.stat(key)).size == place.offset:
                    return
            except (StorageFailed, FileMissing) as error:
                log.debug("The store did not join an upload: %s", error)
        try:
            chunks = self._read(place)
            await target.put(key, chunks, content_type=content_type, original_name=original_name)
        except FileMissing as error:
            raise StorageFailed(f"the upload {place.id} is not there as it was") from error

    async def discard(self, id: str) -> None:
        await self._storage.delete_prefix(f"{STAGING}/{id}/")

    async def leftovers(self) -> AsyncIterator[Leftover]:
        """Everything that waits here, by id."""
        last = ""
        async for key in self._storage.keys(f"{STAGING}/"):
            _, id, *_ = key.split("/")
            if id != last:
                last = id
                with suppress(FileMissing):
                    yield Leftover(id, (await self._storage.stat(key)).modified)


class SegmentWriter:
    """Collects what arrives and stores it as segments."""

    def __init__(self, storage: FileStorage, place: Place, length: int) -> None:
        self._storage = storage
        self._id = place.id
        self._noted = list(place.segments)  # what the upload has for everybody else
        self._segments = list(place.segments)
        self._full = max(MIN_JOINED, length // MANY_PARTS)
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  # closed by `close`
        self._size = 0

    async def write(self, chunk: bytes) -> None:
        if self._size + len(chunk) > IN_MEMORY_BYTES:
            await asyncio.to_thread(self._file.write, chunk)
        else:
            self._file.write(chunk)
        self._size += len(chunk)
        if self._size >= self._full:
            await self._store(last=False)

    async def flush(self, *, last: bool) -> Sequence[str]:
        """Store what was collected; with `last` nothing small is left but at the end."""
        await self._store(last=last)
        return self._segments

    async def _store(self, *, last: bool) -> None:
        small = self._small(last=last)
        if not self._size and len(small) < 2:
            return
        size = self._size + sum(map(size_of, small))
        segment = f"{size}-{random_text(16, LOWER_ALPHANUMERIC)}"
        try:
            await self._storage.put(key_of(self._id, segment), self._together(small))
        except FileMissing:
            raise StagingLost from None
        self._segments = [*self._segments[: len(self._segments) - len(small)], segment]
        await asyncio.to_thread(self._empty)
        self._size = 0

    def _small(self, *, last: bool) -> list[str]:
        """The small segments at the end that are to become part of the next one."""
        count = 0
        while count < len(self._segments) and size_of(self._segments[-1 - count]) < self._full:
            count += 1
        small = self._segments[len(self._segments) - count :]
        size = self._size + sum(map(size_of, small))
        return small if last or count >= MAX_SMALL or size >= self._full else []

    async def _together(self, small: Sequence[str]) -> AsyncIterator[bytes]:
        for segment in small:
            async for chunk in self._storage.read(key_of(self._id, segment)):
                yield chunk
        self._file.seek(0)
        while chunk := await asyncio.to_thread(self._file.read, CHUNK_BYTES):
            yield chunk

    def _empty(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    async def settle(self) -> None:
        """Remove the segments that have become part of others."""
        noted, self._noted = self._noted, list(self._segments)
        await self._delete(set(noted) - set(self._segments))

    async def close(self, *, undo: bool = False) -> None:
        """Give the temporary file back; `undo` removes what was stored and never noted."""
        await asyncio.to_thread(self._file.close)
        if undo:
            await self._delete(set(self._segments) - set(self._noted))

    async def _delete(self, segments: set[str]) -> None:
        for segment in sorted(segments):
            try:
                await self._storage.delete(key_of(self._id, segment))
            except StorageFailed as error:
                # It goes with the upload.
                log.warning("A part of an upload was not removed: %s", error)


def key_of(id: str, segment: str) -> str:
    return f"{STAGING}/{id}/{segment}"


def size_of(segment: str) -> int:
    """The bytes of a segment, by its name."""
    return int(segment.partition("-")[0])
