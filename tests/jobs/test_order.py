"""Jobs of one order key run one after another, in the order in which they were committed."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

import pytest

from groundplane.db.engine import Database
from groundplane.jobs.job import Backoff, Job
from groundplane.jobs.queue import Jobs
from groundplane.jobs.worker import Worker

EVEN = Backoff(base_s=10, jitter=0)


@pytest.fixture
def worker(db: Database, jobs: Jobs) -> Worker:
    return Worker(db, jobs, slots=8)


async def test_a_failed_job_holds_those_behind_it_back_until_it_is_done(
    jobs: Jobs, worker: Worker, clock: Any, seen: Any
) -> None:
    jobs.register("send", seen, max_attempts=3, backoff=EVEN)
    ids = [await jobs.add("send", order_key="record 1", priority=n) for n in range(3)]
    other = await jobs.add("send", order_key="record 2")
    seen.raises = [OSError()]
    assert await worker.run_due() == 2
    assert set(seen.ids) == {ids[0], other}
    failed = ids[0] if (await jobs.view(ids[0])).state == "waiting" else other
    assert failed == ids[0]
    assert [(await jobs.view(id)).state for id in ids] == ["waiting", "held", "held"]
    clock.move(10)
    assert await worker.run_due() == 3
    assert [id for id in seen.ids if id != other] == [ids[0], *ids]


async def test_a_dead_or_cancelled_job_lets_the_next_one_run(jobs: Jobs, worker: Worker, seen: Any) -> None:
    jobs.register("send", seen, max_attempts=1)
    ids = [await jobs.add("send", order_key="k") for _ in range(4)]
    await jobs.cancel(ids[0])
    await jobs.cancel(ids[2])
    seen.raises = [OSError()]
    assert await worker.run_due() == 2
    assert seen.ids == [ids[1], ids[3]]
    assert [(await jobs.view(id)).state for id in ids] == ["cancelled", "dead", "cancelled", "done"]


async def test_a_retried_job_goes_behind_the_others_of_its_key(jobs: Jobs, worker: Worker, seen: Any) -> None:
    jobs.register("send", seen, max_attempts=1)
    seen.raises = [OSError()]
    first = await jobs.add("send", order_key="k")
    await worker.run_due()
    second = await jobs.add("send", order_key="k")
    await jobs.retry(first)
    third = await jobs.add("send", order_key="k")
    await worker.run_due()
    assert seen.ids == [first, second, first, third]


async def test_the_order_is_that_of_the_commits(
    db: Database, other_db: Database, jobs: Jobs, clock: Any, worker: Worker, seen: Any
) -> None:
    jobs.register("send", seen)
    other = Jobs(other_db, clock=clock)
    other.register("send", seen)
    added = asyncio.Event()

    async def late() -> None:
        # Begins first, adds second.
        async with other_db.transaction():
            await other_db.fetchval("SELECT 1")
            await added.wait()
            await other.add("send", {"n": 2}, order_key="k")

    task = asyncio.create_task(late())
    async with db.transaction():
        await jobs.add("send", {"n": 1}, order_key="k")
        added.set()
        # The other one waits for our commit: it cannot come to stand before us.
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(20):
            while not await db.fetchval(waiting):
                pass
        assert not task.done()
    await task
    await worker.run_due()
    assert [job.payload["n"] for job in seen.jobs] == [1, 2]


async def test_under_concurrency_the_jobs_of_a_key_run_singly_and_in_order(
    database_url: str, db: Database, other_db: Database
) -> None:
    """Four workers in two processes' worth of connections, writers beside them, one attempt in five failing."""
    ran: dict[str, list[int]] = defaultdict(list)
    active: set[str] = set()
    together: list[str] = []
    dice = random.Random(7)

    async def handler(job: Job) -> None:
        key = job.order_key
        if key in active:
            together.append(key)
        active.add(key)
        await db.fetchval("SELECT 1")
        active.discard(key)
        if dice.random() < 0.2:
            raise OSError
        ran[key].append(job.payload["n"])

    queues = [Jobs(db), Jobs(other_db)]
    for queue in queues:
        queue.register("send", handler, max_attempts=1000, backoff=lambda _: 0.01)
    workers = [Worker(db if n % 2 else other_db, queues[n % 2], slots=3, name=f"w{n}") for n in range(4)]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    numbers: dict[str, int] = defaultdict(int)

    async def write(queue: Jobs) -> None:
        for _ in range(40):
            key = f"k{dice.randrange(6)}"
            async with (db if queue is queues[0] else other_db).transaction() as connection:
                # The number is drawn while the key's lock is held, as a record's version would be.
                id = await queue.add("send", {"n": 0}, order_key=key)
                numbers[key] += 1
                await connection.execute(
                    "UPDATE _jobs SET payload = json_build_object('n', $2::int) WHERE id = $1",
                    id,
                    numbers[key],
                )

    await asyncio.gather(write(queues[0]), write(queues[1]))
    async with asyncio.timeout(60):
        while await db.fetchval(  # noqa: ASYNC110  # the fact is in the database
            "SELECT count(*) FROM _jobs WHERE finished IS NULL"
        ):
            await asyncio.sleep(0.02)
    for worker in workers:
        worker.stop()
    await asyncio.gather(*tasks)
    assert together == []
    assert dict(ran) == {key: list(range(1, count + 1)) for key, count in numbers.items()}
    assert sum(numbers.values()) == 80
