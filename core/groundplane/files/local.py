"""A folder on this machine as a file store, laid out like PocketBase's."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, ParamSpec, TypeVar

import msgspec

from groundplane.files.disks import is_at_hand
from groundplane.files.storage import (
    ATTRS_SUFFIX,
    CHUNK_BYTES,
    DEFAULT_TYPE,
    ORIGINAL_NAME,
    STAGING,
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
        # Then a look costs less than another thread, and the system can send files by itself.
        self._is_at_hand = is_at_hand(root)

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

    async def adopt(self, path: Path, key: str, *, content_type: str, original_name: str) -> bool:
        """Give a synced file below `root` a key as well, without copying it; False where that cannot be done."""
        target = self.path(key)
        aside = self.root / TEMPORARY / secrets.token_hex(16)
        try:
            if not await in_thread(linked, path, aside):
                return False
            await in_thread(move_in, aside, target, attrs_text(content_type, original_name, b""))
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        finally:
            await in_thread(remove_empty, aside.parent, self.root)
        return True

    async def stat(self, key: str) -> FileInfo:
        """Describe a file; raises FileMissing."""
        path = self.path(key)
        if not self._is_at_hand:
            return await asyncio.to_thread(describe, path)
        return msgspec.structs.replace(describe(path), path=str(path))

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
        for key, _ in sorted(await in_thread(found_files, self.root, folder)):
            yield key

    async def sizes(self, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """Yield the same keys in any order, each with its bytes."""
        folder = self.root / escaped_name(checked_prefix(prefix)) if prefix else self.root
        for each in await in_thread(partial(found_files, sized=True), self.root, folder):
            yield each


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


def linked(path: Path, aside: Path) -> bool:
    """Give a file a second name; False on a file system where a file has only one."""
    for attempt in range(1, ATTEMPTS + 1):
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.hardlink_to(path)
        except FileNotFoundError:
            # Another upload may have removed the folder as empty.
            if attempt == ATTEMPTS or not path.exists():
                raise
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
                return False
            raise
        else:
            return True
    return False


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
    # Texts, since every download comes by here, and paths as objects cost more than the disk.
    name = str(path)
    try:
        status = os.stat(name)
        if not S_ISREG(status.st_mode):
            raise FileMissing(path.name)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(path.name) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # nothing can have that name, so nothing has it
            raise FileMissing(path.name) from None
        raise StorageFailed(f"looking at {path.name!r} failed: {error}") from error
    attrs = read_attrs(name + ATTRS_SUFFIX)
    metadata = attrs.get("user.metadata")
    original = metadata.get(ORIGINAL_NAME) if isinstance(metadata, dict) else None
    kind = attrs.get("user.content_type")
    return FileInfo(
        size=status.st_size,
        modified=datetime.fromtimestamp(int(status.st_mtime), UTC),
        content_type=kind if isinstance(kind, str) and kind else DEFAULT_TYPE,
        original_name=original if isinstance(original, str) else "",
    )


def read_attrs(path: str) -> dict[str, Any]:
    """Read a side file; a missing or broken one says nothing."""
    try:
        with open(path, "rb", buffering=0) as file:
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


def found_files(root: Path, folder: Path, *, sized: bool = False) -> list[tuple[str, int]]:
    """The files below `folder` by their keys; sizes are 0 unless they are asked for."""
    hidden = {str(root / TEMPORARY), str(root / STAGING)}
    found: list[tuple[str, int]] = []
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path not in hidden:
                            waiting.append(Path(entry.path))
                    elif not entry.name.endswith(ATTRS_SUFFIX):
                        key = unescaped_name(Path(entry.path).relative_to(root).as_posix())
                        found.append((key, entry.stat(follow_symlinks=False).st_size if sized else 0))
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed meanwhile, or never there
    return found
