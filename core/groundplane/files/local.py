"""A folder on this machine as a file store, laid out like PocketBase's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar

import msgspec

from groundplane.files.storage import (
    ATTRS_SUFFIX,
    CHUNK_BYTES,
    DEFAULT_TYPE,
    ORIGINAL_NAME,
    FileInfo,
    FileMissing,
    StorageFailed,
    checked_key,
    checked_prefix,
    escaped_name,
    unescaped_name,
)

P = ParamSpec("P")
T = TypeVar("T")

# Half-written files wait here; a dot in front keeps the folder apart from every collection id.
TEMPORARY = ".tmp"
MAX_ATTRS_BYTES = 64 * 1024
ATTEMPTS = 10


class LocalFiles:
    """Files below `root`; type and original name stand beside each file in `<name>.attrs`.

    A file is written aside, synced and renamed, so a reader or a crash never sees a part of it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        return self.root / escaped_name(checked_key(key))

    async def put(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str = "",
        original_name: str = "",
    ) -> None:
        """Store the bytes, replacing an earlier file."""
        target = self.path(key)
        aside = self.root / TEMPORARY / secrets.token_hex(16)
        file = await in_thread(open_aside, aside)
        digest = hashlib.md5(usedforsecurity=False)
        try:
            async for chunk in chunks:
                digest.update(chunk)
                await in_thread(file.write, chunk)
            await in_thread(sync_and_close, file)
            described = bool(content_type or original_name)
            attrs = attrs_text(content_type, original_name, digest.digest()) if described else None
            await in_thread(move_in, aside, target, attrs)
        except BaseException:
            file.close()
            aside.unlink(missing_ok=True)
            raise
        finally:
            await in_thread(remove_empty, aside.parent, self.root)

    async def stat(self, key: str) -> FileInfo:
        """Describe a file; raises FileMissing."""
        return await asyncio.to_thread(describe, self.path(key))

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`; raises FileMissing at the first step."""
        path = self.path(key)
        size = CHUNK_BYTES if length is None else min(CHUNK_BYTES, length)
        try:
            # Together, because changing the thread costs more than reading a small file.
            file, chunk = await asyncio.to_thread(open_and_read, path, start, size)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise FileMissing(key) from None
        except OSError as error:
            raise StorageFailed(f"reading {key!r} failed: {error}") from error
        with file:
            left = length
            while chunk:
                yield chunk
                if left is not None:
                    left -= len(chunk)
                    if left <= 0:
                        return
                size = CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)
                chunk = await in_thread(file.read, size)

    async def delete(self, key: str) -> None:
        """Remove one file; removing what is not there is no error."""
        await asyncio.to_thread(self._delete, key)

    def _delete(self, key: str) -> None:
        path = self.path(key)
        try:
            for each in (path, side_file(path)):
                if not each.is_dir():
                    each.unlink(missing_ok=True)
            remove_empty(path.parent, self.root)
        except NotADirectoryError:
            return
        except OSError as error:
            raise StorageFailed(f"deleting {key!r} failed: {error}") from error

    async def delete_prefix(self, prefix: str) -> None:
        """Remove every file whose key starts with `prefix`, which ends in `/`."""
        folder = self.root / escaped_name(checked_prefix(prefix))
        await asyncio.to_thread(self._delete_folder, folder)

    def _delete_folder(self, folder: Path) -> None:
        try:
            shutil.rmtree(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StorageFailed(f"deleting the folder {folder.name!r} failed: {error}") from error
        remove_empty(folder.parent, self.root)

    async def abandoned(self, before: datetime, *, delete: bool = False) -> int:
        """Count the uploads that a crash cut off before this moment, and delete them if wanted."""
        return await asyncio.to_thread(self._abandoned, before, delete)

    def _abandoned(self, before: datetime, delete: bool) -> int:
        count = 0
        for path in (self.root / TEMPORARY).glob("*"):
            try:
                if path.stat().st_mtime < before.timestamp():
                    if delete:
                        path.unlink()
                    count += 1
            except FileNotFoundError:
                continue  # it was finished just now
            except OSError as error:
                raise StorageFailed(f"looking for unfinished uploads failed: {error}") from error
        return count

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        folder = self.root / escaped_name(checked_prefix(prefix)) if prefix else self.root
        for key in await asyncio.to_thread(found_keys, self.root, folder):
            yield key


# What runs in threads


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what waits for the disk beside the event loop; its failure is the store's."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise StorageFailed(f"the folder failed: {error}") from error


def open_aside(path: Path) -> BinaryIO:
    # Another upload may remove the folder as empty between making and using it, so we try again.
    for _ in range(ATTEMPTS - 1):
        try:
            return path.open("xb")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def sync_and_close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def move_in(aside: Path, target: Path, attrs: bytes | None) -> None:
    """Rename the finished file to its place; its side file goes first, so no file is ever without it."""
    changed = {target.parent}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            changed |= make_folder(target.parent)
            if attrs is None:
                side_file(target).unlink(missing_ok=True)
            else:
                written = aside.with_suffix(ATTRS_SUFFIX)
                # An attempt before this one may have left it, when the folder went away under it.
                written.unlink(missing_ok=True)
                with open_aside(written) as file:
                    file.write(attrs)
                    file.flush()
                    os.fsync(file.fileno())
                written.replace(side_file(target))
            aside.replace(target)
            break
        except FileNotFoundError:
            if attempt == ATTEMPTS:
                raise
    # A rename, and a new folder, are on disk only when the folder they stand in is.
    for folder in changed:
        sync_folder(folder)


def make_folder(folder: Path) -> set[Path]:
    """Make a folder and what is missing above it; returns the folders that have a new entry by that."""
    changed: set[Path] = set()
    missing = folder
    while not missing.exists():
        missing = missing.parent
        changed.add(missing)
    folder.mkdir(parents=True, exist_ok=True)
    return changed


def sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return  # removed again meanwhile, so there is nothing to keep
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_and_read(path: Path, start: int, size: int) -> tuple[BinaryIO, bytes]:
    file = path.open("rb", buffering=0)
    try:
        file.seek(start)
        return file, file.read(size)
    except BaseException:
        file.close()
        raise


def side_file(path: Path) -> Path:
    return path.with_name(path.name + ATTRS_SUFFIX)


def describe(path: Path) -> FileInfo:
    try:
        status = path.stat()
        if not path.is_file():
            raise FileMissing(path.name)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(path.name) from None
    except OSError as error:
        if error.errno == 36:  # the name is longer than the file system can hold, so nothing has it
            raise FileMissing(path.name) from None
        raise StorageFailed(f"looking at {path.name!r} failed: {error}") from error
    attrs = read_attrs(side_file(path))
    metadata = attrs.get("user.metadata")
    name = metadata.get(ORIGINAL_NAME) if isinstance(metadata, dict) else None
    kind = attrs.get("user.content_type")
    return FileInfo(
        size=status.st_size,
        modified=datetime.fromtimestamp(int(status.st_mtime), UTC),
        content_type=kind if isinstance(kind, str) and kind else DEFAULT_TYPE,
        original_name=name if isinstance(name, str) else "",
    )


def read_attrs(path: Path) -> dict[str, Any]:
    """Read a side file; a missing or broken one says nothing."""
    try:
        with path.open("rb") as file:
            value = msgspec.json.decode(file.read(MAX_ATTRS_BYTES))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def attrs_text(content_type: str, original_name: str, md5: bytes) -> bytes:
    return msgspec.json.encode(
        {
            "user.cache_control": "",
            "user.content_disposition": "",
            "user.content_encoding": "",
            "user.content_language": "",
            "user.content_type": content_type,
            "user.metadata": {ORIGINAL_NAME: original_name} if original_name else None,
            "md5": base64.b64encode(md5).decode(),
        }
    )


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and its parents below the root as long as they are empty."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.parent


def found_keys(root: Path, folder: Path) -> list[str]:
    keys = []
    for path, folders, names in os.walk(folder):
        if Path(path) == root and TEMPORARY in folders:
            folders.remove(TEMPORARY)
        for name in names:
            if not name.endswith(ATTRS_SUFFIX):
                keys.append(unescaped_name(Path(path, name).relative_to(root).as_posix()))
    return sorted(keys)
