"""Records take uploads that came before them: under the rules of files, once, and all or nothing."""

from __future__ import annotations

import asyncio
import io
import json
import os
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from PIL import Image
from tests.files.tus import CLOSED, OPEN, Tus, make_collections, mark

from groundplane.config import Config
from groundplane.testing.server import INSTALLED, Server, own_database, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(out, "PNG")
    return out.getvalue()


class Place:
    """A server, somebody who is signed in, and an administrator."""

    def __init__(self, server: Server, admin: str, ann: str) -> None:
        self.server = server
        self.client = server.client
        self.admin, self.ann = Tus(server.client, admin), Tus(server.client, ann)
        self.folder = server.services.config.files_folder

    async def content(self, record: dict[str, Any], name: str) -> bytes:
        answer = await self.client.get(f"/api/files/{record['collectionId']}/{record['id']}/{name}")
        assert answer.status_code == 200
        return answer.content

    def waiting(self) -> list[Path]:
        return list((self.folder / ".uploads").glob("*"))

    def stored(self, record: dict[str, Any]) -> list[str]:
        folder = self.folder / record["collectionId"] / record["id"]
        return sorted(path.name for path in folder.glob("*") if path.suffix != ".attrs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("uploads")
    async for url in own_database(postgres_url, INSTALLED):
        async with running(Config(data_dir=str(folder / "data")), url) as server:
            admin = await server.superuser_token()
            await make_collections(server.client, admin)
            await server.services.settings.change({"batch": {"enabled": True}})
            body = {
                "email": "ann@example.com",
                "password": "correct horse",
                "passwordConfirm": "correct horse",
            }
            assert (await Tus(server.client, admin).record("people", body)).status_code == 200
            yield Place(server, admin, await server.token("people", "ann@example.com"))


@pytest_asyncio.fixture(loop_scope="module")
async def place(shared: Place) -> AsyncIterator[Place]:
    yield shared
    await shared.server.services.db.execute('DELETE FROM "_uploads"')
    for path in shared.waiting():
        path.unlink()


def error_of(answer: httpx.Response, field: str) -> dict[str, Any]:
    assert answer.status_code == 400, answer.text
    found: dict[str, Any] = answer.json()["data"][field]
    return found


async def test_a_record_takes_an_upload_in_place_of_a_file(place: Place) -> None:
    url = await place.ann.finished(b"hello world", filename="My Letter.txt")
    answer = await place.ann.record(OPEN, {"title": "a", "one": mark(url)})
    assert answer.status_code == 200, answer.text
    record = answer.json()
    assert record["one"].startswith("my_letter_")
    assert await place.content(record, record["one"]) == b"hello world"
    key = f"{record['collectionId']}/{record['id']}/{record['one']}"
    info = await place.server.services.files.stat(key)
    assert (info.content_type, info.original_name) == ("text/plain; charset=utf-8", "My Letter.txt")
    assert place.waiting() == []


async def test_the_bytes_are_not_copied(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    inode = place.waiting()[0].stat().st_ino
    record = (await place.ann.record(OPEN, {"one": mark(url)})).json()
    path = place.folder / record["collectionId"] / record["id"] / record["one"]
    assert (path.stat().st_ino, path.stat().st_nlink) == (inode, 1)


async def test_an_upload_may_be_named_by_its_address(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    answer = await place.ann.record(OPEN, {"one": f"@upload:https://files.example.com{url}"})
    assert answer.status_code == 200, answer.text


async def test_several_uploads_names_and_files_share_a_field(place: Place) -> None:
    urls = [await place.ann.finished(content, filename="a.txt") for content in (b"1", b"2", b"3")]
    first = (await place.ann.record(OPEN, {"many": [mark(url) for url in urls[:2]]})).json()
    assert [await place.content(first, name) for name in first["many"]] == [b"1", b"2"]
    values = {"many": [first["many"][1], mark(urls[2])]}
    second = (await place.ann.record(OPEN, values, "PATCH", first["id"])).json()
    assert [await place.content(second, name) for name in second["many"]] == [b"2", b"3"]
    assert place.stored(second) == sorted(second["many"])


@pytest.mark.parametrize(
    ("key", "order"), [("many+", [b"old", b"new"]), ("+many", [b"new", b"old"]), ("many", [b"new"])]
)
async def test_an_upload_is_added_before_or_behind_what_is_there(
    place: Place, key: str, order: list[bytes]
) -> None:
    record = (await place.ann.record(OPEN, {"many": mark(await place.ann.finished(b"old"))})).json()
    url = await place.ann.finished(b"new")
    changed = (await place.ann.record(OPEN, {key: mark(url)}, "PATCH", record["id"])).json()
    assert [await place.content(changed, name) for name in changed["many"]] == order


async def test_a_form_may_name_uploads_beside_files(place: Place) -> None:
    url = await place.ann.finished(b"staged")
    answer = await place.client.post(
        f"/api/collections/{OPEN}/records",
        data={
            "title": "x",
            "many": mark(url),
            "@jsonPayload": json.dumps({"one": mark(await place.ann.finished(b"s2"))}),
        },
        files={"many": ("a.txt", b"direct")},
        headers={"Authorization": place.ann.headers["Authorization"]},
    )
    record = answer.json()
    assert answer.status_code == 200, answer.text
    assert sorted([await place.content(record, name) for name in record["many"]]) == [b"direct", b"staged"]
    assert await place.content(record, record["one"]) == b"s2"


async def test_rules_see_an_upload_as_they_see_a_file(place: Place) -> None:
    body = {
        "name": "ruled",
        "type": "base",
        "createRule": '@request.body.one.size = 5 && @request.body.one.originalName = "a.txt"',
        "fields": [{"name": "one", "type": "file"}],
    }
    token = {"Authorization": place.admin.headers["Authorization"]}
    assert (await place.client.post("/api/collections", json=body, headers=token)).status_code == 200
    wrong, right = [await place.ann.finished(content, filename="a.txt") for content in (b"sixsix", b"fives")]
    assert (await place.ann.record("ruled", {"one": mark(wrong)})).status_code == 400
    assert (await place.ann.record("ruled", {"one": mark(right)})).status_code == 200


# The limits of files


async def test_an_upload_is_held_to_the_limits_of_its_field(place: Place) -> None:
    url = await place.ann.finished(b"eleven byte", filename="a.txt")
    error = error_of(await place.ann.record(OPEN, {"small": mark(url)}), "small")
    assert error["code"] == "validation_file_size_limit"
    urls = [await place.ann.finished(b"x") for _ in range(4)]
    error = error_of(await place.ann.record(OPEN, {"many": [mark(each) for each in urls]}), "many")
    assert error["code"] == "validation_too_many_files"
    error = error_of(await place.ann.record(OPEN, {"pictures": mark(url)}), "pictures")
    assert error["code"] == "validation_invalid_mime_type"
    picture = await place.ann.finished(png(), filename="a.txt", filetype="text/plain")
    assert (await place.ann.record(OPEN, {"pictures": mark(picture)})).status_code == 200


async def test_the_type_is_found_in_the_content_also_where_that_means_to_look_into_an_archive(
    place: Place,
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        archive.writestr("pad", b"0" * 400_000)
        archive.writestr("word/document.xml", "<x/>")
    url = await place.ann.finished(out.getvalue(), filename="a")
    record = (await place.ann.record(OPEN, {"one": mark(url)})).json()
    assert record["one"].endswith(".docx")


NAMES = [
    "../../etc/passwd",
    "..\\..\\x.txt",
    "a\x00b.txt",
    "/",
    "",
    "x" * 400,
    "\u202egnp.exe",
    "CON",
    "a\nb.txt",
]


@pytest.mark.parametrize("name", NAMES)
async def test_no_name_leads_out_of_the_records_folder(place: Place, name: str) -> None:
    url = await place.ann.finished(b"hello", filename=name)
    record = (await place.ann.record(OPEN, {"one": mark(url)})).json()
    assert place.stored(record) == [record["one"]]
    assert all(char.isalnum() or char in "._" for char in record["one"])


# What cannot be used


async def test_an_unfinished_upload_is_refused_and_can_be_finished(place: Place) -> None:
    url = await place.ann.begun(10)
    await place.ann.send(url, 0, b"hello")
    error = error_of(await place.ann.record(OPEN, {"one": mark(url)}), "one")
    assert error["code"] == "validation_unfinished_upload"
    assert error["message"] == "The upload is not finished: it has 5 of 10 bytes."
    await place.ann.send(url, 5, b"world")
    assert (await place.ann.record(OPEN, {"one": mark(url)})).status_code == 200


async def test_an_upload_is_taken_once(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    assert (await place.ann.record(OPEN, {"one": mark(url)})).status_code == 200
    error = error_of(await place.ann.record(OPEN, {"one": mark(url)}), "one")
    assert error["code"] == "validation_invalid_upload"


async def test_of_many_who_want_an_upload_one_gets_it(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    answers = await asyncio.gather(*(place.ann.record(OPEN, {"one": mark(url)}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    record = next(answer.json() for answer in answers if answer.status_code == 200)
    assert await place.content(record, record["one"]) == b"hello"
    assert place.waiting() == []


async def test_one_upload_cannot_be_two_files(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    error = error_of(await place.ann.record(OPEN, {"one": mark(url), "many": mark(url)}), "many")
    assert "two files" in error["message"]
    twice = await place.ann.record(OPEN, {"many": [mark(url), mark(url)]})
    assert (twice.status_code, len(twice.json()["many"])) == (200, 1)


async def test_anothers_upload_cannot_be_taken(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    for other in (place.admin, Tus(place.client)):
        error = error_of(await other.record(OPEN, {"one": mark(url)}), "one")
        assert error["code"] == "validation_invalid_upload"
    assert (await place.ann.record(OPEN, {"one": mark(url)})).status_code == 200


async def test_an_upload_for_one_field_goes_into_no_other(place: Place) -> None:
    url = await place.ann.finished(b"hello", collection=OPEN, field="one")
    error = error_of(await place.ann.record(OPEN, {"many": mark(url)}), "many")
    assert "another field" in error["message"]
    assert (await place.ann.record(OPEN, {"one": mark(url)})).status_code == 200


@pytest.mark.parametrize(
    "text", ["@upload:", "@upload:x", "@upload:../../x", "@upload:" + "a" * 48, "@upload:\x00"]
)
async def test_what_names_no_upload_is_refused(place: Place, text: str) -> None:
    error = error_of(await place.ann.record(OPEN, {"one": text}), "one")
    assert error["code"] == "validation_invalid_upload"


async def test_bytes_that_were_lost_are_told_of(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    place.waiting()[0].unlink()
    assert "lost" in error_of(await place.ann.record(OPEN, {"one": mark(url)}), "one")["message"]
    url = await place.ann.begun(10)
    await place.ann.send(url, 0, b"hello")
    place.waiting()[0].unlink()
    answer = await place.ann.send(url, 5, b"world")
    assert (answer.status_code, "lost" in answer.json()["message"]) == (410, True)


async def test_the_mark_in_other_fields_is_text(place: Place) -> None:
    answer = await place.ann.record(OPEN, {"title": "@upload:x"})
    assert answer.json()["title"] == "@upload:x"


# All or nothing


async def test_a_record_that_fails_leaves_the_upload_as_it_was(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    refused = await place.ann.record(OPEN, {"one": mark(url), "title": "x" * 30})
    assert set(refused.json()["data"]) == {"title"}
    assert (await place.ann.record(CLOSED, {"one": mark(url)})).status_code == 403
    assert await place.ann.offset(url) == 5
    assert (await place.ann.record(OPEN, {"one": mark(url)})).status_code == 200


async def test_a_batch_that_fails_leaves_the_upload_and_no_file(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    path = f"/api/collections/{OPEN}/records"
    requests = [
        {"method": "POST", "url": path, "body": {"one": mark(url)}},
        {"method": "POST", "url": path, "body": {"title": "x" * 30}},
    ]
    headers = {"Authorization": place.ann.headers["Authorization"]}
    before = sorted(place.folder.rglob("*"))
    answer = await place.client.post("/api/batch", json={"requests": requests}, headers=headers)
    assert answer.status_code == 400
    assert sorted(place.folder.rglob("*")) == before
    answer = await place.client.post("/api/batch", json={"requests": requests[:1]}, headers=headers)
    assert answer.status_code == 200, answer.text
    record = answer.json()[0]["body"]
    assert await place.content(record, record["one"]) == b"hello"
    assert place.waiting() == []


async def test_a_batch_cannot_take_an_upload_twice(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    request = {"method": "POST", "url": f"/api/collections/{OPEN}/records", "body": {"one": mark(url)}}
    headers = {"Authorization": place.ann.headers["Authorization"]}
    answer = await place.client.post("/api/batch", json={"requests": [request, request]}, headers=headers)
    assert answer.status_code == 400
    assert await place.ann.offset(url) == 5


async def test_a_create_under_one_idempotency_key_takes_the_upload_once(place: Place) -> None:
    url = await place.ann.finished(b"hello")
    headers = {"Authorization": place.ann.headers["Authorization"], "Idempotency-Key": "k1"}
    path = f"/api/collections/{OPEN}/records"
    answers = [await place.client.post(path, json={"one": mark(url)}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


async def test_bytes_that_belong_to_no_upload_are_swept_up(place: Place) -> None:
    await place.ann.finished(b"hello")
    uploads = place.server.services.files.uploads
    assert uploads is not None
    known = place.waiting()[0]
    left = known.with_name("aaaaaaaaaaaaaaa")
    left.write_bytes(b"left behind")
    assert await uploads.abandoned(timedelta(hours=1)) == 0
    os.utime(left, (1_600_000_000, 1_600_000_000))
    assert await uploads.abandoned(timedelta(hours=1)) == 1
    assert await uploads.clean_up() == 1
    assert place.waiting() == [known]


async def test_uploads_are_no_files_of_the_store(place: Place) -> None:
    await place.ann.finished(b"hello")
    keys = [key async for key in place.server.services.files.storage.keys("")]
    assert not any(key.startswith(".uploads") for key in keys)
