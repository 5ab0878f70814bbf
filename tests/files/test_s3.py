"""The S3 store: the shared suite, and what is particular to an object store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from groundplane.files import s3
from groundplane.files.s3 import S3Files, connect, try_out
from groundplane.files.storage import FileStorage, StorageFailed
from groundplane.settings.values import S3
from groundplane.testing.file_storage import BIG, FileStorageSuite, chunks, keys_of, read_all
from groundplane.testing.s3 import Cutting, S3Server, bucket_of, settings_for, start_s3, stop_s3


class TestS3Files(FileStorageSuite):
    @pytest.fixture
    def storage(self, bucket: S3) -> FileStorage:
        return S3Files(bucket)

    async def test_a_file_of_several_parts_is_stored_whole(self, storage: FileStorage) -> None:
        content = BIG * 15  # 12 MB: three parts of a multipart upload
        await storage.put("c/r/big", chunks(content, 1_000_000), content_type="video/mp4")
        assert await read_all(storage, "c/r/big") == content
        assert (await storage.stat("c/r/big")).content_type == "video/mp4"
        assert await read_all(storage, "c/r/big", 11_000_000, 5) == content[11_000_000:11_000_005]

    async def test_who_stops_reading_leaves_no_connection_behind(self, storage: FileStorage) -> None:
        await storage.put("k", chunks(BIG))
        for _ in range(s3.THREADS + 4):
            reading = storage.read("k")
            assert await anext(reading)
            await reading.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert await read_all(storage, "k") == BIG


async def every_call(storage: S3Files) -> list[object]:
    """The outcome of every method."""

    async def first() -> bytes:
        return await anext(storage.read("k"))

    return await asyncio.gather(
        storage.put("k", chunks(b"x")),
        storage.stat("k"),
        first(),
        storage.delete("k"),
        storage.delete_prefix("c/"),
        keys_of(storage),
        return_exceptions=True,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "wrong"},
        {"access_key": "nobody"},
        {"bucket": "x"},
        {"endpoint": "not an address"},
        {"endpoint": "http://127.0.0.1:1"},
        {"endpoint": "ftp://127.0.0.1"},
        {"endpoint": "http://127.0.0.1:1/with/a/path"},
        {"endpoint": ""},
    ],
    ids=str,
)
async def test_every_call_of_a_store_that_does_not_work_says_so(bucket: S3, change: dict[str, str]) -> None:
    storage = S3Files(msgspec.structs.replace(bucket, **change))
    outcomes = await every_call(storage)
    assert [type(outcome) for outcome in outcomes] == [StorageFailed] * 6
    assert all(bucket.secret not in f"{outcome} {storage!r}" for outcome in outcomes)


async def test_a_bucket_that_is_not_there_fails_and_is_not_an_empty_one(bucket: S3) -> None:
    storage = S3Files(msgspec.structs.replace(bucket, bucket="missing-bucket"))
    with pytest.raises(StorageFailed):
        await keys_of(storage)


async def test_a_store_that_goes_away_and_comes_back_is_used_again(tmp_path: Path) -> None:
    server = start_s3(tmp_path)
    try:
        storage = S3Files(bucket_of(server))
        await storage.put("k", chunks(b"before"))
        stop_s3(server)
        with pytest.raises(StorageFailed):
            await storage.put("k2", chunks(b"meanwhile"))
        with pytest.raises(StorageFailed):
            await read_all(storage, "k")
        server = start_s3(tmp_path, server.port)
        assert await read_all(storage, "k") == b"before"
        assert await keys_of(storage) == ["k"]
    finally:
        stop_s3(server)


async def test_what_others_put_into_the_bucket_is_read_listed_by_pages_and_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "bucket" / "c"
    folder.mkdir(parents=True)
    names = [f"{number:05}" for number in range(s3.PAGE + 5)]
    for name in names:
        (folder / name).write_bytes(name.encode())
    # As it stands in a folder that was copied there.
    (folder / "00001.attrs").write_bytes(b"{}")
    server = start_s3(tmp_path)
    try:
        storage = S3Files(settings_for(server, "bucket"))
        assert await keys_of(storage) == [f"c/{name}" for name in names]
        assert await read_all(storage, "c/00003") == b"00003"
        await storage.delete_prefix("c/")
        assert await keys_of(storage) == []
    finally:
        stop_s3(server)


@pytest.fixture
def cutting(s3_server: S3Server) -> Iterator[list[Cutting]]:
    found: list[Cutting] = []
    yield found
    for each in found:
        each.close()


async def test_a_download_that_breaks_off_is_an_error_and_not_a_shorter_file(
    bucket: S3, s3_server: S3Server, cutting: list[Cutting]
) -> None:
    await S3Files(bucket).put("k", chunks(BIG))
    cutting.append(Cutting(s3_server.port, answer=300_000))
    storage = S3Files(msgspec.structs.replace(bucket, endpoint=f"http://127.0.0.1:{cutting[0].port}"))
    with pytest.raises(StorageFailed):
        await read_all(storage, "k")


async def test_an_upload_that_breaks_off_leaves_no_half_file(
    bucket: S3, s3_server: S3Server, cutting: list[Cutting]
) -> None:
    cutting.append(Cutting(s3_server.port, request=300_000))
    storage = S3Files(msgspec.structs.replace(bucket, endpoint=f"http://127.0.0.1:{cutting[0].port}"))
    with pytest.raises(StorageFailed):
        await storage.put("k", chunks(BIG))
    # rclone shows what it has until it notices that the rest does not come.
    async with asyncio.timeout(10):
        while await keys_of(S3Files(bucket)):  # noqa: ASYNC110  # another program's doing
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("endpoint", "forced", "host"),
    [
        ("https://s3.example.com", False, "files.s3.example.com"),
        ("https://s3.example.com", True, "s3.example.com"),
        ("s3.example.com", False, "files.s3.example.com"),
        ("http://127.0.0.1:9000", False, "127.0.0.1:9000"),
        ("http://[::1]:9000", False, "[::1]:9000"),
        ("http://minio:9000", False, "minio:9000"),
    ],
)
def test_the_bucket_stands_before_the_host_unless_that_cannot_be(
    endpoint: str, forced: bool, host: str
) -> None:
    settings = S3(
        bucket="files", region="r", endpoint=endpoint, access_key="a", secret="s", force_path_style=forced
    )
    assert f"//{host}/" in connect(settings).presigned_get_object("files", "k")


async def test_trying_out_leaves_nothing_in_the_bucket(bucket: S3) -> None:
    await try_out(bucket)
    assert await keys_of(S3Files(bucket)) == []
    with pytest.raises(StorageFailed, match="not enabled"):
        await try_out(msgspec.structs.replace(bucket, enabled=False))


async def test_a_broken_upload_sends_nothing(bucket: S3) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield BIG
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await S3Files(bucket).put("k", broken())
    assert await keys_of(S3Files(bucket)) == []
