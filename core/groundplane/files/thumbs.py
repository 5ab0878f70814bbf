"""Thumbs of pictures: made when they are first asked for, once, however many ask in however many processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import msgspec

from groundplane.config import FilesConfig
from groundplane.db.engine import Database
from groundplane.errors import GroundplaneError
from groundplane.files.mime import bare
from groundplane.files.picture_process import Made, Order
from groundplane.files.storage import BadKey, FileInfo, FileMissing, FileStorage, StorageFailed
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events_files import Thumb, ThumbGenerate
from groundplane.hooks.implementation import PluginFailed
from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)

MAX_SOURCE_BYTES = 64 * 1024 * 1024
MAKE_S = 20.0  # after that the process is killed; the slowest honest picture takes about a second
IDLE_S = 60.0  # a process that has nothing to do ends; the next one takes 0.1 s to start
FAILED_FOR_S = 600.0  # what could not be made is not tried again so soon
MAX_FAILED = 2000
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7))"
PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL")  # no secret of ours


# AVIF is ours: PocketBase sends the original.
TYPES = frozenset({"image/avif", "image/gif", "image/jpeg", "image/jpg", "image/png", "image/webp"})
MAX_THUMB_BYTES = 16 * 1024 * 1024  # of what a plugin makes


class Original(NamedTuple):
    """The file that a thumb is made of, and whose it is."""

    key: str
    info: FileInfo
    collection: Collection
    record_id: str
    name: str


class NotMade(Exception):
    """There is no thumb, for a reason that will be the same the next time."""


class PictureProcess:
    """One process of `picture_process.py`, started when it is first needed."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._process: asyncio.subprocess.Process | None = None

    async def make(self, chunks: AsyncIterator[bytes], length: int, size: str) -> tuple[bytes, str]:
        """Return a thumb and its type; raises NotMade and what `chunks` raises."""
        try:
            async with asyncio.timeout(MAKE_S):
                return await self._made(chunks, length, size)
        except TimeoutError:
            self.kill()
            raise NotMade(f"it took longer than {MAKE_S:.0f} s") from None
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            self.kill()
            raise NotMade("the process that decodes pictures ended, or its input did") from None
        except NotMade:
            raise
        except BaseException:
            # It waits for the rest of a picture that does not come.
            self.kill()
            raise

    async def _made(self, chunks: AsyncIterator[bytes], length: int, size: str) -> tuple[bytes, str]:
        process = await self._running()
        if process.stdin is None or process.stdout is None:
            raise ConnectionResetError
        process.stdin.write(msgspec.json.encode(Order(length, size)) + b"\n")
        left = length
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            process.stdin.write(chunk)
            await process.stdin.drain()
        if left:
            raise ValueError("the file has another size than it had")
        answer = msgspec.json.decode(await process.stdout.readline(), type=Made)
        if not answer.length:
            raise NotMade(answer.problem)
        return await process.stdout.readexactly(answer.length), answer.content_type

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "groundplane.files.picture_process", str(self._max_pixels)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
            start_new_session=True,  # Ctrl-C is for the supervisor
        )
        if self._process.stdout is not None:
            await self._process.stdout.readline()  # it is ready
        return self._process

    def kill(self) -> None:
        """End the process, whatever it does; the next picture starts another one."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def close(self) -> None:
        """End the process and wait for its end."""
        process = self._process
        self.kill()
        if process is not None:
            await process.wait()


class Thumbs:
    """Finds thumbs, and makes those that are missing.

    A process makes a thumb once, however many requests wait for it; an advisory lock in the database keeps
    the other processes, on other machines too, from making it at the same time.
    """

    def __init__(
        self, db: Database, storage: FileStorage, config: FilesConfig, hooks: Hooks | None = None
    ) -> None:
        self._db = db
        self._storage = storage
        self._hook = (hooks or Hooks()).thumb_generate
        self._wait_s = config.thumb_wait_s
        self._free = [PictureProcess(config.thumb_max_pixels) for _ in range(config.thumb_workers)]
        self._all = tuple(self._free)
        self._slots = asyncio.Semaphore(max(config.thumb_workers, 1))
        self._making: dict[str, asyncio.Task[FileInfo | None]] = {}
        self._failed: dict[str, float] = {}
        self._idle: asyncio.TimerHandle | None = None

    def may_make(self, content_type: str) -> bool:
        """Whether a file of this type can have thumbs: it is a picture, or plugins may make something of it."""
        return bool(self._hook) or bare(content_type) in TYPES

    async def find(self, original: Original, thumb_key: str, size: str) -> FileInfo | None:
        """Describe the thumb of a file; None when there is none and none can be made."""
        try:
            return await self._storage.stat(thumb_key)
        except FileMissing:
            pass
        except (BadKey, StorageFailed):
            return None
        if self._failed.get(thumb_key, 0.0) > time.monotonic() or not (self._all or self._hook):
            return None
        task = self._making.get(thumb_key)
        if task is None:
            task = asyncio.create_task(self._make(original, thumb_key, size))
            self._making[thumb_key] = task
            task.add_done_callback(lambda _: self._making.pop(thumb_key, None))
        # Who goes away leaves the others their thumb.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End the processes; thumbs that are being made are given up."""
        if self._idle is not None:
            self._idle.cancel()
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for process in self._all:
            await process.close()

    async def _make(self, original: Original, thumb_key: str, size: str) -> FileInfo | None:
        key = original.key
        try:
            async with self._slot() as process, self._db.transaction():
                await self._db.execute(LOCK, thumb_key)
                try:
                    return await self._storage.stat(thumb_key)
                except FileMissing:
                    pass
                return await self._make_alone(process, original, thumb_key, size)
        except (NotMade, PluginFailed) as problem:
            self._remember(thumb_key)
            log.warning("No thumb %s was made of %s: %s", size, key, problem)
        except TimeoutError:
            log.warning("No thumb %s was made of %s: too many others are being made", size, key)
        except (StorageFailed, FileMissing, GroundplaneError) as problem:
            log.warning("No thumb %s was made of %s: %s", size, key, problem)
        return None

    async def _make_alone(
        self, process: PictureProcess | None, original: Original, thumb_key: str, size: str
    ) -> FileInfo | None:
        storage, key = self._storage, original.key
        made = await self._made_by_plugins(original, size) if self._hook else None
        content, kind = made or await self._scaled(process, original, size)

        async def whole() -> AsyncIterator[bytes]:
            yield content

        await storage.put(thumb_key, whole(), content_type=kind)
        log.debug("Made the thumb %s", thumb_key)
        try:
            await storage.stat(key)
        except FileMissing:
            # The original was deleted meanwhile, and its thumbs before this one was there.
            await storage.delete(thumb_key)
            return None
        return await storage.stat(thumb_key)

    async def _scaled(
        self, process: PictureProcess | None, original: Original, size: str
    ) -> tuple[bytes, str]:
        """Have a process of ours make the thumb; raises NotMade."""
        info = original.info
        if bare(info.content_type) not in TYPES or process is None:
            raise NotMade("nobody makes thumbs of it here")
        if info.size > MAX_SOURCE_BYTES:
            raise NotMade(f"it is larger than {MAX_SOURCE_BYTES} bytes")
        return await process.make(self._storage.read(original.key), info.size, size)

    async def _made_by_plugins(self, original: Original, size: str) -> tuple[bytes, str] | None:
        """A thumb as a plugin makes it; None when all leave it to us. Raises PluginFailed."""
        info = original.info
        event = ThumbGenerate(
            collection=original.collection,
            record_id=original.record_id,
            name=original.name,
            size=size,
            content_type=info.content_type,
            file_size=info.size,
            content=partial(self._storage.read, original.key),
        )
        found = await self._hook.ask(about=original.collection, event=event)
        if found is None:
            return None
        by, thumb = found
        if not isinstance(thumb, Thumb) or not isinstance(thumb.content, bytes):
            raise by.failed(f"it returned {type(thumb).__name__}, not a Thumb")
        if thumb.content_type not in TYPES or not 0 < len(thumb.content) <= MAX_THUMB_BYTES:
            raise by.failed(f"a thumb is a picture of at most {MAX_THUMB_BYTES} bytes")
        return thumb.content, thumb.content_type

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[PictureProcess | None]:
        """Wait for a turn, with a process if there are any; raises TimeoutError."""
        async with asyncio.timeout(self._wait_s):
            await self._slots.acquire()
        # The one that was used last, so that the others can end.
        process = self._free.pop() if self._free else None
        try:
            yield process
        finally:
            if process is not None:
                self._free.append(process)
            self._slots.release()
            if self._idle is not None:
                self._idle.cancel()
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._end_idle)

    def _end_idle(self) -> None:
        for process in self._free:
            process.kill()

    def _remember(self, thumb_key: str) -> None:
        if len(self._failed) >= MAX_FAILED:
            self._failed.pop(next(iter(self._failed)))
        self._failed[thumb_key] = time.monotonic() + FAILED_FOR_S
