"""Downloads that the object store answers itself, at an address that holds for a while."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from PIL import Image

from groundplane.config import Config, FilesConfig
from groundplane.hooks import hookimpl
from groundplane.hooks.events_files import FileDownload
from groundplane.settings.values import S3
from groundplane.testing.plugins import load_plugins, make_plugin
from groundplane.testing.server import Server, running

FIELDS = [
    {"name": "open", "type": "file", "thumbs": ["10x10"], "maxSize": 5_000_000},
    {"name": "kept", "type": "file", "protected": True},
]
RULES = dict.fromkeys(("viewRule", "createRule"), "")


@hookimpl(collections=["marked"])
async def file_download(event: FileDownload) -> None:
    event.headers["X-Mark"] = "yes"


@pytest.fixture
async def app(server_database_url: str, tmp_path: Path, bucket: S3) -> AsyncIterator[Server]:
    config = Config(
        data_dir=str(tmp_path), plugins_dir="", files=FilesConfig(s3_downloads="redirect", s3_link_s=600)
    )
    found = load_plugins([make_plugin("marker", file_download)], {})
    async with running(config, server_database_url, found) as server:
        for name in ("docs", "marked"):
            await server.services.collections.create(
                {"name": name, "type": "base", "fields": FIELDS, **RULES}
            )
        await server.services.settings.change({"s3": msgspec.to_builtins(bucket)})
        yield server


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "PNG")
    return out.getvalue()


async def make(app: Server, key: str, name: str, content: bytes, collection: str = "docs") -> str:
    path = f"/api/collections/{collection}/records"
    record: dict[str, Any] = (await app.client.post(path, files=[(key, (name, content))])).json()
    return f"/api/files/{collection}/{record['id']}/{record[key]}"


async def followed(answer: httpx.Response, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(answer.headers["location"], headers=headers)


async def test_an_open_file_is_read_at_the_store_as_it_would_be_sent(app: Server) -> None:
    path = await make(app, "open", "a drawing.svg", b"<svg onload=alert(1)>")
    answer = await app.client.get(path)
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["cache-control"] == "max-age=150"
    there = await followed(answer)
    assert there.content == b"<svg onload=alert(1)>"
    query = httpx.URL(answer.headers["location"]).params
    name = path.rpartition("/")[2]
    assert query["response-content-disposition"] == f"attachment; filename={name}"
    assert query["response-content-type"] == "image/svg+xml"
    # For some time it is the same address, so that browsers can keep what they have read.
    again = await app.client.get(path)
    assert (
        again.headers["location"].partition("&X-Amz-Date")[0]
        == answer.headers["location"].partition("&X-Amz-Date")[0]
    )
    shown = await app.client.get(await make(app, "open", "a.png", picture()))
    assert httpx.URL(shown.headers["location"]).params["response-content-disposition"].startswith("inline; ")


async def test_ranges_are_asked_of_the_store_and_conditions_are_ours(app: Server) -> None:
    path = await make(app, "open", "a.bin", bytes(range(256)))
    answer = await app.client.get(path, headers={"Range": "bytes=10-19"})
    assert answer.status_code == 307
    assert "content-range" not in answer.headers
    assert (await followed(answer, Range="bytes=10-19")).content == bytes(range(10, 20))
    head = await app.client.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, "256")
    since = {"If-Modified-Since": head.headers["last-modified"]}
    assert (await app.client.get(path, headers=since)).status_code == 304
    assert (await app.client.get(path, headers={"Range": "bytes=999-"})).status_code == 416


async def test_a_protected_file_is_shown_to_those_who_may_see_it_and_kept_by_nobody(app: Server) -> None:
    path = await make(app, "kept", "a.txt", b"secret")
    answer = await app.client.get(path)
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "private, no-store"
    query = httpx.URL(answer.headers["location"]).params
    assert query["response-cache-control"] == "private, no-store"
    assert int(query["X-Amz-Expires"]) <= 600
    await app.services.collections.update("docs", {"viewRule": None})
    assert (await app.client.get(path)).status_code == 404


async def test_thumbs_are_redirected_too_and_missing_files_are_not(app: Server) -> None:
    path = await make(app, "open", "a.png", picture())
    answer = await app.client.get(f"{path}?thumb=10x10")
    assert answer.status_code == 307
    assert Image.open(io.BytesIO((await followed(answer)).content)).size == (10, 10)
    assert (await app.client.get(path[:-5])).status_code == 404


async def test_what_is_still_in_the_folder_and_what_has_headers_of_a_plugin_is_sent(app: Server) -> None:
    marked = await app.client.get(await make(app, "open", "a.txt", b"x", "marked"))
    assert (marked.status_code, marked.content, marked.headers["x-mark"]) == (200, b"x", "yes")
    await app.services.settings.change({"s3": {"enabled": False}})
    path = await make(app, "open", "old.txt", b"old")
    await app.services.settings.change({"s3": {"enabled": True}})
    assert (await app.client.get(path)).content == b"old"
