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

import msgspec

from groundplane.config import FilesConfig
from groundplane.db.engine import Database
from groundplane.errors import GroundplaneError
from groundplane.files.picture_process import Made, Order
from groundplane.files.storage import BadKey, FileInfo, FileMissing, FileStorage, StorageFailed

log = logging.getLogger(__name__)

MAX_SOURCE_BYTES = 64 * 1024 * 1024
MAKE_S = 20.0  # after that the process is killed; the slowest honest picture takes about a second
IDLE_S = 60.0  # a process that has nothing to do ends; the next one takes 0.1 s to start
FAILED_FOR_S = 600.0  # what could not be made is not tried again so soon
MAX_FAILED = 2000
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7))"
PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL")  # no secret of ours


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

    def __init__(self, db: Database, storage: FileStorage, config: FilesConfig) -> None:
        self._db = db
        self._storage = storage
        self._wait_s = config.thumb_wait_s
        self._free = [PictureProcess(config.thumb_max_pixels) for _ in range(config.thumb_workers)]
        self._all = tuple(self._free)
        self._slots = asyncio.Semaphore(config.thumb_workers)
        self._making: dict[str, asyncio.Task[FileInfo | None]] = {}
        self._failed: dict[str, float] = {}
        self._idle: asyncio.TimerHandle | None = None

    async def find(self, key: str, original: FileInfo, thumb_key: str, size: str) -> FileInfo | None:
        """Describe the thumb of the picture under `key`; None when there is none and none can be made."""
        try:
            return await self._storage.stat(thumb_key)
        except FileMissing:
            pass
        except (BadKey, StorageFailed):
            return None
        if self._failed.get(thumb_key, 0.0) > time.monotonic() or not self._all:
            return None
        task = self._making.get(thumb_key)
        if task is None:
            task = asyncio.create_task(self._make(key, original, thumb_key, size))
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

    async def _make(self, key: str, original: FileInfo, thumb_key: str, size: str) -> FileInfo | None:
        try:
            async with self._slot() as process, self._db.transaction():
                await self._db.execute(LOCK, thumb_key)
                try:
                    return await self._storage.stat(thumb_key)
                except FileMissing:
                    pass
                return await self._make_alone(process, key, original, thumb_key, size)
        except NotMade as problem:
            self._remember(thumb_key)
            log.warning("No thumb %s was made of %s: %s", size, key, problem)
        except TimeoutError:
            log.warning("No thumb %s was made of %s: too many others are being made", size, key)
        except (StorageFailed, FileMissing, GroundplaneError) as problem:
            log.warning("No thumb %s was made of %s: %s", size, key, problem)
        return None

    async def _make_alone(
        self, process: PictureProcess, key: str, original: FileInfo, thumb_key: str, size: str
    ) -> FileInfo | None:
        storage = self._storage
        if original.size > MAX_SOURCE_BYTES:
            raise NotMade(f"it is larger than {MAX_SOURCE_BYTES} bytes")
        content, kind = await process.make(storage.read(key), original.size, size)

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

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[PictureProcess]:
        """Wait for a process; raises TimeoutError."""
        async with asyncio.timeout(self._wait_s):
            await self._slots.acquire()
        # The one that was used last, so that the others can end.
        process = self._free.pop()
        try:
            yield process
        finally:
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
