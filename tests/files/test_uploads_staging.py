"""Where uploads wait: in a folder and in an object store, with the same outcome."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import shutil
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.files import rgw

from groundplane.config import UploadsConfig
from groundplane.db.engine import Database
from groundplane.errors import Unavailable
from groundplane.files.chosen import ChosenFiles
from groundplane.files.local import LocalFiles
from groundplane.files.s3 import S3Files
from groundplane.files.staging import LocalStaging, Place, StagingBusy
from groundplane.files.staging_segments import MAX_SMALL, MIN_JOINED, SegmentStaging
from groundplane.files.storage import STAGING, FileStorage, StorageFailed
from groundplane.files.uploads import QUERIES, Upload, Uploads, Wanted
from groundplane.settings.values import S3
from groundplane.testing.file_storage import keys_of, read_all
from groundplane.testing.s3 import S3Server, bucket_of, settings_for, start_s3, stop_s3

MIB = 1024 * 1024
LIMITS = UploadsConfig(max_bytes=1 << 40, caller_bytes=1 << 40, total_bytes=1 << 40)


async def pieces(content: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def content_of(size: int, seed: int = 1) -> bytes:
    block = bytes((seed + position * 7) % 251 for position in range(1009))
    return (block * (size // len(block) + 1))[:size]


async def finished(uploads: Uploads, content: bytes, *sizes: int) -> Upload:
    """Upload in requests of these sizes, the rest in one more."""
    upload, _ = await uploads.create(Wanted(len(content), "", "p"))
    for size in (*sizes, len(content)):
        part = content[upload.offset : upload.offset + size]
        if part:
            upload = await uploads.append(upload, upload.offset, pieces(part))
    assert upload.is_finished
    return upload


class UploadsSuite:
    """Subclass it and give it `storage` and `raw`, the store beneath it."""

    @pytest.fixture
    def uploads(self, db: Database, storage: FileStorage) -> Uploads:
        return Uploads(db, storage, LIMITS)

    @pytest.mark.parametrize("sizes", [(), (5,), (6 * MIB, 100), (MIB,) * 9], ids=str)
    async def test_what_came_in_pieces_is_one_file(
        self, uploads: Uploads, storage: FileStorage, sizes: tuple[int, ...]
    ) -> None:
        content = content_of(sum(sizes) + 6 * MIB + 17 if sizes else 12 * MIB + 5)
        upload = await finished(uploads, content, *sizes)
        assert await uploads.take(upload)
        await uploads.move(upload, "c/r/a.bin", content_type="image/png", original_name="ä b.bin")
        assert await read_all(storage, "c/r/a.bin") == content
        info = await storage.stat("c/r/a.bin")
        assert (info.size, info.content_type, info.original_name) == (len(content), "image/png", "ä b.bin")
        assert await keys_of(storage) == ["c/r/a.bin"]
        assert await self.waiting(storage) == []

    async def waiting(self, storage: FileStorage) -> list[str]:
        raise NotImplementedError

    async def test_an_empty_upload_is_an_empty_file(self, uploads: Uploads, storage: FileStorage) -> None:
        upload = await finished(uploads, b"")
        await uploads.move(upload, "c/r/a.bin", content_type="text/plain", original_name="")
        assert (await storage.stat("c/r/a.bin")).size == 0

    async def test_a_transaction_that_fails_leaves_the_upload(
        self, uploads: Uploads, db: Database, storage: FileStorage
    ) -> None:
        upload = await finished(uploads, b"hello")

        async def fail() -> None:
            async with db.transaction():
                assert await uploads.take(upload)
                await uploads.move(upload, "c/r/a.bin", content_type="", original_name="")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        await storage.delete("c/r/a.bin")
        assert await uploads.take(upload)
        await uploads.move(upload, "c/r/b.bin", content_type="", original_name="")
        assert await read_all(storage, "c/r/b.bin") == b"hello"

    async def test_an_upload_is_read_at_any_place_before_it_is_taken(self, uploads: Uploads) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("[Content_Types].xml", "<x/>")
            archive.writestr("pad", content_of(6 * MIB))
            archive.writestr("xl/sheet.xml", "<x/>")
        upload = await finished(uploads, out.getvalue(), 5_500_000)
        staged = await uploads.staged(upload)
        assert staged is not None
        assert staged.kind.extension == ".xlsx"
        assert b"".join([chunk async for chunk in staged.chunks()]) == out.getvalue()
        assert await asyncio.to_thread(staged.file.read) == out.getvalue()

    async def test_many_are_looked_at_at_once(self, uploads: Uploads) -> None:
        upload = await finished(uploads, b"PK\x03\x04" + content_of(MIB))
        async with asyncio.timeout(60):
            found = await asyncio.gather(*(uploads.staged(upload) for _ in range(40)))
        assert all(each is not None for each in found)

    async def test_bytes_that_were_not_noted_are_written_anew(
        self, uploads: Uploads, storage: FileStorage
    ) -> None:
        upload, _ = await uploads.create(Wanted(10, "", "p"))
        upload = await uploads.append(upload, 0, pieces(b"hello"))
        # As a crash between writing and noting leaves it.
        writer = await uploads._staging(upload.store).writer(upload.place, 10)
        await writer.write(b"WORLD")
        await writer.flush(last=True)
        await writer.close()
        upload = await uploads.append(upload, 5, pieces(b"world"))
        await uploads.move(upload, "c/r/a.bin", content_type="", original_name="")
        assert await read_all(storage, "c/r/a.bin") == b"helloworld"

    async def test_a_removed_upload_leaves_nothing(self, uploads: Uploads, storage: FileStorage) -> None:
        upload = await finished(uploads, content_of(6 * MIB), 1000)
        await uploads.remove(upload)
        assert await self.waiting(storage) == []


class TestInAFolder(UploadsSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> FileStorage:
        return LocalFiles(tmp_path)

    async def waiting(self, storage: FileStorage) -> list[str]:
        assert isinstance(storage, LocalFiles)
        return [path.name for path in (storage.root / STAGING).glob("*")]


class TestInAnObjectStoreThatCannotJoin(UploadsSuite):
    @pytest.fixture
    def storage(self, bucket: S3) -> FileStorage:
        return S3Files(bucket)

    async def waiting(self, storage: FileStorage) -> list[str]:
        return await keys_of(storage, f"{STAGING}/")


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rgw.Gateway]:
    yield from rgw.gateway(tmp_path_factory.mktemp("ceph"))


@pytest.mark.slow
class TestInCeph(UploadsSuite):
    @pytest.fixture
    def storage(self, ceph: rgw.Gateway) -> FileStorage:
        return S3Files(ceph.bucket())

    async def waiting(self, storage: FileStorage) -> list[str]:
        return await keys_of(storage, f"{STAGING}/")

    async def test_parts_are_joined_inside_the_store(
        self, uploads: Uploads, storage: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = content_of(16 * MIB + 3)
        upload = await finished(uploads, content, 5 * MIB)
        assert len(upload.segments) > 1

        async def refused(*_: Any, **__: Any) -> None:
            raise AssertionError("it was copied through the server")

        monkeypatch.setattr(storage, "put", refused)
        await uploads.move(upload, "c/r/a.bin", content_type="image/png", original_name="a")
        assert await read_all(storage, "c/r/a.bin") == content
        assert (await storage.stat("c/r/a.bin")).content_type == "image/png"


# A folder


async def test_a_file_system_without_second_names_gets_a_copy(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    storage = LocalFiles(tmp_path)
    uploads = Uploads(db, storage, LIMITS)
    upload = await finished(uploads, content_of(MIB))
    await uploads.move(upload, "c/r/a.bin", content_type="text/plain", original_name="a")
    assert await read_all(storage, "c/r/a.bin") == content_of(MIB)
    assert list((tmp_path / STAGING).iterdir()) == []


async def test_a_locked_file_has_one_writer(tmp_path: Path) -> None:
    staging = LocalStaging(LocalFiles(tmp_path))
    first = await staging.writer(Place("a", 0), 10)
    with pytest.raises(StagingBusy):
        await staging.writer(Place("a", 0), 10)
    await first.close()
    await (await staging.writer(Place("a", 0), 10)).close()


async def test_a_full_disk_is_told_and_what_fitted_is_kept(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploads(db, LocalFiles(tmp_path), LIMITS)
    upload, token = await uploads.create(Wanted(10, "", "p"))
    upload = await uploads.append(upload, 0, pieces(b"hello"))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(Unavailable):
            await uploads.append(upload, 5, pieces(b"world"))
    assert (await uploads.find(token, "")).offset == 5
    assert (await uploads.append(upload, 5, pieces(b"world"))).is_finished


# An object store


async def test_small_pieces_become_parts_that_a_store_can_join(db: Database, bucket: S3) -> None:
    storage = S3Files(bucket)
    uploads = Uploads(db, storage, LIMITS)
    upload, _ = await uploads.create(Wanted(12 * MIB, "", "p"))
    content = content_of(12 * MIB)
    while not upload.is_finished:
        start = upload.offset
        upload = await uploads.append(upload, start, pieces(content[start : start + 300_000]))
        sizes = [int(segment.partition("-")[0]) for segment in upload.segments]
        large = [size >= MIN_JOINED for size in sizes]
        assert large == sorted(large, reverse=True)
        assert large.count(False) <= MAX_SMALL
    assert [size >= MIN_JOINED for size in sizes][:-1] == [True] * (len(sizes) - 1)
    assert len(await keys_of(storage, f"{STAGING}/")) == len(upload.segments)


async def test_bytes_of_which_nobody_knows_whether_they_were_noted_are_kept(
    db: Database, bucket: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploads(db, S3Files(bucket), LIMITS)
    upload, token = await uploads.create(Wanted(10, "", "p"))
    upload = await uploads.append(upload, 0, pieces(b"hello"))
    fetch = db.fetchrow

    async def unanswered(sql: str, *args: object) -> Any:
        row = await fetch(sql, *args)
        if sql == QUERIES["advance"]:
            raise Unavailable
        return row

    with monkeypatch.context() as patch:
        patch.setattr(db, "fetchrow", unanswered)
        with pytest.raises(Unavailable):
            await uploads.append(upload, 5, pieces(b"world"))
    upload = await uploads.find(token, "")
    assert upload.is_finished
    staged = await uploads.staged(upload)
    assert staged is not None
    assert b"".join([chunk async for chunk in staged.chunks()]) == b"helloworld"


async def test_a_store_that_needs_the_same_threads_is_not_waited_for(tmp_path: Path) -> None:
    staging = SegmentStaging(LocalFiles(tmp_path))
    writer = await staging.writer(Place("a", 0), 10)
    await writer.write(b"PK\x03\x04" + content_of(MIB))
    place = Place("a", MIB + 4, tuple(await writer.flush(last=True)))
    await writer.close()
    async with asyncio.timeout(30):
        kinds = await asyncio.gather(*(staging.detect(place) for _ in range(40)))
    assert {kind.name for kind in kinds} == {"application/zip"}


async def test_very_many_tiny_pieces_are_put_together(tmp_path: Path) -> None:
    staging = SegmentStaging(LocalFiles(tmp_path))
    place = Place("a", 0)
    for number in range(MAX_SMALL + 5):
        writer = await staging.writer(place, 1000)
        await writer.write(b"x")
        segments = tuple(await writer.flush(last=False))
        await writer.settle()
        await writer.close()
        place = Place("a", number + 1, segments)
        assert len(segments) <= MAX_SMALL
    assert await asyncio.to_thread(staging.reader(place).read) == b"x" * (MAX_SMALL + 5)


async def test_a_store_that_goes_away_is_told_and_what_was_safe_is_kept(db: Database, tmp_path: Path) -> None:
    (tmp_path / "s3").mkdir()
    server = start_s3(tmp_path / "s3")
    try:
        settings = bucket_of(server)
        uploads = Uploads(db, S3Files(settings), LIMITS)
        upload, token = await uploads.create(Wanted(10, "", "p"))
        upload = await uploads.append(upload, 0, pieces(b"hello"))
    finally:
        stop_s3(server)
    with pytest.raises(Unavailable):
        await uploads.append(upload, 5, pieces(b"world"))
    with pytest.raises(StorageFailed):
        await uploads.move(upload, "c/r/a", content_type="", original_name="")
    assert (await uploads.find(token, "")).offset == 5
    server = start_s3(tmp_path / "s3", server.port)
    try:
        upload = await uploads.append(await uploads.find(token, ""), 5, pieces(b"world"))
        staged = await uploads.staged(upload)
        assert staged is not None
        assert b"".join([chunk async for chunk in staged.chunks()]) == b"helloworld"
    finally:
        stop_s3(server)


class FixedSettings:
    def __init__(self, s3: S3) -> None:
        self.s3 = s3

    @property
    def current(self) -> FixedSettings:
        return self


async def test_an_upload_that_began_in_one_store_ends_in_the_other(
    db: Database, tmp_path: Path, bucket: S3, s3_server: S3Server
) -> None:
    settings = FixedSettings(S3())
    storage = ChosenFiles(LocalFiles(tmp_path), settings)  # type: ignore[arg-type]
    uploads = Uploads(db, storage, LIMITS)
    upload, _ = await uploads.create(Wanted(10, "", "p"))
    upload = await uploads.append(upload, 0, pieces(b"hello"))
    settings.s3 = bucket
    upload = await uploads.append(upload, 5, pieces(b"world"))
    await uploads.move(upload, "c/r/a.bin", content_type="text/plain", original_name="a")
    assert await read_all(S3Files(bucket), "c/r/a.bin") == b"helloworld"
    remote = await finished(uploads, b"and back")
    settings.s3 = settings_for(s3_server, bucket.bucket)
    settings.s3.enabled = False
    await uploads.move(remote, "c/r/b.bin", content_type="text/plain", original_name="b")
    assert await read_all(LocalFiles(tmp_path), "c/r/b.bin") == b"and back"
    assert await keys_of(S3Files(bucket)) == ["c/r/a.bin"]
    assert await keys_of(S3Files(bucket), f"{STAGING}/") == []
    shutil.rmtree(tmp_path)
