"""Moves all files from one store to another while a server uses them; may be interrupted and begun again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Literal, TypeAlias

import msgspec

from groundplane.files.chosen import ChosenFiles
from groundplane.files.s3 import try_out
from groundplane.files.storage import FileInfo, FileMissing, FileStorage, StorageFailed
from groundplane.settings.service import Settings

AT_ONCE = 4  # files on their way
ATTEMPTS = 3
Progress = Callable[[str, int, int], None]
Goal: TypeAlias = Literal["s3", "local", "plugin"]


class Moved(msgspec.Struct):
    """What came of it: files that were copied and their bytes, and files that were there already."""

    copied: int = 0
    copied_bytes: int = 0
    there: int = 0


async def copy_all(source: FileStorage, target: FileStorage, progress: Progress) -> Moved:
    """Copy what `target` does not have, and read it back to compare; raises StorageFailed.

    A file appears in `target` whole or not at all, and its name is never used again for another one, so what
    is there in the same size is not copied again.
    """
    keys = [key async for key in source.keys()]  # noqa: SIM118  # no dictionary
    outcome = Moved()
    done = 0
    waiting = iter(keys)

    async def work() -> None:
        nonlocal done
        for key in waiting:
            await copy_one(source, target, key, outcome)
            done += 1
            progress("files", done, len(keys))

    workers = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return outcome


async def copy_one(source: FileStorage, target: FileStorage, key: str, outcome: Moved) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            info = await source.stat(key)
            if await has(target, key, info):
                outcome.there += 1
                return
            await copy_and_compare(source, target, key, info)
        except FileMissing:
            # It was deleted meanwhile, here or there.
            await target.delete(key)
            return
        except StorageFailed:
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(attempt)
            continue
        outcome.copied += 1
        outcome.copied_bytes += info.size
        return


async def has(storage: FileStorage, key: str, info: FileInfo) -> bool:
    try:
        return (await storage.stat(key)).size == info.size
    except FileMissing:
        return False


async def copy_and_compare(source: FileStorage, target: FileStorage, key: str, info: FileInfo) -> None:
    """Copy one file; raises StorageFailed when what is read back is not what was read."""
    sent = hashlib.sha256()

    async def passing() -> AsyncIterator[bytes]:
        async for chunk in source.read(key):
            sent.update(chunk)
            yield chunk

    putting = asyncio.ensure_future(
        target.put(key, passing(), content_type=info.content_type, original_name=info.original_name)
    )
    try:
        await asyncio.shield(putting)
        if await digest(target.read(key)) != sent.digest():
            raise StorageFailed(f"the copy of {key!r} is not the same as the original")
    except BaseException:
        await asyncio.shield(undone(putting, target, key))
        raise
    # Whoever deletes a record looks into the store of that moment, which may have been the source alone.
    await source.stat(key)


async def undone(putting: asyncio.Future[None], target: FileStorage, key: str) -> None:
    """Delete what was not compared: it must not be there the next time.

    A thread that writes cannot be stopped, and would bring the file back behind the deletion.
    """
    await asyncio.gather(putting, return_exceptions=True)
    await target.delete(key)


async def digest(chunks: AsyncIterable[bytes]) -> bytes:
    found = hashlib.sha256()
    async for chunk in chunks:
        found.update(chunk)
    return found.digest()


async def delete_copied(source: FileStorage, target: FileStorage, progress: Progress) -> int:
    """Delete from `source` what `target` has; returns how many files that were."""
    keys = [key async for key in source.keys()]  # noqa: SIM118  # no dictionary
    deleted = 0
    for done, key in enumerate(keys, 1):
        try:
            info = await source.stat(key)
        except FileMissing:
            continue
        if await has(target, key, info):
            await source.delete(key)
            deleted += 1
        progress("deleted", done, len(keys))
    return deleted


async def move(
    store: ChosenFiles, settings: Settings, *, to: Goal, delete: bool, progress: Progress
) -> Moved:
    """Copy every file to another store, switch the setting, and copy what came in meanwhile.

    To a plugin's store, and out of it, nothing is switched: the configuration decides that with `files.store`.
    `delete` removes from the old store what the new one has. Raises StorageFailed and Invalid; what was
    copied by then stays, and is not copied again the next time.
    """
    own = store.own
    if to == "plugin" and own is None:
        raise StorageFailed("files.store names no plugin")
    uses_s3 = settings.current.s3.enabled
    if to == "s3" or (uses_s3 and (own is None or to == "plugin")) or own is None:
        await try_out(msgspec.structs.replace(settings.current.s3, enabled=True))
    remote: FileStorage = store.remote()
    if own is not None:
        source, target = (
            (store.named, own) if to == "plugin" else (own, remote if to == "s3" else store.local)
        )
    else:
        source, target = (store.local, remote) if to == "s3" else (remote, store.local)
    outcome = await copy_all(source, target, progress)
    if own is None and uses_s3 != (to == "s3"):
        await settings.change({"s3": {"enabled": to == "s3"}})
        later = await copy_all(source, target, progress)
        outcome.copied += later.copied
        outcome.copied_bytes += later.copied_bytes
    if delete:
        await delete_copied(source, target, progress)
    return outcome
