"""Files move between stores: all of them, the same, once, and with the server running."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from groundplane.files.chosen import ChosenFiles
from groundplane.files.local import LocalFiles
from groundplane.files.moving import copy_all, delete_copied, move
from groundplane.files.s3 import S3Files
from groundplane.files.storage import StorageFailed
from groundplane.imports.report import silent
from groundplane.settings.values import S3
from groundplane.testing.file_storage import BIG, chunks, keys_of, read_all
from groundplane.testing.server import Server


@pytest.fixture
async def source(tmp_path: Path) -> LocalFiles:
    found = LocalFiles(tmp_path / "source")
    await found.put("c/r/a.txt", chunks(b"a"), content_type="text/plain", original_name="ä.txt")
    await found.put("c/r/thumbs_a.txt/1_a.txt", chunks(b"t"), content_type="image/png")
    await found.put("c/r2/big", chunks(BIG), content_type="video/mp4")
    return found


async def test_everything_arrives_with_type_and_name(source: LocalFiles, bucket: S3, tmp_path: Path) -> None:
    remote, back = S3Files(bucket), LocalFiles(tmp_path / "back")
    first = await copy_all(source, remote, silent)
    assert (first.copied, first.copied_bytes, first.there) == (3, len(BIG) + 2, 0)
    await copy_all(remote, back, silent)
    for key in await keys_of(source):
        assert await read_all(back, key) == await read_all(source, key)
        one, other = await source.stat(key), await back.stat(key)
        assert msgspec.structs.replace(one, modified=other.modified, path=other.path) == other


async def test_what_is_there_is_not_copied_again(source: LocalFiles, tmp_path: Path) -> None:
    target = LocalFiles(tmp_path / "target")
    await copy_all(source, target, silent)
    await source.put("c/r/new", chunks(b"new"))
    again = await copy_all(source, target, silent)
    assert (again.copied, again.there) == (1, 3)


class Flawed(LocalFiles):
    """Writes something else than it was given, or fails, the first times."""

    def __init__(self, root: Path, *, wrong: int = 0, failing: int = 0) -> None:
        super().__init__(root)
        self.wrong, self.failing = wrong, failing

    async def put(self, key: str, chunks: AsyncIterable[bytes], **more: Any) -> None:
        if self.failing:
            self.failing -= 1
            raise StorageFailed("no connection")

        async def flawed() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                yield bytes(len(chunk)) if self.wrong else chunk

        await super().put(key, flawed(), **more)
        self.wrong = max(0, self.wrong - 1)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_: float) -> None:
        return None

    monkeypatch.setattr("groundplane.files.moving.asyncio.sleep", sleep)


@pytest.mark.usefixtures("no_pause")
async def test_a_copy_that_is_not_the_same_is_made_again(source: LocalFiles, tmp_path: Path) -> None:
    target = Flawed(tmp_path / "target", wrong=1, failing=1)
    await copy_all(source, target, silent)
    assert await read_all(target, "c/r/a.txt") == b"a"
    assert await read_all(target, "c/r2/big") == BIG


@pytest.mark.usefixtures("no_pause")
async def test_a_store_that_stays_wrong_is_an_error_and_keeps_no_wrong_copy(
    source: LocalFiles, tmp_path: Path
) -> None:
    target = Flawed(tmp_path / "target", wrong=100)
    with pytest.raises(StorageFailed, match="not the same"):
        await copy_all(source, target, silent)
    for key in await keys_of(target):
        assert await read_all(target, key) == await read_all(source, key)


async def test_what_is_deleted_while_it_is_copied_does_not_come_back(
    source: LocalFiles, tmp_path: Path
) -> None:
    class Racing(LocalFiles):
        async def put(self, key: str, chunks: AsyncIterable[bytes], **more: Any) -> None:
            await super().put(key, chunks, **more)
            await source.delete("c/r/a.txt")

    target = Racing(tmp_path / "target")
    await copy_all(source, target, silent)
    assert "c/r/a.txt" not in await keys_of(target)


async def test_only_what_the_new_store_has_is_deleted_from_the_old_one(
    source: LocalFiles, tmp_path: Path
) -> None:
    target = LocalFiles(tmp_path / "target")
    await copy_all(source, target, silent)
    await source.put("c/r/new", chunks(b"new"))
    await target.put("c/r/a.txt", chunks(b"of another size"))
    assert await delete_copied(source, target, silent) == 2
    assert await keys_of(source) == ["c/r/a.txt", "c/r/new"]


async def test_the_files_of_a_running_server_move_to_the_bucket_and_back(server: Server, bucket: S3) -> None:
    services, store = server.services, server.services.files.storage
    assert isinstance(store, ChosenFiles)
    await services.collections.create(
        {"name": "docs", "type": "base", "fields": [{"name": "file", "type": "file"}], "createRule": ""}
    )

    async def make() -> str:
        files = [("file", ("a.bin", BIG[:1000]))]
        record = (await server.client.post("/api/collections/docs/records", files=files)).json()
        return f"{record['id']}/{record['file']}"

    async def are_there(paths: list[str]) -> bool:
        answers = [await server.client.get(f"/api/files/docs/{path}") for path in paths]
        return all(answer.content == BIG[:1000] for answer in answers)

    await services.settings.change({"s3": msgspec.to_builtins(bucket) | {"enabled": False}})
    paths = [await make(), await make()]
    seen: list[bool] = []

    def progress(what: str, done: int, total: int) -> None:
        seen.append(services.settings.current.s3.enabled)

    await move(store, services.settings, to="s3", delete=True, progress=progress)
    assert services.settings.current.s3.enabled
    assert seen[:2] == [False, False]
    assert await keys_of(store.local) == []
    assert len(await keys_of(S3Files(bucket))) == 2
    paths.append(await make())
    assert await are_there(paths)
    await move(store, services.settings, to="local", delete=True, progress=progress)
    assert not services.settings.current.s3.enabled
    assert await keys_of(S3Files(bucket)) == []
    assert await are_there(paths)


async def test_nothing_moves_to_a_store_that_does_not_work(server: Server, bucket: S3) -> None:
    services, store = server.services, server.services.files.storage
    assert isinstance(store, ChosenFiles)
    wrong = msgspec.to_builtins(bucket) | {"enabled": False, "endpoint": "http://127.0.0.1:1"}
    await services.settings.change({"s3": wrong})
    with pytest.raises(StorageFailed):
        await move(store, services.settings, to="s3", delete=True, progress=silent)
    assert not services.settings.current.s3.enabled


async def test_files_move_to_the_store_of_a_plugin_and_out_of_it(
    server: Server, bucket: S3, tmp_path: Path
) -> None:
    services, store = server.services, server.services.files.storage
    assert isinstance(store, ChosenFiles)
    await store.put("c/r/a", chunks(b"a"), content_type="text/plain")
    with pytest.raises(StorageFailed, match="names no plugin"):
        await move(store, services.settings, to="plugin", delete=True, progress=silent)
    own = store.own = LocalFiles(tmp_path / "own")
    # What is still in the folder is found there.
    assert await read_all(store, "c/r/a") == b"a"
    moved = await move(store, services.settings, to="plugin", delete=True, progress=silent)
    assert (moved.copied, await keys_of(own), await keys_of(store.local)) == (1, ["c/r/a"], [])
    await services.settings.change({"s3": msgspec.to_builtins(bucket) | {"enabled": False}})
    await move(store, services.settings, to="s3", delete=False, progress=silent)
    assert await keys_of(S3Files(bucket)) == ["c/r/a"]
    await move(store, services.settings, to="local", delete=True, progress=silent)
    assert (await keys_of(store.local), await keys_of(own)) == (["c/r/a"], [])
    # The configuration decides, so nothing was switched.
    assert not services.settings.current.s3.enabled
