"""The object store at its strictest, Ceph's: the shared suite, signatures, and going away in the middle."""

from __future__ import annotations

import asyncio
import os
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import msgspec
import pytest

from groundplane.files.s3 import S3Files
from groundplane.files.storage import FileMissing, FileStorage, Shown, StorageFailed
from groundplane.settings.values import S3
from groundplane.testing import ceph as cephs
from groundplane.testing import clock as clocks
from groundplane.testing.ceph import Ceph
from groundplane.testing.clock import FrozenClock
from groundplane.testing.file_storage import BIG, FileStorageSuite, chunks, keys_of, read_all
from groundplane.testing.s3 import Cutting
from groundplane.testing.server import Server

pytestmark = pytest.mark.slow
ceph, clock = cephs.ceph, clocks.clock
SHOWN = Shown("text/x-shown", "attachment; filename=shown.txt", "private, no-store")
LARGE = os.urandom(12_000_000)
DOCS = {
    "name": "docs",
    "type": "base",
    "fields": [{"name": "file", "type": "file", "maxSize": 50_000_000}],
    **dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), ""),
}
RECORDS = "/api/collections/docs/records"


@pytest.fixture
def bucket(ceph: Ceph) -> S3:
    return ceph.bucket()


class TestCeph(FileStorageSuite):
    @pytest.fixture
    def storage(self, bucket: S3) -> FileStorage:
        return S3Files(bucket)

    async def test_a_large_file_of_many_parts_comes_back_whole(self, storage: FileStorage) -> None:
        await storage.put("c/r/large", chunks(LARGE), content_type="application/x-large")
        assert await read_all(storage, "c/r/large") == LARGE
        assert await read_all(storage, "c/r/large", 11_000_000, 20) == LARGE[11_000_000:11_000_020]

    async def test_more_keys_than_a_page_are_listed_and_deleted(self, storage: FileStorage) -> None:
        await asyncio.gather(*(storage.put(f"c/r/{number:04}", chunks(b"x")) for number in range(1010)))
        assert len(await keys_of(storage)) == 1010
        await storage.delete_prefix("c/r/")
        assert await keys_of(storage) == []


def fetched(address: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {}, error.read()


async def test_a_signed_address_shows_the_object_as_it_was_signed(bucket: S3) -> None:
    store = S3Files(bucket)
    await store.put("c/r/späße 1.svg", chunks(b"<svg/>"), content_type="image/svg+xml")
    address = await store.link("c/r/späße 1.svg", 60, SHOWN)
    status, headers, content = await asyncio.to_thread(fetched, address)
    assert (status, content) == (200, b"<svg/>")
    assert headers["content-type"] == "text/x-shown"
    assert headers["content-disposition"] == "attachment; filename=shown.txt"
    assert headers["cache-control"] == "private, no-store"
    # Another object, another disposition, another time: each is part of what was signed.
    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query))
    changes = (
        {"response-content-disposition": "inline"},
        {"response-content-type": "text/html"},
        {"X-Amz-Expires": "604800"},
        {"X-Amz-Signature": "0" * 64},
    )
    for change in changes:
        changed = parts._replace(query=urlencode(query | change)).geturl()
        assert (await asyncio.to_thread(fetched, changed))[0] == 403
    other = parts._replace(path=parts.path.replace("c/r", "c/s")).geturl()
    assert (await asyncio.to_thread(fetched, other))[0] in (403, 404)
    assert (await asyncio.to_thread(fetched, parts._replace(query="").geturl()))[0] == 403


async def test_a_signed_address_expires(bucket: S3, clock: FrozenClock) -> None:
    store = S3Files(bucket)
    await store.put("c/r/a", chunks(b"x"))
    clock.travel(seconds=-120)
    expired = await store.link("c/r/a", 60, SHOWN)
    clock.travel(seconds=100)
    valid = await store.link("c/r/a", 60, SHOWN)
    assert (await asyncio.to_thread(fetched, expired))[0] == 403
    assert (await asyncio.to_thread(fetched, valid))[0] == 200


@pytest.mark.parametrize("change", [{"secret": "wrong"}, {"access_key": "nobody"}, {"bucket": "not-there"}])
async def test_wrong_credentials_are_a_failure_of_the_store(bucket: S3, change: dict[str, str]) -> None:
    store = S3Files(msgspec.structs.replace(bucket, **change))
    with pytest.raises(StorageFailed) as caught:
        await store.put("c/r/a", chunks(b"x"))
    assert bucket.secret not in str(caught.value)
    with pytest.raises((StorageFailed, FileMissing)):
        await read_all(store, "c/r/a")


async def test_an_upload_that_is_cut_off_leaves_no_half_object(bucket: S3, ceph: Ceph) -> None:
    proxy = Cutting(ceph.port, request=600_000)
    try:
        through = S3Files(msgspec.structs.replace(bucket, endpoint=f"http://127.0.0.1:{proxy.port}"))
        with pytest.raises(StorageFailed):
            await through.put("c/r/a", chunks(BIG))
        assert await keys_of(S3Files(bucket)) == []
    finally:
        proxy.close()


async def test_a_download_that_is_cut_off_is_a_failure_and_not_an_end(bucket: S3, ceph: Ceph) -> None:
    await S3Files(bucket).put("c/r/a", chunks(LARGE))
    proxy = Cutting(ceph.port, answer=3_000_000)
    try:
        through = S3Files(msgspec.structs.replace(bucket, endpoint=f"http://127.0.0.1:{proxy.port}"))
        with pytest.raises(StorageFailed):
            await read_all(through, "c/r/a")
    finally:
        proxy.close()


@pytest.fixture
async def app(server: Server, bucket: S3) -> Server:
    await server.services.collections.create(DOCS)
    await server.services.settings.change({"s3": msgspec.to_builtins(bucket)})
    return server


async def upload(app: Server, content: bytes) -> httpx.Response:
    return await app.client.post(RECORDS, files=[("file", ("a.bin", content))])


async def test_a_gateway_that_is_killed_in_the_middle_costs_no_record_and_leaves_no_half_file(
    app: Server, ceph: Ceph, bucket: S3
) -> None:
    first = (await upload(app, LARGE)).json()
    path = f"/api/files/docs/{first['id']}/{first['file']}"

    async def killed_while(work: Any) -> Any:
        running = asyncio.create_task(work)
        await asyncio.sleep(0)
        await asyncio.to_thread(ceph.kill_gateway)
        return (await asyncio.gather(running, return_exceptions=True))[0]

    outcome = await killed_while(upload(app, LARGE))
    assert (outcome.status_code, outcome.json()["data"]) == (400, {})
    assert (await app.client.get(path)).status_code == 503
    deleted = await app.client.delete(f"{RECORDS}/{first['id']}")
    assert deleted.status_code == 204
    assert (await app.client.get(RECORDS)).json()["totalItems"] == 0
    await asyncio.to_thread(ceph.start_gateway)
    # What could not be removed is remembered, whole or not.
    rows = await app.services.db.fetchval('SELECT count(*) FROM "_file_removals"')
    assert rows >= 1
    await app.services.db.execute('UPDATE "_file_removals" SET "due" = now() - interval \'1 second\'')
    await app.services.files.removals.sweep()
    assert await keys_of(S3Files(bucket)) == []
    again = (await upload(app, LARGE)).json()
    answer = await app.client.get(f"/api/files/docs/{again['id']}/{again['file']}")
    assert (answer.status_code, answer.content == LARGE) == (200, True)
    part = await app.client.get(
        f"/api/files/docs/{again['id']}/{again['file']}", headers={"Range": "bytes=-5"}
    )
    assert (part.status_code, part.content) == (206, LARGE[-5:])
