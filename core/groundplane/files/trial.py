"""Tries a file store out with a small file of its own: written, read, listed and deleted, each step timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from groundplane.files.storage import FileMissing, FileStorage, StorageFailed
from groundplane.security.ids import random_text

CONTENT = b"A file of a test of this store; it may be deleted.\n"
LIMIT_S = 20.0  # for each step


class Step(NamedTuple):
    """`name` is write, read, list or delete; `problem` is "" where it worked."""

    name: str
    ms: float
    problem: str = ""


async def try_store(store: FileStorage) -> list[Step]:
    """Do the steps one after another; the last one is the first that failed, or delete."""
    folder = f"gp_test_{random_text(10)}"
    key = f"{folder}/test.txt"

    async def content() -> AsyncIterator[bytes]:
        yield CONTENT

    async def write() -> None:
        await store.put(key, content(), content_type="text/plain")

    async def read() -> None:
        if b"".join([chunk async for chunk in store.read(key)]) != CONTENT:
            raise StorageFailed("what was read is not what was written")

    async def find() -> None:
        if [each async for each in store.keys(f"{folder}/")] != [key]:
            raise StorageFailed("the new file is not in the list")

    async def delete() -> None:
        await store.delete(key)

    steps: list[Step] = []
    works: tuple[tuple[str, Callable[[], Awaitable[None]]], ...]
    works = (("write", write), ("read", read), ("list", find), ("delete", delete))
    for name, work in works:
        began = time.monotonic()
        problem = ""
        try:
            async with asyncio.timeout(LIMIT_S):
                await work()
        except StorageFailed as error:
            problem = str(error)
        except FileMissing:
            problem = "the new file is not there"
        except TimeoutError:
            problem = f"no answer within {LIMIT_S:g} s"
        steps.append(Step(name, (time.monotonic() - began) * 1000, problem))
        if problem:
            if name in ("read", "list"):
                await leave_nothing(store, key)
            break
    return steps


async def leave_nothing(store: FileStorage, key: str) -> None:
    try:
        async with asyncio.timeout(LIMIT_S):
            await store.delete(key)
    except (StorageFailed, TimeoutError):
        return  # it was said already that the store does not work
