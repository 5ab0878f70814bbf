"""Copies the files of a PocketBase folder to where the records' files are kept here."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from groundplane.files.chosen import ChosenFiles
from groundplane.files.local import TEMPORARY, LocalFiles, read_attrs, side_file
from groundplane.files.storage import (
    ATTRS_SUFFIX,
    CHUNK_BYTES,
    ORIGINAL_NAME,
    BadKey,
    FileMissing,
    FileStorage,
    checked_key,
    unescaped_name,
)
from groundplane.imports.report import Progress

FLUSH_STEP = 20  # files between two calls of the progress callback


class StoredFile(NamedTuple):
    """A file of the source: its key (the same on both sides), where it is and how many bytes it has."""

    key: str
    path: Path
    size: int


def find_files(storage: Path, warnings: list[str]) -> Iterator[StoredFile]:
    """The files below `storage`, thumbs included; links and impossible names are left out with a warning."""
    for folder, folders, names in os.walk(storage):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith(ATTRS_SUFFIX):
                continue
            relative = path.relative_to(storage).as_posix()
            key = unescaped_name(relative)
            try:
                if path.is_symlink() or not path.is_file():
                    raise BadKey("not a plain file")
                yield StoredFile(checked_key(key), path, path.stat().st_size)
            except BadKey:
                warnings.append(
                    f"The file {relative!r} was left out: it is a link or has an impossible name."
                )


class FileCopy:
    """Copies files to their final keys and can take back what it added; copying again changes nothing."""

    def __init__(self, target: FileStorage) -> None:
        self._target = target.current if isinstance(target, ChosenFiles) else target
        self._added: list[str] = []

    async def copy(self, files: Iterable[StoredFile], total: int, progress: Progress) -> None:
        for done, file in enumerate(files, 1):
            if not await self._exists(file.key):
                # Noted before it is there, so that a half-made one is taken back too.
                self._added.append(file.key)
            if isinstance(self._target, LocalFiles):
                await asyncio.to_thread(_copy_local, file, self._target)
            else:
                await self._put(file)
            if done % FLUSH_STEP == 0 or done == total:
                progress("files", done, total)

    async def undo(self) -> None:
        """Remove what was not there before."""
        for key in self._added:
            await self._target.delete(key)
        self._added.clear()

    async def _exists(self, key: str) -> bool:
        try:
            await self._target.stat(key)
        except FileMissing:
            return False
        return True

    async def _put(self, file: StoredFile) -> None:
        attrs = read_attrs(str(side_file(file.path)))
        metadata = attrs.get("user.metadata")
        name = metadata.get(ORIGINAL_NAME) if isinstance(metadata, dict) else None
        await self._target.put(
            file.key,
            _chunks(file.path),
            content_type=str(attrs.get("user.content_type") or ""),
            original_name=name if isinstance(name, str) else "",
        )


def _copy_local(file: StoredFile, target: LocalFiles) -> None:
    """Copy the file and its side file byte for byte; each appears whole, the side file first."""
    final = target.path(file.key)
    aside = target.root / TEMPORARY / secrets.token_hex(16)
    aside.parent.mkdir(parents=True, exist_ok=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        for source, place in ((side_file(file.path), side_file(final)), (file.path, final)):
            if source.is_file() and not source.is_symlink():
                shutil.copyfile(source, aside)
                os.replace(aside, place)
    finally:
        aside.unlink(missing_ok=True)
        with suppress(OSError):
            aside.parent.rmdir()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
