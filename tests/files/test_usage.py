"""How many files there are, as the last count has found it."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.testing import clock as clocks
from groundplane.testing.clock import FrozenClock
from groundplane.testing.file_storage import chunks
from groundplane.testing.server import Server

clock = clocks.clock


@pytest.fixture
async def app(server: Server) -> Server:
    storage = server.services.files.storage
    for key, content in (
        ("posts/r1/a_1.png", b"12345"),
        ("posts/r1/thumbs_a_1.png/10x10_a_1.png", b"12"),
        ("posts/r2/b_1.png", b"123"),
        ("gone/r1/c.txt", b"1"),
        ("elsewhere", b"none of ours"),
    ):
        await storage.put(key, chunks(content), content_type="text/plain")
    return server


async def test_files_and_thumbs_are_counted_by_collection(app: Server, clock: FrozenClock) -> None:
    usage = app.services.files.usage
    assert await usage.last() == (None, [])
    found = await usage.count()
    assert found.measured == clock.now()
    assert found.collections == [("posts", 2, 8, 1, 2), ("gone", 1, 1, 0, 0)]
    assert await usage.last() == found
    await app.services.files.storage.delete_prefix("gone/")
    assert (await usage.last()) == found
    assert (await usage.count()).collections == [("posts", 2, 8, 1, 2)]


async def test_reading_the_count_does_not_look_at_the_store(app: Server, monkeypatch: Any) -> None:
    usage = app.services.files.usage
    await usage.count()
    monkeypatch.delattr(type(app.services.files.storage), "sizes")
    assert len((await usage.last()).collections) == 2


async def test_a_count_that_took_long_is_not_repeated_soon(app: Server, clock: FrozenClock) -> None:
    usage = app.services.files.usage
    await usage.count_if_due()
    first = (await usage.last()).measured
    await app.services.db.execute('UPDATE "_file_usage" SET "took_s" = 60')
    clock.travel(hours=1)
    await usage.count_if_due()
    assert (await usage.last()).measured == first
    clock.travel(hours=3)
    await usage.count_if_due()
    assert (await usage.last()).measured == clock.now()


async def test_an_empty_store_is_counted_too(server: Server) -> None:
    found = await server.services.files.usage.count()
    assert (found.measured is not None, found.collections) == (True, [])
