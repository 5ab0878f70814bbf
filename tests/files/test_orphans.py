"""Files that no record names are found, and nothing else is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from groundplane.files.orphans import NO_COLLECTION, NO_RECORD, NOT_NAMED, find_orphans
from groundplane.testing.file_storage import chunks
from groundplane.testing.server import Server

NOW = timedelta(0)


@pytest.fixture
async def app(server: Server) -> Server:
    fields = [{"name": "one", "type": "file"}, {"name": "many", "type": "file", "maxSelect": 5}]
    await server.services.collections.create(
        {"name": "docs", "type": "base", "fields": fields, "createRule": ""}
    )
    await server.services.collections.create(
        {"name": "plain", "type": "base", "fields": [], "createRule": ""}
    )
    return server


async def make(app: Server) -> dict[str, str]:
    files = [("one", ("a.txt", b"x")), ("many", ("b.txt", b"x")), ("many", ("c.txt", b"x"))]
    return (await app.client.post("/api/collections/docs/records", files=files)).json()  # type: ignore[no-any-return]


async def found(app: Server, min_age: timedelta = NOW) -> dict[str, str]:
    services = app.services
    orphans = find_orphans(services.files.storage, services.db, services.schema.current, min_age)
    return {orphan.key: orphan.reason async for orphan in orphans}


async def put(app: Server, *keys: str) -> None:
    for key in keys:
        await app.services.files.storage.put(key, chunks(b"left over"))


async def test_the_files_of_records_and_their_thumbs_are_no_orphans(app: Server) -> None:
    record = await make(app)
    folder = f"{record['collectionId']}/{record['id']}"
    await put(app, f"{folder}/thumbs_{record['one']}/100x100_{record['one']}")
    assert await found(app) == {}


async def test_what_no_record_names_is_an_orphan_with_the_reason(app: Server) -> None:
    record = await make(app)
    docs, plain = record["collectionId"], app.services.schema.current.find("plain").id
    folder = f"{docs}/{record['id']}"
    wanted = {
        f"{folder}/other.txt": NOT_NAMED,
        f"{folder}/thumbs_other.txt/1x1_other.txt": NOT_NAMED,
        f"{docs}/missingmissing1/a.txt": NO_RECORD,
        f"{plain}/somesomesome123/a.txt": NO_RECORD,
        "pbc_123456/somesomesome123/a.txt": NO_COLLECTION,
        "abcdefghijklmno/somesomesome123/a.txt": NO_COLLECTION,
    }
    await put(app, *wanted)
    assert await found(app) == wanted


async def test_what_is_not_ours_is_left_alone(app: Server) -> None:
    await put(app, "backups/a/b.zip", "backup.zip", "a/b", "some/one/elses/file", "x/y/thumbs_z/a/b")
    assert await found(app) == {}


async def test_what_is_young_may_belong_to_a_record_that_is_being_written(app: Server) -> None:
    await put(app, "pbc_123456/somesomesome123/a.txt")
    assert await found(app, timedelta(hours=1)) == {}


async def test_many_records_are_looked_at_in_several_statements(
    app: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundplane.files.orphans.AT_ONCE", 2)
    records = [await make(app) for _ in range(5)]
    keys = {f"{record['collectionId']}/{record['id']}/left.txt": NOT_NAMED for record in records}
    await put(app, *keys)
    assert await found(app) == keys
