"""Ten thousand jobs while workers and PostgreSQL are killed at random."""

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

from groundplane.db.embedded import EmbeddedPostgres
from groundplane.db.engine import Database
from groundplane.db.migrate import migrate
from groundplane.errors import GroundplaneError
from groundplane.jobs.job import Job
from groundplane.jobs.queue import Jobs
from groundplane.security.ids import record_id

CREW = Path(__file__).with_name("crew.py")
JOBS, KEYS = 10_000, 200
LIMIT_S = 150


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
async def test_every_effect_happens_at_least_once_and_in_order_whatever_is_killed(
    postgres: EmbeddedPostgres,
) -> None:
    url = await asyncio.to_thread(postgres.start)
    db = await Database.connect(url, max_size=4)
    await migrate(db)
    await db.execute("CREATE TABLE effects (row bigserial, job text, key text, n int)")
    await db.execute("CREATE TABLE wanted (id text PRIMARY KEY, key text, n int)")
    jobs = Jobs(db)

    async def elsewhere(_: Job) -> None:
        raise NotImplementedError

    jobs.register("effect", elsewhere, max_attempts=100)
    dice = random.Random(11)

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, str(CREW), url, stderr=asyncio.subprocess.DEVNULL
        )

    crew = [await start() for _ in range(2)]
    try:
        for n in range(JOBS):
            key, mark = f"k{dice.randrange(KEYS)}" if n % 2 else "", record_id()

            async def write(n: int = n, key: str = key, mark: str = mark) -> None:
                # As a record and its event: both or neither. The mark shows which of two tries was kept.
                async with db.transaction():
                    if await db.fetchval("SELECT 1 FROM wanted WHERE id = $1", mark) is None:
                        await db.execute("INSERT INTO wanted VALUES ($1, $2, $3)", mark, key, n)
                        await jobs.add("effect", {"n": n}, order_key=key)

            await patiently(write)
            if n % 500 == 499:
                victim = dice.randrange(len(crew))
                if crew[victim].returncode is None:
                    crew[victim].kill()
                await crew[victim].wait()
                crew[victim] = await start()
            if n % 2500 == 2499:
                await asyncio.to_thread(kill_and_start, postgres)
        for place, process in enumerate(crew):
            # One that could not even connect while the database was away has ended.
            if process.returncode is not None:
                crew[place] = await start()

        async def unfinished() -> Any:
            return await db.fetchval("SELECT count(*) FROM _jobs WHERE state <> 'done'")

        async with asyncio.timeout(LIMIT_S):
            while await patiently(unfinished):  # noqa: ASYNC110  # the fact is in the database
                await asyncio.sleep(0.1)
        wanted = await db.fetch("SELECT key, n FROM wanted ORDER BY n")
        effects = await db.fetch("SELECT job, key, n FROM effects ORDER BY row")
        lost = await db.fetchval("SELECT count(*) FROM _job_runs WHERE outcome = 'lost'")
    finally:
        for process in crew:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await db.close()
    assert len(wanted) == JOBS
    assert {row["n"] for row in effects} == {row["n"] for row in wanted}
    assert len({row["job"] for row in effects}) == JOBS, "a repetition has the id of the first"
    assert lost > 0
    expected, found = defaultdict(list), defaultdict(list)
    for row in wanted:
        expected[row["key"]].append(row["n"])
    for row in effects:
        # A repetition stands directly behind what it repeats.
        if row["key"] and found[row["key"]][-1:] != [row["n"]]:
            found[row["key"]].append(row["n"])
    del expected[""]
    assert found == expected
