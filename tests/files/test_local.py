"""The folder store: the shared suite, and what is particular to a folder."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from groundplane.clock import now
from groundplane.files.local import TEMPORARY, LocalFiles
from groundplane.files.storage import FileStorage, StorageFailed
from groundplane.testing.file_storage import FileStorageSuite, chunks, keys_of, read_all


class TestLocalFiles(FileStorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> FileStorage:
        return LocalFiles(tmp_path / "storage")

    async def test_leaves_no_partial_file_behind(self, tmp_path: Path) -> None:
        await LocalFiles(tmp_path).put("k", chunks(b"x"))
        assert [path.name for path in tmp_path.iterdir()] == ["k"]

    async def test_finds_and_removes_uploads_that_a_crash_cut_off(self, tmp_path: Path) -> None:
        storage = LocalFiles(tmp_path)
        (tmp_path / TEMPORARY).mkdir()
        (tmp_path / TEMPORARY / "half").write_bytes(b"x")
        assert await storage.abandoned(now() - timedelta(hours=1)) == 0
        later = now() + timedelta(seconds=1)
        assert await storage.abandoned(later) == 1
        assert await storage.abandoned(later, delete=True) == 1
        assert await storage.abandoned(later) == 0
        assert await LocalFiles(tmp_path / "none").abandoned(later) == 0

    async def test_removes_folders_that_became_empty(self, tmp_path: Path) -> None:
        storage = LocalFiles(tmp_path)
        await storage.put("c/r/a", chunks(b"x"), content_type="text/plain")
        await storage.put("c/r2/a", chunks(b"x"), content_type="text/plain")
        await storage.delete("c/r/a")
        assert [path.name for path in (tmp_path / "c").iterdir()] == ["r2"]

    async def test_writes_the_side_file_of_the_layout(self, tmp_path: Path) -> None:
        await LocalFiles(tmp_path).put("k", chunks(b"abc"), content_type="text/plain", original_name="o.txt")
        attrs = json.loads((tmp_path / "k.attrs").read_text())
        assert attrs["user.content_type"] == "text/plain"
        assert attrs["user.metadata"] == {"original-filename": "o.txt"}
        assert attrs["md5"] == "kAFQmDzST7DWlj99KOF/cg=="
        assert set(attrs) == {
            "md5",
            *(
                f"user.{name}"
                for name in (
                    *("cache_control", "content_disposition", "content_encoding"),
                    *("content_language", "content_type", "metadata"),
                )
            ),
        }

    @pytest.mark.parametrize("attrs", ["", "not json", "[]", '{"user.content_type":5,"user.metadata":[]}'])
    async def test_a_broken_side_file_says_nothing(self, tmp_path: Path, attrs: str) -> None:
        (tmp_path / "k").write_bytes(b"x")
        (tmp_path / "k.attrs").write_text(attrs)
        info = await LocalFiles(tmp_path).stat("k")
        assert (info.content_type, info.original_name) == ("application/octet-stream", "")

    async def test_a_store_that_cannot_write_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(StorageFailed):
            await LocalFiles(tmp_path / "file").put("k", chunks(b"x"))

    async def test_a_symbolic_link_to_nowhere_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "k").symlink_to(tmp_path / "nowhere")
        assert await keys_of(LocalFiles(tmp_path)) == ["k"]


async def test_a_name_that_is_too_long_for_the_file_system_is_missing(tmp_path: Path) -> None:
    from groundplane.files.storage import FileMissing

    with pytest.raises(FileMissing):
        await LocalFiles(tmp_path).stat("c/r/" + "n" * 400)


async def test_a_folder_that_goes_away_while_a_file_is_moved_in_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalFiles(tmp_path)
    replace, lost = Path.replace, [True]

    def losing(self: Path, target: Path) -> Path:
        """Let another process's deletion remove the empty folder just before the first rename."""
        if lost.pop() if lost else False:
            shutil.rmtree(target.parent)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", losing)
    await storage.put("c/r/a.txt", chunks(b"a"), content_type="text/plain", original_name="ä.txt")
    assert await read_all(storage, "c/r/a.txt") == b"a"
    assert (await storage.stat("c/r/a.txt")).original_name == "ä.txt"
