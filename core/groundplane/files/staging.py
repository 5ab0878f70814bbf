"""Where the bytes of an upload wait until a record takes it: what such a place does, and a folder as one."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import os
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from groundplane.files.local import LocalFiles, in_thread, sync_folder
from groundplane.files.mime import MediaType, detect
from groundplane.files.storage import CHUNK_BYTES, STAGING, FileStorage, StorageFailed

BUFFER_BYTES = 1024 * 1024  # what is collected before a thread is asked to write it


class StagingBusy(Exception):
    """Somebody else is just writing to the same upload."""


class StagingLost(Exception):
    """The bytes of an upload are not there any more."""


class Place(NamedTuple):
    """An upload as far as its bytes are concerned; `segments` are names that the place itself has given."""

    id: str
    offset: int
    segments: Sequence[str] = ()


class Leftover(NamedTuple):
    """Bytes that were found under the id of an upload."""

    id: str
    modified: datetime


class Writer(Protocol):
    """Appends to one upload; `flush` makes what was written durable and returns the segments there are now."""

    async def write(self, chunk: bytes) -> None: ...

    async def flush(self, *, last: bool) -> Sequence[str]: ...

    async def settle(self) -> None:
        """Told when what the last flush returned has been noted."""
        ...

    async def close(self, *, undo: bool = False) -> None:
        """Give everything back; `undo` removes what was flushed and never noted."""
        ...


class Staging(Protocol):
    """A place for uploads on their way. Methods raise StorageFailed when it does not work."""

    async def writer(self, place: Place, length: int) -> Writer:
        """Begin to append behind the offset; raises StagingBusy and StagingLost."""
        ...

    def reader(self, place: Place) -> BinaryIO:
        """The bytes up to the offset, to be read in threads only; nothing stays open behind it."""
        ...

    def chunks(self, place: Place) -> AsyncIterator[bytes]:
        """The same, piece by piece."""
        ...

    async def detect(self, place: Place) -> MediaType:
        """Tell the type of the content; raises FileNotFoundError when it is gone, else OSError."""
        ...

    async def move(
        self, place: Place, target: FileStorage, key: str, content_type: str, original_name: str
    ) -> None:
        """Store a finished upload under a key; it stays here too until it is discarded."""
        ...

    async def discard(self, id: str) -> None: ...

    def leftovers(self) -> AsyncIterator[Leftover]:
        """Everything that waits here, by id."""
        ...


class StagedBytes(io.RawIOBase):
    """A file that holds nothing open: each read asks for its part."""

    def __init__(self, size: int, read_at: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._read_at = read_at
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "negative position")
        self._position = start + offset
        return self._position

    def readall(self) -> bytes:
        # The base class reads so little at a time that a store would be asked hundreds of times.
        return b"".join(iter(lambda: self.read(CHUNK_BYTES) or b"", b""))

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # typeshed has no name for a writable buffer here
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        data = self._read_at(self._position, wanted)
        if not data:
            raise OSError(errno.EIO, "the upload is shorter than it was")
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def buffered(size: int, read_at: Callable[[int, int], bytes]) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(StagedBytes(size, read_at), CHUNK_BYTES))


class LocalStaging:
    """One file per upload in a folder beside the records' files, so that taking it is giving it another name.

    Bytes beyond the noted offset are what a crash left: the next writer writes over them. The lock on the
    file ends with the process that has it, however that ends.
    """

    def __init__(self, files: LocalFiles) -> None:
        self._files = files
        self._folder = files.root / STAGING

    def _path(self, id: str) -> Path:
        return self._folder / id

    async def writer(self, place: Place, length: int) -> Writer:
        """Begin to append behind the offset; raises StagingBusy and StagingLost."""
        return LocalWriter(await in_thread(opened, self._path(place.id), place.offset))

    def reader(self, place: Place) -> BinaryIO:
        """The bytes up to the offset; reading raises FileNotFoundError when they are gone."""
        path = self._path(place.id)

        def read_at(start: int, length: int) -> bytes:
            handle = os.open(path, os.O_RDONLY)
            try:
                return os.pread(handle, length, start)
            finally:
                os.close(handle)

        return buffered(place.offset, read_at)

    async def move(
        self, place: Place, target: FileStorage, key: str, content_type: str, original_name: str
    ) -> None:
        """Store a finished upload under a key, without copying it where the store is this folder's."""
        if target is self._files:
            path = self._path(place.id)
            if await in_thread(size_of, path) != place.offset:
                raise StorageFailed(f"the upload {place.id} is not there as it was")
            if await self._files.adopt(path, key, content_type=content_type, original_name=original_name):
                return
        chunks = self.chunks(place)
        await target.put(key, chunks, content_type=content_type, original_name=original_name)

    async def detect(self, place: Place) -> MediaType:
        """Tell the type of the content; raises FileNotFoundError when it is gone, else OSError."""
        return await asyncio.to_thread(detect, self.reader(place))

    async def chunks(self, place: Place) -> AsyncIterator[bytes]:
        """The bytes up to the offset."""
        file = self.reader(place)
        while chunk := await in_thread(file.read, CHUNK_BYTES):
            yield chunk

    async def discard(self, id: str) -> None:
        await in_thread(self._path(id).unlink, missing_ok=True)

    async def leftovers(self) -> AsyncIterator[Leftover]:
        """Everything that waits here, by id."""
        for leftover in await in_thread(found, self._folder):
            yield leftover


class LocalWriter:
    """Appends to an open and locked file."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._pending: list[bytes] = []
        self._size = 0

    async def write(self, chunk: bytes) -> None:
        self._pending.append(chunk)
        self._size += len(chunk)
        if self._size >= BUFFER_BYTES:
            await self._write_out()

    async def _write_out(self) -> None:
        pending, self._pending, self._size = self._pending, [], 0
        await in_thread(write_all, self._handle, b"".join(pending))

    async def flush(self, *, last: bool) -> Sequence[str]:
        """Have it all on the disk; a file has no segments."""
        if self._pending:
            await self._write_out()
        await in_thread(os.fsync, self._handle)
        return ()

    async def settle(self) -> None:
        return

    async def close(self, *, undo: bool = False) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def opened(path: Path, offset: int) -> int:
    """Open the file of an upload and lock it, at the offset; makes it when nothing was written so far."""
    flags = os.O_RDWR if offset else os.O_RDWR | os.O_CREAT
    try:
        if not offset and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, flags, 0o666)
    except FileNotFoundError:
        raise StagingLost from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StagingBusy from None
        except OSError as error:
            # A file system without locks: then the lease alone keeps writers apart.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        if os.fstat(handle).st_size < offset:
            raise StagingLost
        os.lseek(handle, offset, os.SEEK_SET)
        if not offset:
            sync_folder(path.parent)
            sync_folder(path.parent.parent)
        return handle
    except BaseException:
        os.close(handle)
        raise


def write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def found(folder: Path) -> list[Leftover]:
    leftovers = []
    for path in sorted(folder.glob("*")):
        try:
            leftovers.append(Leftover(path.name, datetime.fromtimestamp(path.stat().st_mtime, UTC)))
        except FileNotFoundError:
            continue  # it was taken just now
    return leftovers
