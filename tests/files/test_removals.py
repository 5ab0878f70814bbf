"""Files that no record names any more go, whatever happens to the store or the server meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from groundplane.doctor import examine_services
from groundplane.errors import Unavailable
from groundplane.files.local import TEMPORARY, LocalFiles
from groundplane.files.storage import StorageFailed
from groundplane.testing import clock as clocks
from groundplane.testing.clock import FrozenClock
from groundplane.testing.file_storage import chunks, keys_of
from groundplane.testing.server import Server

clock = clocks.clock
RULES = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")
DOCS = {
    "name": "docs",
    "type": "base",
    "fields": [{"name": "files", "type": "file", "maxSelect": 9}],
    **RULES,
}
RECORDS = "/api/collections/docs/records"


class Faulty(LocalFiles):
    """A store that is away while `is_away` says so."""

    is_away = False

    async def delete(self, key: str) -> None:
        if self.is_away:
            raise StorageFailed("nobody answers")
        await super().delete(key)

    async def delete_prefix(self, prefix: str) -> None:
        if self.is_away:
            raise StorageFailed("nobody answers")
        await super().delete_prefix(prefix)


class App:
    """A server over a store that can go away."""

    def __init__(self, server: Server, store: Faulty) -> None:
        self.server = server
        self.store = store
        self.removals = server.services.files.removals

    async def make(self, *names: str, **data: Any) -> dict[str, Any]:
        files = [("files", (name, name.encode())) for name in names]
        answer = await self.server.client.post(RECORDS, data=data, files=files)
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    async def keys(self) -> list[str]:
        return await keys_of(self.store)

    async def outbox(self) -> int:
        return int(await self.server.services.db.fetchval('SELECT count(*) FROM "_file_removals"'))


@pytest.fixture
async def app(server: Server) -> App:
    await server.services.collections.create(DOCS)
    chosen: Any = server.services.files.storage
    store = chosen.local = Faulty(chosen.local.root)
    return App(server, store)


async def test_what_is_written_and_removed_leaves_nothing_to_do(app: App) -> None:
    record = await app.make("a.txt", "b.txt")
    kept, gone = record["files"]
    path = f"{RECORDS}/{record['id']}"
    assert (await app.server.client.patch(path, json={"files-": gone})).status_code == 200
    assert await app.keys() == [f"{record['collectionId']}/{record['id']}/{kept}"]
    assert (await app.server.client.delete(path)).status_code == 204
    assert (await app.keys(), await app.outbox()) == ([], 0)


async def test_a_store_that_is_away_is_tried_until_it_is_back(app: App, clock: FrozenClock) -> None:
    record = await app.make("a.txt", "b.txt")
    path = f"{RECORDS}/{record['id']}"
    app.store.is_away = True
    changed = await app.server.client.patch(path, json={"files-": record["files"][0]})
    assert changed.json()["files"] == record["files"][1:]
    assert (await app.server.client.delete(path)).status_code == 204
    assert (len(await app.keys()), await app.outbox()) == (2, 2)
    clock.travel(minutes=2)
    assert await app.removals.sweep() == 0
    late = await app.removals.outbox.late()
    assert (late.removals, late.error) == (2, "nobody answers")
    said = [finding.text async for finding in examine_services(app.server.services) if not finding.sound]
    assert any(text.startswith("files wait to be removed, 2 times, since ") for text in said), said
    # Not again at once.
    app.store.is_away = False
    assert await app.removals.sweep() == 0
    clock.travel(hours=1)
    assert await app.removals.outbox.is_due()
    assert await app.removals.sweep() == 2
    assert (await app.keys(), await app.outbox()) == ([], 0)


async def test_many_requests_do_not_wait_for_a_store_that_is_away(app: App) -> None:
    first, second = await app.make("a.txt"), await app.make("b.txt")
    app.store.is_away = True
    await app.server.client.delete(f"{RECORDS}/{first['id']}")
    app.store.is_away = False
    # It is not even asked again so soon; the sweep does it.
    await app.server.client.delete(f"{RECORDS}/{second['id']}")
    assert (len(await app.keys()), await app.outbox()) == (2, 2)


async def test_a_rolled_back_deletion_removes_nothing(app: App) -> None:
    record = await app.make("a.txt")
    services = app.server.services

    async def deleted_in_vain() -> None:
        async with services.db.transaction():
            await services.records.delete_internal(services.schema.current.find("docs"), record["id"])
            raise Unavailable

    with pytest.raises(Unavailable):
        await deleted_in_vain()
    assert (len(await app.keys()), await app.outbox()) == (1, 0)


async def test_an_upload_whose_server_died_is_swept_away_after_an_hour(app: App, clock: FrozenClock) -> None:
    collection = app.server.services.schema.current.find("docs").id
    await app.removals.outbox.expect(collection, "r" * 15, "half_1234567890.txt")
    await app.store.put(f"{collection}/{'r' * 15}/half_1234567890.txt", chunks(b"half"))
    cut_off = app.store.root / TEMPORARY / "beginning"
    cut_off.parent.mkdir()
    cut_off.write_bytes(b"beg")
    clock.travel(minutes=59)
    assert await app.removals.sweep() == 0
    clock.travel(minutes=2)
    assert await app.removals.sweep() == 1
    assert await app.keys() == []
    assert not cut_off.exists()


async def test_what_a_record_names_is_never_removed(app: App, clock: FrozenClock) -> None:
    record = await app.make("a.txt")
    # As if the commit had been lost on its way to us.
    await app.removals.outbox.expect(record["collectionId"], record["id"], record["files"][0])
    clock.travel(hours=2)
    assert await app.removals.sweep() == 1
    assert len(await app.keys()) == 1


async def test_a_deleted_record_that_is_made_again_keeps_its_new_files(app: App, clock: FrozenClock) -> None:
    record = await app.make("a.txt")
    app.store.is_away = True
    await app.server.client.delete(f"{RECORDS}/{record['id']}")
    app.store.is_away = False
    again = await app.make("b.txt", id=record["id"])
    clock.travel(hours=2)
    assert await app.removals.sweep() == 1
    assert await app.keys() == [f"{again['collectionId']}/{again['id']}/{again['files'][0]}"]


async def test_a_deleted_collection_goes_as_a_whole_and_one_made_again_keeps_its_files(
    app: App, clock: FrozenClock
) -> None:
    collections = app.server.services.collections
    await app.make("a.txt")
    await collections.delete("docs")
    assert (await app.keys(), await app.outbox()) == ([], 0)
    await collections.create(DOCS)
    await app.make("b.txt")
    app.store.is_away = True
    clock.travel(hours=-1)
    await collections.delete("docs")
    app.store.is_away = False
    # The same name gives the same id.
    await collections.create(DOCS)
    clock.travel(hours=3)
    new = await app.make("c.txt")
    assert await app.removals.sweep() == 1
    assert f"{new['collectionId']}/{new['id']}/{new['files'][0]}" in await app.keys()


async def test_an_upload_that_cannot_be_undone_now_is_swept_later(
    app: App, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any, **__: Any) -> None:
        await LocalFiles.put(app.store, *_, **__)
        app.store.is_away = True
        raise StorageFailed("no space")

    monkeypatch.setattr(app.store, "put", full)
    refused = await app.server.client.post(RECORDS, files=[("files", ("a.txt", b"a"))])
    assert refused.status_code == 400
    assert (len(await app.keys()), await app.outbox()) == (1, 1)
    app.store.is_away = False
    clock.travel(hours=2)
    assert await app.removals.sweep() == 1
    assert await app.keys() == []


async def test_two_sweeps_at_once_do_a_removal_once(app: App, clock: FrozenClock) -> None:
    await app.make("a.txt")
    collection = app.server.services.schema.current.find("docs").id
    for number in range(30):
        await app.removals.outbox.expect(collection, "r" * 15, f"{number}.txt")
    clock.travel(hours=2)
    done = await asyncio.gather(app.removals.sweep(), app.removals.sweep())
    assert (sum(done), await app.outbox()) == (30, 0)


async def test_the_job_of_the_clock_is_there_when_something_is_due(app: App, clock: FrozenClock) -> None:
    crons = app.server.services.crons
    assert "__gpFilesCleanup__" not in {cron.id for cron in await crons.all()}
    await app.removals.outbox.expect("c", "r", "a.txt")
    clock.travel(hours=2)
    assert "__gpFilesCleanup__" in {cron.id for cron in await crons.all()}
