"""Uploads that may be interrupted, over HTTP: the protocol, who may, and what is refused in which words."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.files.tus import BYTES, CLOSED, MEMBERS, OPEN, PATH, Tus, make_collections, mark, metadata

from groundplane import clock
from groundplane.config import Config, UploadsConfig
from groundplane.context import RequestInfo
from groundplane.files import uploads_appending
from groundplane.files.uploads_admission import is_possible, payer_of
from groundplane.query.effective import Compound
from groundplane.testing.server import INSTALLED, Server, own_database, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = UploadsConfig(max_bytes=20_000_000, caller_count=4, caller_bytes=50_000_000, total_bytes=60_000_000)


class Place:
    """A server with two people and an administrator."""

    def __init__(self, server: Server, tokens: dict[str, str]) -> None:
        self.server = server
        self.uploads = server.services.files.uploads
        self.admin, self.ann, self.bob = (
            Tus(server.client, tokens[name]) for name in ("admin", "ann", "bob")
        )
        self.guest = Tus(server.client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("uploads")
    async for url in own_database(postgres_url, INSTALLED):
        async with running(Config(data_dir=str(folder / "data"), uploads=LIMITS), url) as server:
            tokens = {"admin": await server.superuser_token()}
            await make_collections(server.client, tokens["admin"])
            for name in ("ann", "bob"):
                email = f"{name}@example.com"
                body = {"email": email, "password": "correct horse", "passwordConfirm": "correct horse"}
                answer = await Tus(server.client, tokens["admin"]).record("people", body)
                assert answer.status_code == 200, answer.text
                tokens[name] = await server.token("people", email)
            yield Place(server, tokens)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note what has come more often than usual."""
    monkeypatch.setattr(uploads_appending, "BEAT_S", 0.05)


@pytest_asyncio.fixture(loop_scope="module")
async def place(shared: Place) -> AsyncIterator[Place]:
    """The server without any upload."""
    yield shared
    await shared.server.services.db.execute('DELETE FROM "_uploads"')
    shutil.rmtree(folder_of(shared), ignore_errors=True)


def folder_of(place: Place) -> Path:
    return place.server.services.config.files_folder / ".uploads"


# The protocol


async def test_a_client_learns_what_is_spoken_before_it_begins(place: Place) -> None:
    answer = await place.server.client.options(PATH, headers={"Origin": "https://app.example.com"})
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-max-size"] == "20000000"
    assert set(answer.headers["tus-extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "expiration",
        "checksum",
        "termination",
    }
    assert "PATCH" in answer.headers["access-control-allow-methods"]


async def test_a_page_of_another_site_may_read_what_the_protocol_says(place: Place) -> None:
    tus = Tus(place.server.client, place.ann.headers["Authorization"])
    tus.headers = tus.headers | {"Origin": "https://app.example.com"}
    answer = await tus.create(3)
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"Location", "Upload-Offset", "Upload-Length", "Upload-Expires", "Tus-Resumable"} <= set(exposed)
    refused = await tus.send(answer.headers["location"], 1, b"x")
    assert (refused.status_code, refused.headers["tus-resumable"]) == (409, "1.0.0")


async def test_a_file_goes_up_in_pieces(place: Place) -> None:
    url = await place.ann.begun(10, filename="a.txt")
    first = await place.ann.send(url, 0, b"hello")
    assert (first.status_code, first.headers["upload-offset"]) == (204, "5")
    head = await place.server.client.head(url, headers=place.ann.headers)
    assert head.headers["upload-offset"] == "5"
    assert head.headers["upload-length"] == "10"
    assert head.headers["upload-metadata"] == metadata(filename="a.txt")
    assert head.headers["cache-control"] == "no-store"
    assert head.headers["upload-expires"].endswith("GMT")
    second = await place.ann.send(url, 5, b"world")
    assert second.headers["upload-offset"] == "10"


async def test_a_file_may_come_with_its_creation(place: Place) -> None:
    url = await place.ann.finished(b"all of it")
    assert await place.ann.offset(url) == 9


async def test_an_empty_file_is_finished_at_once(place: Place) -> None:
    url = await place.ann.begun(0, filename="empty.txt")
    record = (await place.ann.record(OPEN, {"one": mark(url)})).json()
    found = await place.server.client.get(f"/api/files/{OPEN}/{record['id']}/{record['one']}")
    assert (found.status_code, found.content) == (200, b"")


async def test_an_upload_is_deleted_with_its_bytes(place: Place) -> None:
    url = await place.ann.begun(10)
    await place.ann.send(url, 0, b"hello")
    assert len(list(folder_of(place).iterdir())) == 1
    answer = await place.server.client.delete(url, headers=place.ann.headers)
    assert answer.status_code == 204
    assert (await place.server.client.head(url, headers=place.ann.headers)).status_code == 404
    assert list(folder_of(place).iterdir()) == []


async def test_a_client_that_can_only_post_names_the_method_in_a_header(place: Place) -> None:
    url = await place.ann.begun(3)
    headers = place.ann.headers | {
        "X-HTTP-Method-Override": "PATCH",
        "Upload-Offset": "0",
        "Content-Type": BYTES,
    }
    answer = await place.server.client.post(url, headers=headers, content=b"abc")
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "3")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
async def test_bytes_with_another_checksum_are_not_kept(place: Place, algorithm: str) -> None:
    url = await place.ann.begun(10)
    right = base64.b64encode(hashlib.new(algorithm, b"hello").digest()).decode()
    wrong = base64.b64encode(hashlib.new(algorithm, b"hullo").digest()).decode()
    refused = await place.ann.send(url, 0, b"hello", Upload_Checksum=f"{algorithm} {wrong}")
    assert (refused.status_code, await place.ann.offset(url)) == (460, 0)
    assert "Upload-Checksum" in refused.json()["message"]
    kept = await place.ann.send(url, 0, b"hello", Upload_Checksum=f"{algorithm} {right}")
    assert (kept.status_code, await place.ann.offset(url)) == (204, 5)


async def test_what_came_before_the_client_went_away_is_kept(place: Place) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"hello"
        raise ConnectionResetError

    url = await place.ann.begun(10)
    assert place.uploads is not None
    owner = await place.server.services.db.fetchval('SELECT "owner" FROM "_uploads"')
    upload = await place.uploads.find(url.rpartition("/")[2], owner)
    with pytest.raises(ConnectionResetError):
        await place.uploads.append(upload, 0, broken())
    assert await place.ann.offset(url) == 5
    assert (await place.ann.send(url, 5, b"world")).status_code == 204


async def test_a_slow_client_loses_little(place: Place) -> None:
    said = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"hello"
        await said.wait()

    url = await place.ann.begun(10)
    sending = asyncio.create_task(place.ann.send(url, 0, slow()))
    await place.ann.until(url, 5)
    said.set()
    assert (await sending).status_code == 204


# Two at a time


async def test_of_two_who_write_at_once_one_wins(place: Place) -> None:
    going_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"he"
        await going_on.wait()
        yield b"llo"

    url = await place.ann.begun(10)
    first = asyncio.create_task(place.ann.send(url, 0, slow()))
    await place.ann.until(url, 2)
    assert (await place.ann.send(url, 2, b"xxx")).status_code == 423
    assert (await place.ann.send(url, 0, b"xxx")).status_code == 409
    going_on.set()
    answer = await first
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "5")


async def test_a_silent_writer_gives_way_to_one_who_asks(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_appending, "SILENCE_S", 0.2)

    async def silent() -> AsyncIterator[bytes]:
        yield b"he"
        await asyncio.Event().wait()

    url = await place.ann.begun(5)
    first = asyncio.create_task(place.ann.send(url, 0, silent()))
    async with asyncio.timeout(60):
        while (second := await place.ann.send(url, 2, b"llo")).status_code in (409, 423):  # noqa: ASYNC110  # as clients do
            await asyncio.sleep(0.2)
        answer = await first
    assert (answer.status_code, second.status_code) == (423, 204)
    assert await place.ann.offset(url) == 5


async def test_a_writer_whose_upload_is_deleted_is_told(place: Place) -> None:
    going_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"he"
        await going_on.wait()

    url = await place.ann.begun(5)
    first = asyncio.create_task(place.ann.send(url, 0, slow()))
    await place.ann.until(url, 2)
    assert (await place.server.client.delete(url, headers=place.ann.headers)).status_code == 204
    going_on.set()
    assert (await first).status_code == 423


# What is refused


LENGTHS = {
    "no length": ({}, 400, "Upload-Length"),
    "told later": ({"Upload-Defer-Length": "1"}, 400, "cannot be told later"),
    "both": ({"Upload-Length": "1", "Upload-Defer-Length": "1"}, 400, "exclude"),
    "negative": ({"Upload-Length": "-1"}, 400, "number of bytes"),
    "a word": ({"Upload-Length": "many"}, 400, "number of bytes"),
    "a fraction": ({"Upload-Length": "1.5"}, 400, "number of bytes"),
    "other digits": ({"Upload-Length": "\u00b2"}, 400, "number of bytes"),
    "astronomic": ({"Upload-Length": "9" * 30}, 400, "number of bytes"),
    "above the limit": ({"Upload-Length": "20000001"}, 413, "20000000 bytes"),
    "no metadata": ({"Upload-Length": "1", "Upload-Metadata": "filename %%%"}, 400, "Base64"),
    "twice a key": ({"Upload-Length": "1", "Upload-Metadata": "a YQ==,a YQ=="}, 400, "different keys"),
    "empty keys": ({"Upload-Length": "1", "Upload-Metadata": ",,"}, 400, "different keys"),
    "long metadata": ({"Upload-Length": "1", "Upload-Metadata": "a " + "A" * 5000}, 400, "4096"),
    "no checksum": ({"Upload-Length": "1", "Upload-Checksum": "crc32 AAAA"}, 400, "md5"),
}


@pytest.mark.parametrize("case", LENGTHS)
async def test_a_creation_that_makes_no_sense_is_refused_with_a_reason(place: Place, case: str) -> None:
    headers, status, word = LENGTHS[case]
    content = b"x" if case == "no checksum" else b""
    sent = [
        (name.encode(), value.encode("latin-1")) for name, value in {**place.ann.headers, **headers}.items()
    ]
    if content:
        sent.append((b"Content-Type", BYTES.encode()))
    answer = await place.server.client.post(PATH, headers=sent, content=content)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["message"]
    assert answer.headers["tus-resumable"] == "1.0.0"


OFFSETS = {"": 400, "-1": 400, "one": 400, "9" * 40: 400, "1": 409, "4": 409, "11": 409}


@pytest.mark.parametrize("offset", OFFSETS)
async def test_an_offset_that_is_not_the_uploads_is_refused(place: Place, offset: str) -> None:
    url = await place.ann.begun(10)
    await place.ann.send(url, 0, b"abc")
    answer = await place.ann.send(url, offset, b"x")
    assert answer.status_code == OFFSETS[offset], answer.text
    assert answer.json()["message"]
    assert await place.ann.offset(url) == 3


async def test_a_patch_without_an_offset_is_refused(place: Place) -> None:
    url = await place.ann.begun(10)
    headers = place.ann.headers | {"Content-Type": BYTES}
    answer = await place.server.client.patch(url, headers=headers, content=b"abc")
    assert (answer.status_code, "Upload-Offset" in answer.json()["message"]) == (400, True)


async def test_more_bytes_than_the_length_are_refused(place: Place) -> None:
    async def long() -> AsyncIterator[bytes]:
        yield b"hello"
        yield b"worlds and more"

    url = await place.ann.begun(10)
    assert (await place.ann.send(url, 0, b"hello worlds")).status_code == 413
    assert await place.ann.offset(url) == 0
    assert (await place.ann.send(url, 0, long())).status_code == 413
    assert await place.ann.offset(url) == 5
    assert (await place.ann.create(3, content=b"four")).status_code == 413


async def test_bytes_of_another_content_type_are_refused(place: Place) -> None:
    url = await place.ann.begun(10)
    answer = await place.ann.send(url, 0, b"{}", Content_Type="application/json")
    assert (answer.status_code, BYTES in answer.json()["message"]) == (415, True)
    answer = await place.ann.create(2, content=b"{}", headers={"Content-Type": "application/json"})
    assert answer.status_code == 415


@pytest.mark.parametrize("version", ["", "0.2.2", "1.0.1"])
async def test_another_version_of_the_protocol_is_refused(place: Place, version: str) -> None:
    headers = {**place.ann.headers, "Tus-Resumable": version, "Upload-Length": "1"}
    if not version:
        del headers["Tus-Resumable"]
    answer = await place.server.client.post(PATH, headers=headers)
    assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")


async def test_an_upload_is_nobody_elses(place: Place) -> None:
    url = await place.ann.begun(10)
    for other in (place.bob, place.guest, place.admin):
        assert (await place.server.client.head(url, headers=other.headers)).status_code == 404
        assert (await other.send(url, 0, b"x")).status_code == 404
        assert (await place.server.client.delete(url, headers=other.headers)).status_code == 404
    assert await place.ann.offset(url) == 0


async def test_the_id_without_its_secret_is_no_upload(place: Place) -> None:
    url = await place.ann.begun(10)
    id = url.rpartition("/")[2].partition("-")[0]
    for token in (id, f"{id}-{'a' * 32}", f"{id}-", "..%2f..", "a" * 500, "%00", "\u00e4"):
        answer = await place.server.client.head(f"{PATH}/{token}", headers=place.ann.headers)
        assert answer.status_code == 404, token


async def test_other_methods_are_not_there(place: Place) -> None:
    url = await place.ann.begun(10)
    for method, path in (("GET", url), ("PUT", url), ("GET", PATH), ("PATCH", PATH), ("POST", url)):
        answer = await place.server.client.request(method, path, headers=place.ann.headers)
        assert answer.status_code == 404, (method, path)


async def test_an_expired_upload_is_gone_and_swept_away(place: Place) -> None:
    url = await place.ann.begun(10)
    await place.ann.send(url, 0, b"hello")
    later = clock.now() + timedelta(days=2)
    clock.replace_clock(later.timestamp)
    try:
        answer = await place.server.client.head(url, headers=place.ann.headers)
        assert answer.status_code == 410
        answer = await place.ann.send(url, 5, b"world")
        assert (answer.status_code, answer.json()["message"]) == (
            410,
            "The upload has expired. Begin a new one.",
        )
        refused = await place.ann.record(OPEN, {"one": mark(url)})
        assert "expired" in refused.json()["data"]["one"]["message"]
        assert place.uploads is not None
        assert await place.uploads.clean_up() >= 1
        assert list(folder_of(place).iterdir()) == []
        assert (await place.ann.send(url, 5, b"world")).status_code == 404
    finally:
        clock.replace_clock(None)


async def test_the_names_of_uploads_are_not_in_the_log(place: Place) -> None:
    url = await place.ann.begun(10)
    await place.ann.offset(url)
    writer = place.server.services.logs.writer
    settings = place.server.services.settings
    rule = {"label": "/api/files/uploads/", "duration": 60, "maxRequests": 1}
    await settings.change({"rateLimits": {"enabled": True, "rules": [rule]}})
    try:
        statuses = [(await place.ann.send(url, 0, b"x")).status_code for _ in range(2)]
    finally:
        await settings.change({"rateLimits": {"enabled": False}})
    assert statuses == [204, 429]
    await writer.flush()
    token = url.rpartition("/")[2]
    rows = await place.server.services.db.fetch('SELECT "data", "message" FROM "_logs"')
    texts = [f"{row['message']} {row['data']}" for row in rows]
    assert any(token.partition("-")[0] in text for text in texts)
    assert not any(token.partition("-")[2] in text for text in texts)


# Who may


async def test_a_guest_must_name_a_field_where_guests_may_write(place: Place) -> None:
    assert (await place.guest.create(5)).status_code == 401
    assert (await place.guest.create(5, collection=OPEN)).status_code == 400
    assert (await place.guest.create(5, collection=OPEN, field="title")).status_code == 400
    assert (await place.guest.create(5, collection=OPEN, field="secret")).status_code == 400
    assert (await place.guest.create(5, collection=OPEN, field="nothing")).status_code == 400
    assert (await place.guest.create(5, collection="nothing", field="one")).status_code == 400
    assert (await place.guest.create(5, collection=MEMBERS, field="one")).status_code == 401
    for field in ("one", "nothing"):
        assert (await place.guest.create(5, collection=CLOSED, field=field)).status_code == 401
    assert (await place.guest.create(5, collection=OPEN, field="one")).status_code == 201


async def test_a_caller_may_upload_for_a_collection_that_lets_them_write(place: Place) -> None:
    assert (await place.ann.create(5)).status_code == 201
    assert (await place.ann.create(5, collection=MEMBERS, field="one")).status_code == 201
    assert (await place.ann.create(5, collection=CLOSED, field="one")).status_code == 403
    assert (await place.admin.create(5, collection=CLOSED, field="one")).status_code == 201
    assert (await place.admin.create(5, collection=OPEN, field="secret")).status_code == 201


async def test_a_file_that_its_field_would_not_take_is_refused_at_once(place: Place) -> None:
    answer = await place.ann.create(11, collection=OPEN, field="small")
    assert (answer.status_code, "10 bytes" in answer.json()["message"]) == (413, True)


async def test_a_guests_upload_belongs_to_whoever_has_its_address(place: Place) -> None:
    url = await place.guest.finished(b"hello", collection=OPEN, field="one")
    assert await place.bob.offset(url) == 5
    assert (await place.bob.record(OPEN, {"one": mark(url)})).status_code == 200


async def test_a_caller_has_only_so_many_uploads_at_a_time(place: Place) -> None:
    urls = [await place.ann.begun(1) for _ in range(LIMITS.caller_count)]
    answer = await place.ann.create(1)
    assert (answer.status_code, "4 uploads" in answer.json()["message"]) == (429, True)
    assert (await place.bob.create(1)).status_code == 201
    await place.server.client.delete(urls[0], headers=place.ann.headers)
    assert (await place.ann.create(1)).status_code == 201


async def test_many_creations_at_once_do_not_pass_the_limit(place: Place) -> None:
    answers = await asyncio.gather(*(place.ann.create(1) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [201] * 4 + [429] * 8


async def test_what_is_promised_counts_not_what_has_come(place: Place) -> None:
    for _ in range(2):
        await place.ann.begun(20_000_000)
    assert (await place.ann.create(10_000_001)).status_code == 429
    assert (await place.bob.create(20_000_000)).status_code == 201
    answer = await place.bob.create(1)
    assert (answer.status_code, "no room" in answer.json()["message"]) == (507, True)


RULES: list[tuple[Any, bool]] = [
    (None, False),
    ("", True),
    ('@request.auth.id != ""', False),
    ('@request.auth.id = ""', True),
    ('@request.auth.id != "" && title != ""', False),
    ('@request.auth.id != "" || title != ""', True),
    ("@request.auth.verified = true", True),
    ('"" != @request.auth.id', False),
    ("@request.auth.id != null", False),
    ("author = @request.auth.id", True),
    ('@request.body.title = "x"', True),
    ("1 = (", False),
    (Compound(allow=('@request.auth.id != ""',)), False),
    (Compound(allow=('@request.auth.id != ""', "")), True),
    (Compound(restrict=('@request.auth.id != ""',)), False),
    (Compound(deny=('@request.auth.id = ""',)), False),
    (Compound(deny=('title = "x"',)), True),
]


@pytest.mark.parametrize(("rule", "possible"), RULES)
async def test_a_rule_could_let_a_guest_in_or_not(rule: Any, possible: bool) -> None:
    assert is_possible(rule, is_guest=True) is possible


async def test_a_network_of_guests_counts_as_one() -> None:
    payers = {payer_of(RequestInfo(ip=ip), "") for ip in ("2001:db8::1", "2001:db8::ffff:1")}
    assert payers == {"guest/2001:db8::/64"}
    assert payer_of(RequestInfo(ip="192.0.2.7"), "") == "guest/192.0.2.7"
    assert payer_of(RequestInfo(ip="192.0.2.7"), "c/r") == "c/r"


async def test_a_collection_named_uploads_keeps_its_files(place: Place) -> None:
    token = place.admin.headers["Authorization"]
    body = {"name": "uploads", "type": "base", "createRule": "", "fields": [{"name": "f", "type": "file"}]}
    await place.server.client.post("/api/collections", json=body, headers={"Authorization": token})
    files = {"f": ("a.txt", b"hello")}
    record = (await place.server.client.post("/api/collections/uploads/records", files=files)).json()
    found = await place.server.client.get(f"/api/files/uploads/{record['id']}/{record['f']}")
    assert found.content == b"hello"
