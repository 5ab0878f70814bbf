"""What the supervisor does when one of its processes is killed while requests are coming."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from groundplane.testing.live import LiveServer

LIMIT_S = 60
WRITERS = 4
NOTES = """
[[collections]]
name = "notes"
listRule = ""
viewRule = ""
createRule = ""
[collections.fields]
title = {type = "text"}
"""
RECORDS = "/api/collections/notes/records"
WORKER = "groundplane-web"
POSTGRES = "pginstall/bin/postgres -D"


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[LiveServer]:
    """A server of two workers on its own embedded PostgreSQL, with an open collection."""
    async with LiveServer(tmp_path / "live", config=NOTES) as server:
        yield server


class Writing:
    """Writers that never pause; `saved` are the ids whose answers came, `statuses` counts the others."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self.saved: list[str] = []
        self.statuses: Counter[int | str] = Counter()
        self._progress = asyncio.Condition()

    async def write(self) -> None:
        while True:
            try:
                answer = await self._server.client.post(RECORDS, json={"title": "x"})
            except httpx.TransportError as error:
                self.statuses[type(error).__name__] += 1
                await asyncio.sleep(0.01)
                continue
            async with self._progress:
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self.saved.append(answer.json()["id"])
                self._progress.notify_all()

    async def more(self, count: int) -> None:
        """Wait until so many more writes were acknowledged."""
        wanted = len(self.saved) + count
        async with asyncio.timeout(LIMIT_S), self._progress:
            await self._progress.wait_for(lambda: len(self.saved) >= wanted)


@asynccontextmanager
async def writing(server: LiveServer) -> AsyncIterator[Writing]:
    work = Writing(server)
    tasks = [asyncio.create_task(work.write()) for _ in range(WRITERS)]
    try:
        await work.more(20)
        yield work
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stored(server: LiveServer) -> set[str]:
    ids: set[str] = set()
    page = 1
    while True:
        answer = await server.client.get(
            RECORDS, params={"page": page, "perPage": 1000, "fields": "id", "skipTotal": 1, "sort": "id"}
        )
        items = answer.json()["items"]
        ids |= {item["id"] for item in items}
        if len(items) < 1000:
            return ids
        page += 1


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not fact():  # noqa: ASYNC110  # a process's end has no event here
            await asyncio.sleep(0.02)


async def test_a_killed_worker_is_replaced_and_requests_go_on(notes: LiveServer) -> None:
    before = set(notes.pids(WORKER))
    assert len(before) == 2
    async with writing(notes) as work:
        os.kill(min(before), signal.SIGKILL)
        await work.more(50)
        await until(lambda: len(notes.pids(WORKER)) == 2 and set(notes.pids(WORKER)) != before)
        await work.more(50)
    assert set(work.statuses) <= {200, "RemoteProtocolError", "ReadError", "ConnectError", "WriteError"}
    assert set(work.saved) <= await stored(notes)


async def test_after_a_killed_postgresql_requests_are_503_and_then_go_on(notes: LiveServer) -> None:
    postgres = notes.pids(POSTGRES)[0]
    async with writing(notes) as work:
        os.kill(postgres, signal.SIGKILL)
        await until(lambda: notes.pids(POSTGRES) not in ([], [postgres]))
        await work.more(50)
    assert set(work.statuses) <= {200, 503}
    assert set(work.saved) <= await stored(notes)


async def test_nothing_outlives_a_killed_supervisor_and_the_next_start_has_every_write(
    notes: LiveServer,
) -> None:
    processes = notes.pids(WORKER) + notes.pids(POSTGRES)
    async with writing(notes) as work:
        assert await notes.stop(signal.SIGKILL) == -signal.SIGKILL
    await until(lambda: not any(is_alive(pid) for pid in processes))
    await notes.start()
    assert set(work.saved) <= await stored(notes)
    async with writing(notes):
        pass


@pytest.mark.slow
async def test_a_minute_of_random_kills_loses_no_acknowledged_write(notes: LiveServer) -> None:
    """Workers, PostgreSQL and the supervisor die in an order that the seed decides."""
    chance = random.Random(int(os.environ.get("GROUNDPLANE_TEST_SEED", "1")))
    saved: set[str] = set()
    statuses: Counter[int | str] = Counter()
    killed: Counter[str] = Counter()
    ends = asyncio.get_running_loop().time() + 60
    while asyncio.get_running_loop().time() < ends:
        victim = chance.choice(["worker", "worker", "postgres", "supervisor"])
        killed[victim] += 1
        async with writing(notes) as work:
            await work.more(chance.randrange(1, 200))
            if victim == "supervisor":
                await notes.stop(signal.SIGKILL)
            else:
                pids = notes.pids(WORKER if victim == "worker" else POSTGRES)
                if pids:
                    os.kill(chance.choice(pids), signal.SIGKILL)
                await work.more(20)
        saved |= set(work.saved)
        if victim == "supervisor":
            await notes.start()
        else:
            statuses += work.statuses
    assert killed.keys() == {"worker", "postgres", "supervisor"}
    assert saved <= await stored(notes)
    assert 500 not in statuses


async def test_a_change_of_the_schema_is_known_to_every_worker_when_it_is_answered(notes: LiveServer) -> None:
    code, said = await notes.command("superuser", "upsert", "admin@example.com", "1234567890")
    assert code == 0, said
    signed_in = await notes.client.post(
        "/api/collections/_superusers/auth-with-password",
        json={"identity": "admin@example.com", "password": "1234567890"},
    )
    token = {"Authorization": signed_in.json()["token"]}
    for number in range(10):
        made = await notes.client.post(
            "/api/collections", json={"name": f"made_{number}", "type": "base", "listRule": ""}, headers=token
        )
        assert made.status_code == 200, made.text
        # Each request is a connection of its own, and connections are spread over the workers.
        async with httpx.AsyncClient(base_url=notes.url) as other:
            answers = [await other.get(f"/api/collections/made_{number}/records") for _ in range(2)]
        answers += await asyncio.gather(*(fresh_get(notes, f"made_{number}") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}


async def fresh_get(server: LiveServer, name: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as client:
        return await client.get(f"/api/collections/{name}/records")


async def test_sigterm_ends_every_process_with_exit_code_0(notes: LiveServer) -> None:
    processes = notes.pids(WORKER) + notes.pids(POSTGRES)
    assert len(processes) == 3
    assert await notes.stop() == 0
    assert not any(is_alive(pid) for pid in processes)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_with_dev_a_changed_file_is_applied_and_a_wrong_one_is_not(
    server_database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "live"
    async with LiveServer(folder, server_database_url, config=NOTES, workers=1, flags=["--dev"]) as server:
        server.config_file.write_text("[[collections]]\nname = 5\n")
        await until(lambda: b"was not applied" in server.output)
        assert (await server.client.get(RECORDS)).status_code == 200
        server.config_file.write_text(NOTES + NOTES.replace("notes", "more"))
        await until(lambda: b"the workers start anew" in server.output)
        # On a connection of its own: the old one ends with its worker.
        assert (await fresh_get(server, "more")).status_code == 200
