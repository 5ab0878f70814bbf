"""What every file store must do, as tests: subclass the suite and give it a `storage` fixture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from groundplane.clock import now
from groundplane.files.storage import BadKey, FileMissing, FileStorage

BIG = b"0123456789abcdef" * 50_000  # several chunks


async def chunks(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    """Yield the content in pieces, as an upload arrives."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read_all(storage: FileStorage, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in storage.read(key, start, length)])


async def keys_of(storage: FileStorage, prefix: str = "") -> list[str]:
    return [key async for key in storage.keys(prefix)]


async def broken() -> AsyncIterator[bytes]:
    yield b"half of it"
    raise ConnectionResetError("the client went away")


class FileStorageSuite:
    """Subclass it and give it a `storage` fixture with an empty store."""

    async def test_what_was_put_is_read(self, storage: FileStorage) -> None:
        await storage.put("c/r/a.bin", chunks(BIG))
        assert await read_all(storage, "c/r/a.bin") == BIG

    async def test_an_empty_file_is_a_file(self, storage: FileStorage) -> None:
        await storage.put("c/r/empty", chunks(b""))
        assert await read_all(storage, "c/r/empty") == b""
        assert (await storage.stat("c/r/empty")).size == 0

    async def test_put_replaces_the_earlier_file(self, storage: FileStorage) -> None:
        await storage.put("k", chunks(b"long first version"), content_type="text/plain")
        await storage.put("k", chunks(b"short"), content_type="text/html")
        assert await read_all(storage, "k") == b"short"
        assert (await storage.stat("k")).content_type == "text/html"

    async def test_type_name_size_and_date_are_kept(self, storage: FileStorage) -> None:
        before = now().replace(microsecond=0)
        await storage.put(
            "k", chunks(b"12345"), content_type="text/plain; charset=utf-8", original_name="ä b.txt"
        )
        info = await storage.stat("k")
        assert (info.size, info.content_type, info.original_name) == (
            5,
            "text/plain; charset=utf-8",
            "ä b.txt",
        )
        assert abs((info.modified - before).total_seconds()) < 60
        assert info.modified.microsecond == 0

    async def test_a_file_without_a_type_is_unknown_bytes(self, storage: FileStorage) -> None:
        await storage.put("k", chunks(b"x"))
        assert (await storage.stat("k")).content_type == "application/octet-stream"

    @pytest.mark.parametrize(
        ("start", "length", "part"),
        [(0, 3, b"012"), (3, 4, b"3456"), (8, None, b"89"), (8, 100, b"89"), (10, None, b""), (2, 0, b"")],
    )
    async def test_a_part_of_a_file_is_read(
        self, storage: FileStorage, start: int, length: int | None, part: bytes
    ) -> None:
        await storage.put("k", chunks(b"0123456789"))
        assert await read_all(storage, "k", start, length) == part

    async def test_reading_a_missing_key_raises_file_missing(self, storage: FileStorage) -> None:
        with pytest.raises(FileMissing):
            await read_all(storage, "nowhere")
        with pytest.raises(FileMissing):
            await storage.stat("no/where")

    async def test_a_folder_is_not_a_file(self, storage: FileStorage) -> None:
        await storage.put("c/r/a", chunks(b"x"))
        with pytest.raises(FileMissing):
            await storage.stat("c/r")
        with pytest.raises(FileMissing):
            await read_all(storage, "c")

    async def test_a_deleted_file_is_gone_and_deleting_it_again_is_no_error(
        self, storage: FileStorage
    ) -> None:
        await storage.put("c/r/a", chunks(b"x"), content_type="text/plain")
        await storage.delete("c/r/a")
        await storage.delete("c/r/a")
        await storage.delete("never/was")
        assert await keys_of(storage) == []

    async def test_deleting_a_prefix_leaves_its_neighbours(self, storage: FileStorage) -> None:
        for key in ("c/r/a", "c/r/thumbs_a/1_a", "c/r2/b", "c2/r/c"):
            await storage.put(key, chunks(b"x"), content_type="text/plain")
        await storage.delete_prefix("c/r/")
        await storage.delete_prefix("c/r/")
        assert await keys_of(storage) == ["c/r2/b", "c2/r/c"]

    async def test_keys_are_listed_sorted_by_prefix(self, storage: FileStorage) -> None:
        for key in ("b/2", "a/1", "b/1"):
            await storage.put(key, chunks(b"x"), content_type="text/plain")
        assert await keys_of(storage) == ["a/1", "b/1", "b/2"]
        assert await keys_of(storage, "b/") == ["b/1", "b/2"]
        assert await keys_of(storage, "z/") == []

    async def test_sizes_come_with_the_keys(self, storage: FileStorage) -> None:
        for key, content in (("c/r/a", b"12345"), ("c/r/thumbs_a/1_a", b""), ("c2/r/b", b"1")):
            await storage.put(key, chunks(content), content_type="text/plain")
        found = sorted([each async for each in storage.sizes()])
        assert found == [("c/r/a", 5), ("c/r/thumbs_a/1_a", 0), ("c2/r/b", 1)]
        assert [each async for each in storage.sizes("c2/")] == [("c2/r/b", 1)]

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "a/./b",
            "a\x00b",
            "a\\b",
            "k.attrs",
            "x" * 2000,
        ],
    )
    async def test_a_key_that_cannot_name_a_file_is_refused(self, storage: FileStorage, key: str) -> None:
        with pytest.raises(BadKey):
            await storage.put(key, chunks(b"x"))
        with pytest.raises(BadKey):
            await storage.stat(key)
        with pytest.raises(BadKey):
            await read_all(storage, key)
        with pytest.raises(BadKey):
            await storage.delete(key)

    @pytest.mark.parametrize("prefix", ["", "/", "a", "../", "a/../", "//"])
    async def test_a_prefix_that_is_no_folder_is_not_deleted(self, storage: FileStorage, prefix: str) -> None:
        await storage.put("a/b", chunks(b"x"))
        with pytest.raises(BadKey):
            await storage.delete_prefix(prefix)
        assert await keys_of(storage) == ["a/b"]

    async def test_unusual_names_survive(self, storage: FileStorage) -> None:
        names = ["c/r/späße 1+2.txt", "c/r/line\nbreak", "c/r/%2e%2e", "c/r/.hidden"]
        for name in names:
            await storage.put(name, chunks(name.encode()), content_type="text/plain")
        assert await keys_of(storage) == sorted(names)
        for name in names:
            assert await read_all(storage, name) == name.encode()

    async def test_a_broken_upload_leaves_nothing(self, storage: FileStorage) -> None:
        with pytest.raises(ConnectionResetError):
            await storage.put("c/r/a", broken())
        with pytest.raises(FileMissing):
            await storage.stat("c/r/a")
        assert await keys_of(storage) == []

    async def test_a_broken_upload_keeps_the_earlier_file(self, storage: FileStorage) -> None:
        await storage.put("k", chunks(b"first"))
        with pytest.raises(ConnectionResetError):
            await storage.put("k", broken())
        assert await read_all(storage, "k") == b"first"

    async def test_many_at_once_do_not_disturb_each_other(self, storage: FileStorage) -> None:
        async def put_and_remove(number: int) -> None:
            await storage.put(f"c/r/{number}", chunks(BIG[:1000]))
            if number % 2:
                await storage.delete(f"c/r/{number}")

        await asyncio.gather(*(put_and_remove(number) for number in range(20)))
        assert await keys_of(storage) == sorted(f"c/r/{number}" for number in range(0, 20, 2))
