"""The files of records: where they lie, putting them there and taking them away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import BinaryIO, cast

from groundplane.files.removals import Removals
from groundplane.files.storage import (
    CHUNK_BYTES,
    BadKey,
    FileInfo,
    FileMissing,
    FileStorage,
    Linking,
    Shown,
    StorageFailed,
)
from groundplane.files.thumbs import Original, Thumbs
from groundplane.files.uploads import Upload, Uploads
from groundplane.files.usage import FileUsage
from groundplane.schema.collection import Collection

MAX_ORIGINAL_NAME_BYTES = 255


class Files:
    """Keys as in PocketBase: `<collection id>/<record id>/<name>`, thumbs beside in `thumbs_<name>/`."""

    def __init__(
        self,
        storage: FileStorage,
        removals: Removals,
        thumbs: Thumbs | None = None,
        uploads: Uploads | None = None,
    ) -> None:
        self.storage = storage
        self.removals = removals
        self.usage = FileUsage(removals.db, storage)
        self.uploads = uploads
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
        try:
            await self.storage.put(
                self.key(collection_id, record_id, name),
                chunks_of(file),
                content_type=content_type,
                original_name=original_name(client_name),
            )
        except BadKey as error:
            raise StorageFailed(f"{name!r} is not the name of a file: {error}") from error

    async def adopt(
        self,
        collection_id: str,
        record_id: str,
        name: str,
        upload: Upload,
        *,
        content_type: str,
        client_name: str,
    ) -> None:
        """Store an upload that has come before and was taken in this transaction; raises StorageFailed."""
        if self.uploads is None:
            raise StorageFailed("there are no uploads here")
        key = self.key(collection_id, record_id, name)
        original = original_name(client_name)
        try:
            await self.uploads.move(upload, key, content_type=content_type, original_name=original)
        except BadKey as error:
            raise StorageFailed(f"{name!r} is not the name of a file: {error}") from error

    async def stat(self, key: str) -> FileInfo:
        """Describe a file; raises FileMissing, also for a name that no file can have."""
        try:
            return await self.storage.stat(key)
        except BadKey:
            raise FileMissing(key) from None

    async def thumb(
        self, collection: Collection, record_id: str, name: str, info: FileInfo, size: str
    ) -> tuple[str, FileInfo] | None:
        """Give key and description of a file's thumb, made if need be; None when it has none.

        Any `size` that one asks for is made: ask only for those that the field allows.
        """
        if self._thumbs is None or not self._thumbs.may_make(info.content_type):
            return None
        thumb_key = self.thumb_key(collection.id, record_id, name, size)
        original = Original(self.key(collection.id, record_id, name), info, collection, record_id, name)
        found = await self._thumbs.find(original, thumb_key, size)
        return (thumb_key, found) if found is not None else None

    async def close(self) -> None:
        """End the processes that make thumbs."""
        if self._thumbs is not None:
            await self._thumbs.close()

    async def link(self, key: str, lifetime_s: float, shown: Shown) -> str:
        """Sign an address at the store for a file whose description says that it has one; raises StorageFailed."""
        return await cast("Linking", self.storage).link(key, lifetime_s, shown)

    def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        return self.storage.read(key, start, length)


def original_name(client_name: str) -> str:
    """The client's name as it is kept beside the file."""
    return client_name.encode("utf-8", "replace")[:MAX_ORIGINAL_NAME_BYTES].decode("utf-8", "ignore")


async def chunks_of(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield a file from its beginning without holding the event loop while it is read."""
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
