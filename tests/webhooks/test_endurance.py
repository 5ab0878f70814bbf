"""Ten thousand deliveries while workers, PostgreSQL and the receiver are killed at random."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from groundplane.app import open_services
from groundplane.db.embedded import EmbeddedPostgres
from groundplane.errors import GroundplaneError
from groundplane.security.ids import record_id

CREW = Path(__file__).with_name("crew.py")
DELIVERIES, RECORDS = 10_000, 200
LIMIT_S = 900


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test's own that keeps what it has acknowledged."""
    with tempfile.TemporaryDirectory(prefix="groundplane-endurance-") as folder:
        os.chmod(folder, 0o755)
        server = EmbeddedPostgres(Path(folder) / "postgres")
        yield server
        server.stop()


async def patiently(act: Callable[[], Awaitable[Any]]) -> Any:
    """Try again while the database is away."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await act()
            except GroundplaneError:
                await asyncio.sleep(0.05)


def kill_and_start(postgres: EmbeddedPostgres) -> None:
    pid = int((postgres.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    give_up_at = time.monotonic() + 60
    while postgres.is_running() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    postgres.start()


@pytest.mark.slow
async def test_every_change_arrives_at_least_once_and_in_order_whatever_is_killed(
    postgres: EmbeddedPostgres, config: Any, receiver: Any, reply: Any, verify: Any
) -> None:
    url = await asyncio.to_thread(postgres.start)
    dice = random.Random(7)

    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def answer(writer: asyncio.StreamWriter) -> None:
        """Mostly well; sometimes an error, sometimes gone after it has heard the message."""
        luck = dice.random()
        status = b"500 No" if luck < 0.02 else b"204 OK"
        if luck > 0.98:
            await hang_up(writer)
        else:
            writer.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\n\r\n")
            await writer.drain()

    receiver.otherwise = answer
    async with open_services(config, url) as services:
        db, records = services.db, services.records
        fields = [{"name": "n", "type": "number"}]
        posts = await services.collections.create({"name": "posts", "type": "base", "fields": fields})
        body = {
            "name": "hook",
            "url": receiver.url,
            "collections": ["posts"],
            "retries": [0.1] * 50,
            "concurrency": 100,
        }
        _, (secret,) = await services.webhooks.create(body)
        await db.execute("CREATE TABLE wanted (id text PRIMARY KEY, record text, n int)")
        ids = [record_id() for _ in range(RECORDS)]

        async def start() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                sys.executable, str(CREW), url, stderr=asyncio.subprocess.DEVNULL
            )

        crew = [await start() for _ in range(2)]
        began = time.monotonic()
        try:
            for n in range(DELIVERIES):
                id, mark = ids[n] if n < RECORDS else dice.choice(ids), record_id()

                async def write(n: int = n, id: str = id, mark: str = mark) -> None:
                    # The mark shows which of two tries was kept.
                    async with db.transaction():
                        if await db.fetchval("SELECT 1 FROM wanted WHERE id = $1", mark) is not None:
                            return
                        await db.execute("INSERT INTO wanted VALUES ($1, $2, $3)", mark, id, n)
                        if n < RECORDS:
                            await records.create_internal(posts, {"id": id, "n": n})
                        else:
                            await records.save_fields(posts, id, {"n": n})

                await patiently(write)
                if n % 700 == 699:
                    victim = dice.randrange(len(crew))
                    if crew[victim].returncode is None:
                        crew[victim].kill()
                    await crew[victim].wait()
                    crew[victim] = await start()
                if n % 1500 == 1499:
                    await receiver.stop()
                    await asyncio.sleep(dice.random() / 2)
                    await receiver.start()
                if n % 2500 == 2499:
                    await asyncio.to_thread(kill_and_start, postgres)
            for place, process in enumerate(crew):
                # One that could not even connect while the database was away has ended.
                if process.returncode is not None:
                    crew[place] = await start()

            async def unfinished() -> Any:
                return await db.fetchval("SELECT count(*) FROM _webhook_deliveries WHERE state = 'waiting'")

            async with asyncio.timeout(LIMIT_S):
                while await patiently(unfinished):  # noqa: ASYNC110  # the fact is in the database
                    await asyncio.sleep(0.2)
            took_s = time.monotonic() - began
            wanted = await db.fetch("SELECT record, n FROM wanted ORDER BY n")
            states = await db.fetch("SELECT state, count(*) AS n FROM _webhook_deliveries GROUP BY state")
            lost = await db.fetchval("SELECT count(*) FROM _job_runs WHERE outcome = 'lost'")
        finally:
            for process in crew:
                if process.returncode is None:
                    process.kill()
                await process.wait()
    assert len(wanted) == DELIVERIES
    assert {row["state"]: row["n"] for row in states} == {"delivered": DELIVERIES}
    assert lost > 0
    assert len(receiver.heard) > DELIVERIES, "some were heard again"
    expected, found, events = defaultdict(list), defaultdict(list), defaultdict(set)
    for row in wanted:
        expected[row["record"]].append(row["n"])
    for heard in receiver.heard:
        record = verify_quickly(heard, secret)["data"]["record"]
        events[record["n"]].add(heard.event)
        # A repetition stands directly behind what it repeats.
        if found[record["id"]][-1:] != [record["n"]]:
            found[record["id"]].append(record["n"])
    assert found == expected
    assert {len(each) for each in events.values()} == {1}, "a repetition has the id of the first"
    again = len(receiver.heard) - DELIVERIES
    print(f"{DELIVERIES} deliveries in {took_s:.0f} s; {again} heard again, {lost} runs of lost workers")  # noqa: T201
    verify(receiver.heard[-1], secret)


def verify_quickly(heard: Any, secret: str) -> Any:
    """The message, its signature checked whatever its age, which the reference library limits to minutes."""
    import base64
    import hashlib
    import hmac

    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{heard.event}.{heard.headers['webhook-timestamp']}.".encode() + heard.body
    signed = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    assert heard.headers["webhook-signature"] == signed
    return heard.message
