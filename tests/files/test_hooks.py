"""The hooks about files: uploads, downloads, tokens, thumbs, removals, and a store that a plugin brings."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.files.tus import Tus, mark

from groundplane.config import Config, FilesConfig
from groundplane.errors import Forbidden, Invalid, Unavailable
from groundplane.files.local import LocalFiles
from groundplane.files.storage import FileStorage
from groundplane.hooks import hookimpl
from groundplane.hooks.events_files import (
    FileDeleted,
    FileDownload,
    FileRefused,
    FileToken,
    FileUpload,
    Thumb,
    ThumbGenerate,
)
from groundplane.services import Services
from groundplane.testing import plugins
from groundplane.testing.file_storage import FileStorageSuite, keys_of
from groundplane.testing.plugins import AppWith, PluginApp, load_plugins, make_plugin
from groundplane.testing.server import running

app_with = plugins.app_with
FIELDS: list[dict[str, Any]] = [
    {"name": "one", "type": "file", "thumbs": ["10x10"]},
    {"name": "many", "type": "file", "maxSelect": 5, "protected": True},
    {"name": "t", "type": "text"},
]


async def start(app_with: AppWith, *hooks: Any, **options: Any) -> PluginApp:
    app = await app_with(make_plugin("guard", *hooks))
    await app.make_collection("docs", FIELDS, **options)
    return app


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "PNG")
    return out.getvalue()


async def keys(app: PluginApp) -> list[str]:
    storage: FileStorage = app.services.files.storage
    return await keys_of(storage)


async def test_an_upload_is_shown_before_it_is_stored_and_again_when_the_record_is_written(
    app_with: AppWith,
) -> None:
    seen: list[Any] = []

    @hookimpl
    async def file_upload(event: FileUpload, services: Services) -> AsyncIterator[None]:
        content = b"".join([chunk async for chunk in event.chunks()])
        again = b"".join([chunk async for chunk in event.chunks()])
        seen.append(
            (event.field, event.client_name, event.content_type, event.size, content == again, content)
        )
        seen.append((await keys_of(services.files.storage), services.db.in_transaction, event.record["t"]))
        yield
        found = await services.records.find_one(event.collection, 'r."id" = $1', event.record["id"])
        seen.append(found is not None and event.name in (found["one"], *found["many"]))

    app = await start(app_with, file_upload)
    made = (await app.send("POST", "docs", data={"t": "x"}, files=[("one", ("My a.txt", b"abc"))])).json()
    assert seen == [
        ("one", "My a.txt", "text/plain; charset=utf-8", 3, True, b"abc"),
        ([], False, "x"),
        True,
    ]
    seen.clear()
    await app.send(
        "PATCH", "docs", made["id"], files=[("many+", ("b.txt", b"b")), ("many+", ("c.txt", b"c"))]
    )
    assert [each[0] for each in seen if isinstance(each, tuple) and each[0] == "many"] == ["many"] * 2
    assert [each[1] for each in seen if isinstance(each, tuple) and isinstance(each[1], bool)] == [False] * 2
    assert seen[-2:] == [True, True]


async def test_a_refused_upload_is_an_error_at_its_field(app_with: AppWith) -> None:
    ends: list[str] = []

    @hookimpl
    async def file_upload(event: FileUpload) -> AsyncIterator[None]:
        if event.client_name.startswith("bad"):
            raise FileRefused("validation_bad_file", "That one is bad.", name=event.client_name)
        if event.client_name.startswith("never"):
            raise Forbidden("Never.")
        try:
            yield
        except Invalid as error:
            ends.append(error.message)
            raise

    app = await start(app_with, file_upload)
    bad = await app.send("POST", "docs", files=[("many", ("good.txt", b"x")), ("many", ("bad.txt", b"y"))])
    assert (bad.status_code, bad.json()["message"]) == (400, "Failed to create record.")
    assert bad.json()["data"] == {
        "many": {"code": "validation_bad_file", "message": "That one is bad.", "params": {"name": "bad.txt"}}
    }
    # Those that were let in before hear of it.
    assert ends == ["Failed to create record."]
    never = await app.send("POST", "docs", files=[("one", ("never.txt", b"y"))])
    assert (never.status_code, never.json()["message"]) == (403, "Never.")
    assert await keys(app) == []


async def test_a_plugin_renames_an_upload_and_changes_what_is_kept_of_it(app_with: AppWith) -> None:
    @hookimpl
    async def file_upload(event: FileUpload) -> AsyncIterator[None]:
        event.name = event.client_name.removeprefix("as ")
        event.client_name, event.content_type = "other.bin", "text/x-thing"
        yield

    app = await start(app_with, file_upload)
    made = (await app.send("POST", "docs", files=[("one", ("as report-7.pdf", b"x"))])).json()
    assert made["one"] == "report-7.pdf"
    info = await app.services.files.stat(f"{made['collectionId']}/{made['id']}/report-7.pdf")
    assert (info.original_name, info.content_type) == ("other.bin", "text/x-thing")
    changed = await app.send("PATCH", "docs", made["id"], files=[("many+", ("as second.pdf", b"x"))])
    assert changed.json()["many"] == ["second.pdf"]
    for name in ("as .hidden", "as x.attrs", "as " + "n" * 200):
        refused = await app.send("POST", "docs", files=[("one", (name, b"x"))])
        assert (refused.status_code, list(refused.json()["data"])) == (400, ["one"])


async def test_a_plugin_that_fails_refuses_the_upload(app_with: AppWith) -> None:
    @hookimpl
    async def file_upload() -> AsyncIterator[None]:
        raise RuntimeError("broken")
        yield

    app = await start(app_with, file_upload)
    assert (await app.send("POST", "docs", files=[("one", ("a.txt", b"x"))])).status_code == 500
    assert await keys(app) == []
    assert (await app.send("POST", "docs", json={"t": "no file"})).status_code == 200


async def test_an_update_does_not_lock_the_record_while_plugins_look_at_a_file(app_with: AppWith) -> None:
    looking, go_on = asyncio.Event(), asyncio.Event()

    @hookimpl(deadline_s=60)
    async def file_upload() -> AsyncIterator[None]:
        looking.set()
        await go_on.wait()
        yield

    app = await start(app_with, file_upload)
    made = (await app.send("POST", "docs", json={"t": "before"})).json()
    files = [("one", ("a.txt", b"x"))]
    slow = asyncio.create_task(app.send("PATCH", "docs", made["id"], files=files))
    await looking.wait()
    assert (await app.send("PATCH", "docs", made["id"], json={"t": "after"})).status_code == 200
    go_on.set()
    answer = (await slow).json()
    assert (answer["t"], bool(answer["one"])) == ("after", True)


async def test_a_staged_upload_is_shown_when_a_record_takes_it(app_with: AppWith) -> None:
    seen: list[tuple[str, bytes, bool]] = []

    @hookimpl
    async def file_upload(event: FileUpload, services: Services) -> AsyncIterator[None]:
        content = b"".join([chunk async for chunk in event.chunks()])
        seen.append((event.client_name, content, services.db.in_transaction))
        if content == b"bad":
            raise FileRefused("validation_bad_file", "That one is bad.")
        yield

    app = await start(app_with, file_upload)
    user = await app.as_user()
    sender = Tus(app.server.client, user.token)

    async def send(method: str, content: bytes, record: str = "") -> Any:
        address = await sender.finished(content, filename="My Letter.txt")
        return await app.send(method, "docs", record, user=user, json={"one": mark(address)})

    made = await send("POST", b"good")
    assert made.status_code == 200, made.text
    changed = await send("PATCH", b"better", made.json()["id"])
    assert changed.status_code == 200, changed.text
    assert seen == [("My Letter.txt", b"good", False), ("My Letter.txt", b"better", False)]
    for refused in (await send("POST", b"bad"), await send("PATCH", b"bad", made.json()["id"])):
        assert (refused.status_code, refused.json()["data"]["one"]["code"]) == (400, "validation_bad_file")
    kept = await app.ask("GET", f"/api/files/docs/{made.json()['id']}/{changed.json()['one']}")
    assert kept.content == b"better"


async def test_a_download_can_be_refused_and_gets_headers(app_with: AppWith) -> None:
    seen: list[Any] = []

    @hookimpl
    async def file_download(event: FileDownload) -> None:
        seen.append(
            (event.collection.name, event.field, event.name, event.thumb, event.info.caller is not None)
        )
        if event.info.query.get("refuse"):
            raise Forbidden("Not now.")
        event.headers |= {
            "X-Seen": "yes",
            "cache-control": "no-store",
            "Content-Length": "99999",
            "Last-Modified": "x",
        }

    app = await start(app_with, file_download)
    made = (await app.send("POST", "docs", files=[("one", ("a.png", picture()))])).json()
    path = f"/api/files/docs/{made['id']}/{made['one']}"
    answer = await app.ask("GET", path, params={"thumb": "10x10"}, user=await app.as_superuser())
    assert seen == [("docs", "one", made["one"], "10x10", True)]
    assert (answer.headers["x-seen"], answer.headers["cache-control"]) == ("yes", "no-store")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["last-modified"] != "x"
    refused = await app.ask("GET", path, params={"refuse": "1"})
    assert (refused.status_code, refused.json()["message"]) == (403, "Not now.")


async def test_who_may_not_see_a_protected_file_is_not_shown_to_plugins(app_with: AppWith) -> None:
    @hookimpl
    async def file_download(event: FileDownload) -> None:
        raise RuntimeError("it was asked")

    app = await start(app_with, file_download, viewRule="t = 'x'")
    made = await app.send("POST", "docs", user=await app.as_superuser(), files=[("many", ("a.txt", b"x"))])
    path = f"/api/files/docs/{made.json()['id']}/{made.json()['many'][0]}"
    assert (await app.ask("GET", path)).status_code == 404


@pytest.mark.parametrize("headers", [{"X-A\r\nB": "x"}, {"X-A": "x\r\nSet-Cookie: y"}, {"X-A": 5}])
async def test_headers_that_are_none_are_the_plugins_failure(app_with: AppWith, headers: Any) -> None:
    @hookimpl
    async def file_download(event: FileDownload) -> None:
        event.headers.update(headers)

    app = await start(app_with, file_download)
    made = (await app.send("POST", "docs", files=[("one", ("a.txt", b"x"))])).json()
    assert (await app.ask("GET", f"/api/files/docs/{made['id']}/{made['one']}")).status_code == 500


async def test_a_token_can_be_refused_and_its_time_changed(app_with: AppWith) -> None:
    refusing = False

    @hookimpl
    async def file_token(event: FileToken) -> None:
        if refusing:
            raise Forbidden("No files today.")
        assert event.duration_s == 180
        event.duration_s = 5

    app = await start(app_with, file_token)
    user = await app.as_user()
    token = (await app.ask("POST", "/api/files/token", user=user)).json()["token"]
    assert (await app.services.auth.callers.caller(token, "file")) is not None
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["exp"] - time.time() <= 5
    refusing = True
    refused = await app.ask("POST", "/api/files/token", user=user)
    assert (refused.status_code, refused.json()["message"]) == (403, "No files today.")


async def test_a_plugin_makes_thumbs_of_what_is_no_picture_once(app_with: AppWith) -> None:
    calls: list[str] = []

    @hookimpl
    async def thumb_generate(event: ThumbGenerate) -> Thumb | None:
        calls.append(f"{event.size} {event.content_type}")
        content = b"".join([chunk async for chunk in event.chunks()])
        if content == b"%PDF-leave":
            return None
        return Thumb(b"made of " + content, "image/png")

    app = await start(app_with, thumb_generate)
    made = (await app.send("POST", "docs", files=[("one", ("a.pdf", b"%PDF-1.4"))])).json()
    path = f"/api/files/docs/{made['id']}/{made['one']}?thumb=10x10"
    answers = await asyncio.gather(*(app.ask("GET", path) for _ in range(5)))
    assert {answer.content for answer in answers} == {b"made of %PDF-1.4"}
    assert {answer.headers["content-type"] for answer in answers} == {"image/png"}
    assert calls == ["10x10 application/pdf"]
    left = (await app.send("POST", "docs", files=[("one", ("b.pdf", b"%PDF-leave"))])).json()
    for _ in range(2):
        answer = await app.ask("GET", f"/api/files/docs/{left['id']}/{left['one']}?thumb=10x10")
        assert (answer.content, answer.headers["content-type"]) == (b"%PDF-leave", "application/pdf")
    # Nobody is asked again and again.
    assert len(calls) == 2
    # A picture that the plugin leaves alone is scaled as ever; here it takes all.
    mine = (await app.send("POST", "docs", files=[("one", ("c.png", picture()))])).json()
    answer = await app.ask("GET", f"/api/files/docs/{mine['id']}/{mine['one']}?thumb=10x10")
    assert answer.content.startswith(b"made of ")


@pytest.mark.parametrize(
    "thumb",
    [b"bytes", Thumb(b"", "image/png"), Thumb(b"<svg/>", "image/svg+xml"), Thumb(b"<html>", "text/html")],
)
async def test_a_thumb_that_is_none_is_not_sent(app_with: AppWith, thumb: Any) -> None:
    @hookimpl
    async def thumb_generate() -> Any:
        return thumb

    app = await start(app_with, thumb_generate)
    made = (await app.send("POST", "docs", files=[("one", ("a.txt", b"text"))])).json()
    answer = await app.ask("GET", f"/api/files/docs/{made['id']}/{made['one']}?thumb=10x10")
    assert (answer.status_code, answer.content) == (200, b"text")
    assert len(await keys(app)) == 1


async def test_removed_files_are_told_of_by_name(app_with: AppWith) -> None:
    gone: list[tuple[str, str]] = []

    @hookimpl
    async def file_deleted(event: FileDeleted, services: Services) -> None:
        gone.append((event.record_id, event.name))

    app = await start(app_with, file_deleted)
    files = [("many", (f"{name}.txt", b"x")) for name in "ab"]
    first = (await app.send("POST", "docs", files=files)).json()
    second = (await app.send("POST", "docs", files=[("one", ("c.txt", b"x"))])).json()
    third = (await app.send("POST", "docs", files=[("one", ("d.txt", b"x"))])).json()
    await app.send("PATCH", "docs", first["id"], json={"many-": first["many"][0]})
    await app.send("DELETE", "docs", second["id"])
    refused = await app.send("POST", "docs", data={"id": third["id"]}, files=[("one", ("e.txt", b"x"))])
    assert refused.status_code == 400
    await app.services.collections.delete("docs")
    await app.settled()
    assert gone == [
        (first["id"], first["many"][0]),
        (second["id"], second["one"]),
        *sorted([(first["id"], first["many"][1]), (third["id"], third["one"])]),
    ]


async def test_nothing_is_asked_where_no_plugin_listens(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("docs", FIELDS)
    made = (await app.send("POST", "docs", files=[("one", ("a.png", picture()))])).json()
    assert (
        await app.ask("GET", f"/api/files/docs/{made['id']}/{made['one']}?thumb=10x10")
    ).status_code == 200
    await app.send("DELETE", "docs", made["id"])
    assert [call for call in app.calls if call[0].startswith(("file_", "thumb_"))] == []


# A store of a plugin's own


class Elsewhere(LocalFiles):
    """What a plugin might bring: here another folder."""


class TestTheStoreOfAPlugin(FileStorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> FileStorage:
        return Elsewhere(tmp_path)


async def test_all_files_go_to_the_store_of_the_plugin_that_is_named(
    server_database_url: str, tmp_path: Path
) -> None:
    @hookimpl
    def register_storage(config: object, services: Services) -> FileStorage:
        return Elsewhere(tmp_path / "elsewhere")

    found = load_plugins([make_plugin("shelf", register_storage)], {})
    config = Config(data_dir=str(tmp_path / "data"), plugins_dir="", files=FilesConfig(store="shelf"))
    async with running(config, server_database_url, found) as server:
        app = PluginApp(server)
        await app.make_collection("docs", FIELDS)
        made = (await app.send("POST", "docs", files=[("one", ("a.png", picture()))])).json()
        path = f"/api/files/docs/{made['id']}/{made['one']}"
        assert (await app.ask("GET", path)).content == picture()
        assert (await app.ask("GET", f"{path}?thumb=10x10")).headers["content-type"] == "image/png"
        assert len(await keys_of(Elsewhere(tmp_path / "elsewhere"))) == 2
        assert await keys_of(LocalFiles(config.files_folder)) == []
        await app.send("DELETE", "docs", made["id"])
        assert await keys_of(Elsewhere(tmp_path / "elsewhere")) == []


def nothing() -> Any:
    return None


def failing() -> Any:
    raise RuntimeError("no space")


@pytest.mark.parametrize("bring", [nothing, failing, None], ids=["nothing", "failing", "absent"])
async def test_a_store_that_cannot_be_had_keeps_the_server_from_starting(
    server_database_url: str, tmp_path: Path, bring: Any
) -> None:
    @hookimpl
    def register_storage() -> Any:
        return bring()

    modules = [make_plugin("shelf", register_storage)] if bring is not None else []
    config = Config(data_dir=str(tmp_path / "data"), plugins_dir="", files=FilesConfig(store="shelf"))
    async with AsyncExitStack() as stack:
        opened = running(config, server_database_url, load_plugins(modules, {}))
        with pytest.raises(Unavailable, match="shelf"):
            await stack.enter_async_context(opened)
