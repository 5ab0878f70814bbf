"""The files of records: where they lie, putting them there and taking them away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import BinaryIO

from groundplane.files.storage import CHUNK_BYTES, BadKey, FileInfo, FileMissing, FileStorage, StorageFailed
from groundplane.files.thumbs import Thumbs

log = logging.getLogger(__name__)

MAX_ORIGINAL_NAME_BYTES = 255


class Files:
    """Keys as in PocketBase: `<collection id>/<record id>/<name>`, thumbs beside in `thumbs_<name>/`."""

    def __init__(self, storage: FileStorage, thumbs: Thumbs | None = None) -> None:
        self.storage = storage
        self._thumbs = thumbs

    @staticmethod
    def key(collection_id: str, record_id: str, name: str) -> str:
        return f"{collection_id}/{record_id}/{name}"

    @staticmethod
    def thumb_key(collection_id: str, record_id: str, name: str, size: str) -> str:
        return f"{collection_id}/{record_id}/thumbs_{name}/{size}_{name}"

    async def put(
        self,
        collection_id: str,
        record_id: str,
        name: str,
        file: BinaryIO,
        *,
        content_type: str,
        client_name: str,
    ) -> None:
        """Store an upload from its beginning; raises StorageFailed."""
        original = client_name.encode("utf-8", "replace")[:MAX_ORIGINAL_NAME_BYTES].decode("utf-8", "ignore")
        try:
            await self.storage.put(
                self.key(collection_id, record_id, name),
                chunks_of(file),
                content_type=content_type,
                original_name=original,
            )
        except BadKey as error:
            raise StorageFailed(f"{name!r} is not the name of a file: {error}") from error

    async def stat(self, key: str) -> FileInfo:
        """Describe a file; raises FileMissing, also for a name that no file can have."""
        try:
            return await self.storage.stat(key)
        except BadKey:
            raise FileMissing(key) from None

    async def thumb(
        self, collection_id: str, record_id: str, name: str, original: FileInfo, size: str
    ) -> tuple[str, FileInfo] | None:
        """Give key and description of a picture's thumb, made if need be; None when it has none.

        Any `size` that one asks for is made: ask only for those that the field allows.
        """
        if self._thumbs is None:
            return None
        key, thumb_key = (
            self.key(collection_id, record_id, name),
            self.thumb_key(collection_id, record_id, name, size),
        )
        info = await self._thumbs.find(key, original, thumb_key, size)
        return (thumb_key, info) if info is not None else None

    async def close(self) -> None:
        """End the processes that make thumbs."""
        if self._thumbs is not None:
            await self._thumbs.close()

    def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        return self.storage.read(key, start, length)

    async def delete_file(self, collection_id: str, record_id: str, name: str) -> None:
        """Remove a file and its thumbs. A failure is logged: the record's change stands anyway."""
        try:
            await self.storage.delete(self.key(collection_id, record_id, name))
            await self.storage.delete_prefix(f"{collection_id}/{record_id}/thumbs_{name}/")
        except (StorageFailed, BadKey) as error:
            log.warning("A file was not removed: %s", error)

    async def delete_record(self, collection_id: str, record_id: str) -> None:
        """Remove everything of a deleted record; a failure is logged."""
        await self._delete_prefix(f"{collection_id}/{record_id}/")

    async def delete_collection(self, collection_id: str) -> None:
        """Remove everything of a deleted collection; a failure is logged."""
        await self._delete_prefix(f"{collection_id}/")

    async def _delete_prefix(self, prefix: str) -> None:
        try:
            await self.storage.delete_prefix(prefix)
        except (StorageFailed, BadKey) as error:
            log.warning("Files were not removed: %s", error)


async def chunks_of(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield a file from its beginning without holding the event loop while it is read."""
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
