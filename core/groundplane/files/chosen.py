"""The store that is named: a plugin's, an object store while `s3.enabled` is set, or a folder."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import cast

from groundplane.files.s3 import S3Files
from groundplane.files.storage import FileInfo, FileMissing, FileStorage, Linking, Shown
from groundplane.settings.service import Settings
from groundplane.settings.values import S3


class ChosenFiles:
    """Passes every call on to the store that the settings name at that moment; to `own`, where there is one.

    While that is not the folder, a file that is not in it yet is read from the folder, so that nothing is
    missing when the setting changes; and a file that is deleted is deleted from both.
    """

    def __init__(self, local: FileStorage, settings: Settings) -> None:
        self.local = local
        self.own: FileStorage | None = None  # a plugin's
        self._settings = settings
        self._remote: S3Files | None = None
        self._made_for: S3 | None = None

    @property
    def current(self) -> FileStorage:
        """The store that new files go to."""
        return self.own or self.named

    @property
    def named(self) -> FileStorage:
        """The store of the settings."""
        return self.remote() if self._settings.current.s3.enabled else self.local

    def remote(self) -> S3Files:
        """The object store of the settings, enabled or not."""
        wanted = self._settings.current.s3
        if self._remote is None or wanted != self._made_for:
            self._remote, self._made_for = S3Files(wanted), wanted
        return self._remote

    async def put(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str = "",
        original_name: str = "",
    ) -> None:
        """Store the bytes, replacing an earlier file."""
        await self.current.put(key, chunks, content_type=content_type, original_name=original_name)

    async def stat(self, key: str) -> FileInfo:
        """Describe a file; raises FileMissing."""
        store = self.current
        try:
            return await store.stat(key)
        except FileMissing:
            if store is self.local:
                raise
            return await self.local.stat(key)

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`; raises FileMissing at the first step."""
        store = self.current
        began = False
        try:
            async for chunk in store.read(key, start, length):
                began = True
                yield chunk
        except FileMissing:
            if began or store is self.local:
                raise
            async for chunk in self.local.read(key, start, length):
                yield chunk

    async def delete(self, key: str) -> None:
        """Remove one file; removing what is not there is no error."""
        store = self.current
        await store.delete(key)
        if store is not self.local:
            await self.local.delete(key)

    async def delete_prefix(self, prefix: str) -> None:
        """Remove every file whose key starts with `prefix`, which ends in `/`."""
        store = self.current
        await store.delete_prefix(prefix)
        if store is not self.local:
            await self.local.delete_prefix(prefix)

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Yield the keys of the chosen store that start with `prefix`, sorted."""
        async for key in self.current.keys(prefix):
            yield key

    async def sizes(self, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """Yield the keys of the chosen store with their bytes, and those that are only in the folder yet."""
        store = self.current
        seen: set[str] = set()
        async for each in store.sizes(prefix):
            yield each
            if store is not self.local:
                seen.add(each[0])
        if store is not self.local:
            async for each in self.local.sizes(prefix):
                if each[0] not in seen:
                    yield each

    async def link(self, key: str, lifetime_s: float, shown: Shown) -> str:
        """Sign an address at the chosen store, for a file whose description says that it has one."""
        return await cast("Linking", self.current).link(key, lifetime_s, shown)
