"""Thumbs: made once, in a process with limits, stored beside the picture, or not at all."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from groundplane.config import FilesConfig
from groundplane.db.engine import Database
from groundplane.files import thumbs
from groundplane.files.local import LocalFiles
from groundplane.files.storage import FileInfo, FileMissing, StorageFailed
from groundplane.files.thumbs import Original, Thumbs
from groundplane.schema.collection import Collection
from groundplane.testing.file_storage import chunks, keys_of, read_all

KEY, THUMB = "c/r/a.png", "c/r/thumbs_a.png/20x20_a.png"


def png(width: int = 64, height: int = 48, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 40).convert("RGB").save(out, kind)
    return out.getvalue()


PICTURE = png()


class CountingFiles(LocalFiles):
    """Counts what is written, and how often the original is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written: list[str] = []
        self.reads = 0
        self.reading = asyncio.Event()

    async def put(self, key: str, chunks: AsyncIterable[bytes], **more: Any) -> None:
        self.written.append(key)
        await super().put(key, chunks, **more)

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self.reads += 1
        self.reading.set()
        async for chunk in super().read(key, start, length):
            yield chunk


@pytest.fixture
async def storage(tmp_path: Path) -> CountingFiles:
    found = CountingFiles(tmp_path)
    await found.put(KEY, chunks(png()), content_type="image/png")
    found.written.clear()
    return found


@pytest.fixture
async def maker(db: Database, storage: CountingFiles) -> AsyncIterator[Thumbs]:
    found = Thumbs(db, storage, FilesConfig())
    yield found
    await found.close()


async def find(
    maker: Thumbs, storage: LocalFiles, thumb: str = THUMB, size: str = "20x20", key: str = KEY
) -> FileInfo | None:
    collection, record_id, name = key.split("/")
    original = Original(
        key, await storage.stat(key), Collection(id=collection, name=collection), record_id, name
    )
    return await maker.find(original, thumb, size)


async def test_a_missing_thumb_is_made_and_kept(maker: Thumbs, storage: CountingFiles) -> None:
    info = await find(maker, storage)
    assert info is not None
    assert info.content_type == "image/png"
    content = await read_all(storage, THUMB)
    assert (Image.open(io.BytesIO(content)).size, len(content)) == ((20, 20), info.size)
    assert await find(maker, storage) == info
    assert storage.written == [THUMB]


async def test_two_hundred_requests_in_two_processes_make_a_thumb_once(
    db: Database, database_url: str, storage: CountingFiles, maker: Thumbs
) -> None:
    other_db = await Database.connect(database_url, min_size=1, max_size=4)
    other = Thumbs(other_db, storage, FilesConfig())
    try:
        found = await asyncio.gather(*(find(each, storage) for each in [maker, other] * 100))
    finally:
        await other.close()
        await other_db.close()
    assert len(set(found)) == 1
    assert found[0] is not None
    assert storage.written == [THUMB]
    assert storage.reads == 1


async def test_who_goes_away_leaves_the_others_their_thumb(maker: Thumbs, storage: CountingFiles) -> None:
    first = asyncio.create_task(find(maker, storage))
    second = asyncio.create_task(find(maker, storage))
    await storage.reading.wait()
    first.cancel()
    assert await second is not None
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_cannot_be_made_is_not_tried_again_at_once(maker: Thumbs, storage: CountingFiles) -> None:
    await storage.put(KEY, chunks(b"\x89PNG\r\n\x1a\nand nothing else"), content_type="image/png")
    assert await find(maker, storage) is None
    assert await find(maker, storage) is None
    assert storage.reads == 1
    assert await keys_of(storage) == [KEY]


async def test_the_process_makes_the_next_thumb_after_a_damaged_picture(
    maker: Thumbs, storage: CountingFiles
) -> None:
    await storage.put("c/r/b.png", chunks(png()[:300]), content_type="image/png")
    assert await find(maker, storage, THUMB + "b", key="c/r/b.png") is None
    assert await find(maker, storage) is not None


async def test_a_picture_with_too_many_pixels_has_no_thumb(db: Database, storage: CountingFiles) -> None:
    maker = Thumbs(db, storage, FilesConfig(thumb_max_pixels=1000))
    try:
        assert await find(maker, storage) is None
    finally:
        await maker.close()


async def test_a_process_that_takes_too_long_is_ended_and_replaced(
    maker: Thumbs, storage: CountingFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    process = maker._all[0]
    with monkeypatch.context() as patch:
        patch.setattr(thumbs, "MAKE_S", 0.5)
        with pytest.raises(thumbs.NotMade, match="longer"):
            await process.make(never(), 100, "20x20")
    assert (await process.make(chunks(PICTURE), len(PICTURE), "20x20"))[1] == "image/png"


async def test_a_process_that_was_killed_is_replaced(maker: Thumbs, storage: CountingFiles) -> None:
    process = maker._all[0]
    await process.make(chunks(PICTURE), len(PICTURE), "20x20")
    running = process._process
    assert running is not None
    running.kill()
    await running.wait()
    assert (await process.make(chunks(PICTURE), len(PICTURE), "20x20"))[1] == "image/png"


@pytest.mark.parametrize("length", [5, 10_000_000])
async def test_a_file_that_has_another_size_than_it_said_does_not_confuse_the_process(
    maker: Thumbs, length: int
) -> None:
    process = maker._all[0]
    with pytest.raises(thumbs.NotMade):
        await process.make(chunks(PICTURE), length, "20x20")
    assert (await process.make(chunks(PICTURE), len(PICTURE), "20x20"))[1] == "image/png"


async def test_the_process_can_open_no_file_and_knows_no_secret(
    maker: Thumbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDPLANE_SECURITY__ENCRYPTION_KEY", "k" * 32)
    process = maker._all[0]
    await process.make(chunks(PICTURE), len(PICTURE), "20x20")
    running = process._process
    assert running is not None
    folder = Path(f"/proc/{running.pid}")
    assert b"GROUNDPLANE" not in (folder / "environ").read_bytes()
    limits = (folder / "limits").read_text()
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")] == ["3"]
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max file size")] == ["0"]


async def test_a_thumb_of_what_was_deleted_meanwhile_is_deleted_too(
    db: Database, storage: CountingFiles
) -> None:
    class Racing(CountingFiles):
        async def put(self, key: str, chunks: AsyncIterable[bytes], **more: Any) -> None:
            await self.delete(KEY)
            await super().put(key, chunks, **more)

    maker = Thumbs(db, Racing(storage.root), FilesConfig())
    try:
        assert await find(maker, storage) is None
    finally:
        await maker.close()
    assert await keys_of(storage) == []


async def test_a_store_that_fails_gives_no_thumb_and_is_asked_again(
    db: Database, storage: CountingFiles
) -> None:
    class Full(CountingFiles):
        async def put(self, key: str, chunks: AsyncIterable[bytes], **more: Any) -> None:
            raise StorageFailed("no space")

    maker = Thumbs(db, Full(storage.root), FilesConfig())
    try:
        assert await find(maker, storage) is None
        maker._storage = storage
        assert await find(maker, storage) is not None
    finally:
        await maker.close()


async def test_no_worker_makes_none_and_finds_those_that_are_there(
    db: Database, storage: CountingFiles
) -> None:
    maker = Thumbs(db, storage, FilesConfig(thumb_workers=0))
    assert await find(maker, storage) is None
    await storage.put(THUMB, chunks(b"thumb"), content_type="image/png")
    assert await find(maker, storage) is not None
    await maker.close()


async def test_the_processes_end_with_the_service(maker: Thumbs, storage: CountingFiles) -> None:
    await find(maker, storage)
    running = [each._process for each in maker._all if each._process is not None]
    assert running
    await maker.close()
    assert all(process.returncode is not None for process in running)
    with pytest.raises(FileMissing):
        await storage.stat("c/r/other")
