"""Plugins and the command line meet uploads that came before their record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.files.tus import Tus, mark

from groundplane.config import Config, FilesConfig
from groundplane.files.local import LocalFiles
from groundplane.files.storage import STAGING, FileStorage
from groundplane.hooks import hookimpl
from groundplane.hooks.events_files import FileRefused, FileUpload
from groundplane.testing import plugins
from groundplane.testing.file_storage import keys_of
from groundplane.testing.plugins import AppWith, PluginApp, load_plugins, make_plugin
from groundplane.testing.server import running

app_with = plugins.app_with
FIELDS: list[dict[str, Any]] = [{"name": "one", "type": "file", "maxSize": 50_000_000}]


async def test_plugins_agree_to_an_upload_when_a_record_takes_it(app_with: AppWith) -> None:
    seen: list[tuple[str, str, int, bytes]] = []

    @hookimpl
    async def file_upload(event: FileUpload) -> AsyncIterator[None]:
        content = b"".join([chunk async for chunk in event.chunks()])
        seen.append((event.client_name, event.content_type, event.size, content))
        if b"virus" in content:
            raise FileRefused("validation_infected", "The file is infected.")
        event.name = f"clean_{event.name}"
        yield

    app = await app_with(make_plugin("guard", file_upload))
    await app.make_collection("docs", FIELDS)
    guest = Tus(app.server.client)
    bad = await guest.finished(b"a virus", filename="a.txt", collection="docs", field="one")
    assert seen == []
    answer = await guest.record("docs", {"one": mark(bad)})
    assert answer.json()["data"]["one"]["code"] == "validation_infected"
    assert seen == [("a.txt", "text/plain; charset=utf-8", 7, b"a virus")]
    assert await guest.offset(bad) == 7

    good = await guest.finished(b"harmless", filename="b.txt", collection="docs", field="one")
    record = (await guest.record("docs", {"one": mark(good)})).json()
    assert record["one"].startswith("clean_b")
    found = await app.ask("GET", f"/api/files/docs/{record['id']}/{record['one']}")
    assert found.content == b"harmless"
    other = await guest.finished(b"changed", filename="c.txt", collection="docs", field="one")
    changed = (await guest.record("docs", {"one": mark(other)}, "PATCH", record["id"])).json()
    assert changed["one"].startswith("clean_c")
    assert (await guest.record("docs", {"one": mark(bad)}, "PATCH", record["id"])).status_code == 400


class Shelf:
    """A store that is nothing but what a store must be."""

    def __init__(self, folder: Path) -> None:
        files = LocalFiles(folder)
        self.put, self.stat, self.read = files.put, files.stat, files.read
        self.delete, self.delete_prefix = files.delete, files.delete_prefix
        self.keys, self.sizes = files.keys, files.sizes


async def test_uploads_wait_in_the_store_of_a_plugin_when_files_are_there(
    server_database_url: str, tmp_path: Path
) -> None:
    shelf: Any = Shelf(tmp_path / "shelf")

    @hookimpl
    def register_storage() -> FileStorage:
        store: FileStorage = shelf
        return store

    found = load_plugins([make_plugin("shelf", register_storage)], {})
    config = Config(data_dir=str(tmp_path / "data"), plugins_dir="", files=FilesConfig(store="shelf"))
    async with running(config, server_database_url, found) as server:
        app = PluginApp(server)
        await app.make_collection("docs", FIELDS)
        guest = Tus(server.client)
        url = await guest.begun(10, collection="docs", field="one")
        await guest.send(url, 0, b"hello")
        assert len(await keys_of(shelf, f"{STAGING}/")) == 1
        await guest.send(url, 5, b"world")
        record = (await guest.record("docs", {"one": mark(url)})).json()
        found_file = await app.ask("GET", f"/api/files/docs/{record['id']}/{record['one']}")
        assert found_file.content == b"helloworld"
        assert await keys_of(shelf, f"{STAGING}/") == []
        assert not config.files_folder.exists()
