"""When the database fails, every request gets its own right answer or a clear 503, and nothing is written twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.records.conftest import GUEST, Base

from groundplane.app import functions_sql
from groundplane.db.embedded import EmbeddedPostgres
from groundplane.db.engine import Database
from groundplane.db.migrate import migrate
from groundplane.errors import Invalid, Unavailable
from groundplane.records.quick import NOBODY
from groundplane.records.shapes import SIGHTINGS
from groundplane.records.values import Submitted

Make = Callable[..., dict[str, Any]]
Own = tuple[Base, EmbeddedPostgres, Callable[[], None]]


class SmallDisk:
    """A file system in memory that holds `size` bytes, for PostgreSQL's user."""

    def __init__(self, folder: Path, size: str, owner: int) -> None:
        self.folder = folder
        options = f"size={size},uid={owner},gid={owner},mode=0700"
        self._run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))

    def grow(self, size: str) -> None:
        self._run("mount", "-o", f"remount,size={size}", str(self.folder))

    def leave(self) -> None:
        self._run("umount", "--lazy", str(self.folder))

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr)


async def create(base: Base, values: dict[str, Any]) -> dict[str, Any]:
    """A create as the edge does it: the short way, and the ordinary one when that has written nothing."""
    quick = await base.records.create_quickly("notes", Submitted(values), {}, NOBODY)
    if quick is not None:
        found: dict[str, Any] = msgspec.json.decode(quick.body)
        return found
    return await base.create("notes", values)


async def stored(base: Base) -> dict[str, str]:
    rows = await base.db.fetch("SELECT id, title FROM notes")
    assert len({row["title"] for row in rows}) == len(rows), "something was written twice"
    return {row["id"]: row["title"] for row in rows}


@pytest.fixture
async def notes(base: Base, field: Make) -> Base:
    await make_notes(base, field)
    return base


async def make_notes(base: Base, field: Make, *indexes: str) -> None:
    await base.collection("notes", field("title"), field("n", "number"), indexes=list(indexes))
    for number in range(SIGHTINGS):
        await create(base, {"title": f"first {number}"})


async def test_a_poisoned_create_fails_alone(notes: Base) -> None:
    # What PostgreSQL refuses for reasons that no field knows: the whole statement, whoever shares it.
    await notes.db.execute("CREATE INDEX poison ON notes ((10 / (n - 13)))")
    bodies = [{"title": f"t{number}", "n": 13 if number == 20 else 1} for number in range(60)]
    outcomes = await asyncio.gather(*(create(notes, body) for body in bodies), return_exceptions=True)
    assert [number for number, each in enumerate(outcomes) if isinstance(each, BaseException)] == [20]
    assert isinstance(outcomes[20], Invalid)
    written = await stored(notes)
    for body, each in zip(bodies, outcomes, strict=True):
        assert isinstance(each, BaseException) or written[each["id"]] == body["title"]


async def test_duplicates_hear_of_it_and_the_others_are_written_together(base: Base, field: Make) -> None:
    await make_notes(base, field, "CREATE UNIQUE INDEX u ON notes (title)")
    before = await base.db.fetchval("SELECT count(DISTINCT xmin::text) FROM notes")
    titles = [f"t{number}" if number % 50 else "first 0" for number in range(200)]
    outcomes = await asyncio.gather(
        *(create(base, {"title": title}) for title in titles), return_exceptions=True
    )
    refused = [title for title, each in zip(titles, outcomes, strict=True) if isinstance(each, BaseException)]
    assert refused == ["first 0"] * 4
    assert all(
        isinstance(each, Invalid) and "title" in each.data for each in outcomes if not isinstance(each, dict)
    )
    # Four in two hundred do not cost the others their common commits.
    assert await base.db.fetchval("SELECT count(DISTINCT xmin::text) FROM notes") - before <= 10


async def test_a_lock_that_is_held_too_long_delays_only_who_needs_it(base: Base, field: Make) -> None:
    people = await base.collection("people", field("name"))
    await base.collection(
        "notes", field("title"), field("owner", "relation", collectionId=people.id, maxSelect=1)
    )
    held, free = [(await base.create("people"))["id"] for _ in range(2)]
    for number in range(SIGHTINGS):
        await create(base, {"title": f"first {number}", "owner": free})
    async with base.db.transaction():
        await base.db.execute("UPDATE people SET id = id || 'x' WHERE id = $1", held)
        work = [
            asyncio.create_task(create(base, {"title": f"t{number}", "owner": held if number == 5 else free}))
            for number in range(20)
        ]
        done, waiting = await asyncio.wait(work, timeout=12, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 19 and waiting:
            more, waiting = await asyncio.wait(waiting, timeout=12, return_when=asyncio.FIRST_COMPLETED)
            assert more, "who does not need the lock waits for it"
            done |= more
        assert waiting == {work[5]}
    with pytest.raises(Invalid):
        await work[5]
    assert len(await stored(base)) == SIGHTINGS + 19


async def test_a_backend_killed_in_the_middle_leaves_no_half_truth(notes: Base) -> None:
    # Each statement waits for a lock, so that it is killed in its middle.
    await notes.db.execute("CREATE TABLE gate (id int)")
    await notes.db.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END'"
    )
    await notes.db.execute("CREATE TRIGGER wait BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION wait()")
    async with notes.db.transaction():
        await notes.db.execute("SELECT pg_advisory_xact_lock(4711)")
        work = [asyncio.create_task(create(notes, {"title": f"t{number}"})) for number in range(30)]
        victims = "SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        while not (pids := await notes.db.fetch(victims)):  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.01)
        for row in pids:
            await notes.db.fetchval("SELECT pg_terminate_backend($1, 5000)", row[0])
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert all(isinstance(each, dict | Unavailable) for each in outcomes)
    assert any(isinstance(each, Unavailable) for each in outcomes)
    written = await stored(notes)
    for number, each in enumerate(outcomes):
        assert (f"t{number}" in written.values()) == isinstance(each, dict)
    assert (await create(notes, {"title": "later"}))["title"] == "later"


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Own]:
    """Records on a PostgreSQL of their own, with a way to end it at once."""
    folder = Path(tempfile.mkdtemp(prefix="groundplane-faults-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "postgres")
    database = await Database.connect(await asyncio.to_thread(server.start))
    await migrate(database, functions_sql())
    base = Base(database, tmp_path / "storage")
    await base.collections.load()

    def end() -> None:
        lines = (folder / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), signal.SIGQUIT)  # at once, as a crash

    try:
        yield base, server, end
    finally:
        await database.close()
        await asyncio.to_thread(server.stop)
        shutil.rmtree(folder, ignore_errors=True)


async def test_acknowledged_writes_survive_a_crash_under_load(own: Own, field: Make) -> None:
    base, server, end = own
    await make_notes(base, field)
    answered: dict[str, str] = {}
    refused = 0
    enough = asyncio.Event()
    stopped = False

    async def client(number: int) -> None:
        nonlocal refused
        count = 0
        while not stopped:
            count += 1
            title = f"{number}-{count}"
            try:
                made = await create(base, {"title": title})
            except Unavailable:
                refused += 1
                await asyncio.sleep(0.02)
                continue
            assert made["title"] == title
            answered[made["id"]] = title
            if len(answered) % 100 == 0:
                enough.set()

    clients = [asyncio.create_task(client(number)) for number in range(16)]
    await enough.wait()
    end()
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    enough.clear()
    before = len(answered)
    while len(answered) < before + 200:
        await enough.wait()
        enough.clear()
    stopped = True
    await asyncio.gather(*clients)
    assert refused
    written = await stored(base)
    assert {id: written.get(id) for id in answered} == answered
    assert (await base.view("notes", next(iter(answered)), GUEST))["title"]


@pytest.fixture
async def small(own: Own) -> AsyncIterator[SmallDisk]:
    _, server, _ = own
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    owner = (server.folder / "data").stat().st_uid
    folder = Path(tempfile.mkdtemp(prefix="groundplane-small-"))
    try:
        disk = SmallDisk(folder, "3m", owner)
    except OSError as error:
        folder.rmdir()
        pytest.skip(f"needs the right to mount a small file system: {error}")
    try:
        yield disk
    finally:
        disk.leave()
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_full_disk_refuses_clearly_and_loses_nothing(own: Own, small: SmallDisk, field: Make) -> None:
    base, _, _ = own
    await base.collection("notes", field("title"), field("text"))
    for number in range(SIGHTINGS):
        await create(base, {"title": f"first {number}"})
    # Not a value of a client: the folder is our own.
    await base.db.execute(f"CREATE TABLESPACE small LOCATION '{small.folder}'")
    await base.db.execute('ALTER TABLE "notes" SET TABLESPACE small')
    # What compresses would be stored in a fraction.
    answered: dict[str, str] = {}

    async def write(title: str) -> bool:
        try:
            made = await create(base, {"title": title, "text": os.urandom(1500).hex()})
        except Unavailable:
            return False
        answered[made["id"]] = title
        return True

    async def until_refused(client: int) -> int:
        for number in range(2000):
            if not await write(f"{client}-{number}"):
                return number
        return 2000

    counts = await asyncio.gather(*(until_refused(client) for client in range(8)))
    assert max(counts) < 2000, "the disk has not become full"
    # It stays readable, and every answer that was given is true.
    written = await stored(base)
    assert {id: written.get(id) for id in answered} == answered
    assert (await base.view("notes", next(iter(answered)), GUEST))["title"]
    small.grow("64m")
    for number in range(50):
        assert await write(f"later {number}")
    written = await stored(base)
    assert {id: written.get(id) for id in answered} == answered
    assert len(written) == len(answered) + SIGHTINGS
    await base.db.execute('DROP TABLE "notes"')
    await base.db.execute("DROP TABLESPACE small")
