"""The loop that runs jobs: wakes, keeps leases, interrupts, stops, and survives its neighbours' deaths."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from groundplane.db.engine import Database
from groundplane.jobs.job import Backoff, Job
from groundplane.jobs.queue import Jobs
from groundplane.jobs.worker import Worker

LIMIT_S = 60
CREW = Path(__file__).with_name("crew.py")


@pytest.fixture
async def real(db: Database) -> Jobs:
    """A queue by the database's own clock."""
    return Jobs(db)


@asynccontextmanager
async def at_work(*workers: Worker, grace_s: float = 10) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.run(grace_s)) for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*tasks)


async def until(fact: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await fact():  # noqa: ASYNC110  # the fact is in the database
            await asyncio.sleep(0.01)


async def until_state(jobs: Jobs, id: str, *states: str) -> Job:
    async def reached() -> bool:
        return (await jobs.view(id)).state in states

    await until(reached)
    return await jobs.view(id)


async def test_a_worker_is_woken_by_a_new_job(db: Database, real: Jobs) -> None:
    started = asyncio.Event()
    took: list[float] = []
    loop = asyncio.get_running_loop()

    async def handler(_: Job) -> None:
        took.append(loop.time() - added)
        started.set()

    real.register("greet", handler)
    async with at_work(Worker(db, real)):
        added = loop.time()
        for _ in range(5):
            started.clear()
            added = loop.time()
            await real.add("greet")
            async with asyncio.timeout(LIMIT_S):
                await started.wait()
    # Without notifications a look comes every five seconds; the first may come before it listens.
    assert sorted(took)[2] < 1


async def test_a_delayed_job_is_run_when_it_is_due_without_a_notification(
    db: Database, real: Jobs, seen: Any
) -> None:
    real.register("greet", seen)
    async with at_work(Worker(db, real)):
        job = await until_state(real, await real.add("greet", delay_s=0.3), "done")
    assert job.started is not None
    assert 0 <= (job.started - job.run_at).total_seconds() < 3


async def test_two_workers_never_run_one_job_at_the_same_time(
    db: Database, other_db: Database, seen: Any
) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def handler(job: Job) -> None:
        running[job.id] += 1
        most[job.id] = max(most[job.id], running[job.id])
        await asyncio.sleep(0)
        running[job.id] -= 1
        seen.jobs.append(job)

    queues = [Jobs(db), Jobs(other_db)]
    for queue in queues:
        queue.register("greet", handler)
    ids = [await queues[0].add("greet") for _ in range(200)]
    async with at_work(Worker(db, queues[0]), Worker(other_db, queues[1]), Worker(other_db, queues[1])):
        await until(lambda: all_finished(db))
    assert sorted(seen.ids) == sorted(ids)
    assert set(most.values()) == {1}


async def all_finished(db: Database) -> bool:
    return not await db.fetchval("SELECT count(*) FROM _jobs WHERE finished IS NULL")


async def test_a_job_that_takes_too_long_is_stopped_and_has_failed(db: Database, real: Jobs) -> None:
    stopped = asyncio.Event()

    async def handler(_: Job) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    real.register("slow", handler, timeout_s=0.05, max_attempts=1)
    id = await real.add("slow")
    await Worker(db, real).run_due()
    assert stopped.is_set()
    job = await real.view(id)
    assert (job.state, job.error) == ("dead", "The job ran longer than 0.05 seconds.")
    assert [run.outcome for run in await real.runs(id)] == ["timed_out"]


async def test_a_handlers_own_timeout_or_cancellation_is_a_failure_like_any_other(
    db: Database, real: Jobs
) -> None:
    async def gives_out(_: Job) -> None:
        raise TimeoutError("the other side")

    async def cancels(_: Job) -> None:
        raise asyncio.CancelledError

    real.register("a", gives_out)
    real.register("b", cancels)
    ids = [await real.add("a"), await real.add("b")]
    await Worker(db, real).run_due()
    jobs = [await real.view(id) for id in ids]
    assert [(job.state, job.error) for job in jobs] == [
        ("waiting", "TimeoutError: the other side"),
        ("waiting", "The handler was cancelled."),
    ]


async def test_a_running_job_is_interrupted_when_it_is_cancelled(db: Database, real: Jobs) -> None:
    started = asyncio.Event()

    async def handler(_: Job) -> None:
        started.set()
        await asyncio.Event().wait()

    real.register("slow", handler)
    async with at_work(Worker(db, real)):
        id = await real.add("slow")
        await started.wait()
        await real.cancel(id)
        await until_state(real, id, "cancelled")
    assert [run.outcome for run in await real.runs(id)] == ["cancelled"]


async def test_a_cancelled_job_that_fails_is_not_tried_again(jobs: Jobs, seen: Any) -> None:
    jobs.register("call", seen)
    await jobs.add("call")
    [job] = await jobs.claim("w", 1, 30)
    await jobs.cancel(job.id)
    await jobs.fail(job, "no")
    assert (await jobs.view(job.id)).state == "cancelled"


async def test_a_stopping_worker_finishes_what_it_can_and_gives_the_rest_back(
    db: Database, real: Jobs
) -> None:
    started = asyncio.Semaphore(0)
    finish = asyncio.Event()

    async def handler(job: Job) -> None:
        started.release()
        await (finish if job.payload["quick"] else asyncio.Event()).wait()

    real.register("work", handler)
    worker = Worker(db, real, name="one")
    task = asyncio.create_task(worker.run(grace_s=0.5))
    quick, slow = await real.add("work", {"quick": True}), await real.add("work", {"quick": False})
    await started.acquire()
    await started.acquire()
    worker.stop()
    late = await real.add("work", {"quick": True})
    finish.set()
    async with asyncio.timeout(LIMIT_S):
        await task
    assert (await real.view(quick)).state == "done"
    given = await real.view(slow)
    assert (given.state, given.attempts, given.worker) == ("waiting", 0, "")
    assert [run.outcome for run in await real.runs(slow)] == ["given_back"]
    assert (await real.view(late)).runs == 0
    # Somebody else can have it at once.
    assert {job.id for job in await real.claim("two", 5, 30)} == {slow, late}


async def test_leases_are_renewed_while_a_job_runs_longer_than_one(db: Database, other_db: Database) -> None:
    runs: list[str] = []
    release = asyncio.Event()

    async def handler(job: Job) -> None:
        runs.append(job.id)
        await release.wait()

    first, second = Jobs(db), Jobs(other_db)
    for queue in (first, second):
        queue.register("long", handler)
    id = await first.add("long")
    async with at_work(Worker(db, first, lease_s=0.3), Worker(other_db, second, lease_s=0.3)):
        renewed = "SELECT lease_until - started > interval '1 second' FROM _jobs"
        await until(lambda: db.fetchval(renewed))
        release.set()
        await until_state(first, id, "done")
    assert runs == [id]


async def test_a_worker_whose_lease_was_lost_stops_the_run_and_stores_nothing(
    db: Database, jobs: Jobs, clock: Any
) -> None:
    stopped, started = asyncio.Event(), asyncio.Event()

    async def handler(_: Job) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    jobs.register("long", handler)
    id = await jobs.add("long")
    worker = Worker(db, jobs, name="one")
    task = asyncio.create_task(worker.run_due())
    await started.wait()
    clock.move(31)
    other = Jobs(db, clock=clock)
    other.register("long", handler)
    assert await other.take_back() == 1
    [theirs] = await other.claim("two", 1, 30)
    await worker.renew()
    await stopped.wait()
    await task
    assert (await jobs.view(id)).worker == "two"
    await other.finish(theirs)
    assert [(run.worker, run.outcome) for run in await jobs.runs(id)] == [("two", "done"), ("one", "lost")]


async def test_work_goes_on_after_the_connections_were_lost(
    database_url: str, db: Database, other_db: Database
) -> None:
    release, started = asyncio.Event(), asyncio.Event()

    async def handler(job: Job) -> None:
        if job.payload["slow"]:
            started.set()
            await release.wait()

    real, adding = Jobs(db), Jobs(other_db)
    for queue in (real, adding):
        queue.register("work", handler, backoff=Backoff(base_s=0.1))
    async with at_work(Worker(db, real)):
        slow = await adding.add("work", {"slow": True})
        await started.wait()
        await other_db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        release.set()
        quick = await adding.add("work", {"slow": False})
        await until_state(adding, slow, "done")
        await until_state(adding, quick, "done")


# Processes that are killed


@pytest.fixture
async def crew(database_url: str, db: Database) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Starts worker processes; what is left of them ends with the test."""
    await db.execute("CREATE TABLE effects (row bigserial, job text, key text, n int)")
    started: list[asyncio.subprocess.Process] = []

    async def start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(CREW), database_url, stderr=asyncio.subprocess.DEVNULL
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()


def crew_jobs(db: Database) -> Jobs:
    spec = importlib.util.spec_from_file_location("crew", CREW)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    jobs: Jobs = module.registered(db)
    return jobs


async def test_the_job_of_a_killed_process_runs_again_with_the_same_id(db: Database, crew: Any) -> None:
    jobs = crew_jobs(db)
    id = await jobs.add("stuck_at_first", {"n": 1}, order_key="k")
    behind = await jobs.add("effect", {"n": 2}, order_key="k")
    process = await crew()
    await until(lambda: db.fetchval("SELECT count(*) FROM effects"))
    process.kill()
    await process.wait()
    await crew()
    await until_state(jobs, behind, "done")
    assert [row["job"] for row in await db.fetch("SELECT job FROM effects ORDER BY row")] == [id, id, behind]
    assert [run.outcome for run in await jobs.runs(id)] == ["done", "lost"]


async def test_a_process_that_is_told_to_stop_gives_its_jobs_back_at_once(db: Database, crew: Any) -> None:
    jobs = crew_jobs(db)
    id = await jobs.add("endless", {"n": 1})
    process = await crew()
    await until(lambda: db.fetchval("SELECT count(*) FROM effects"))
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(LIMIT_S):
        assert await process.wait() == 0
    job = await jobs.view(id)
    assert (job.state, job.attempts, job.runs) == ("waiting", 0, 1)


async def test_no_job_is_lost_and_order_is_kept_while_processes_are_killed_at_random(
    db: Database, crew: Any
) -> None:
    """2,000 jobs, half of them in order by key; one of three processes dies again and again."""
    jobs = crew_jobs(db)
    dice = random.Random(3)
    ids: list[str] = []
    expected: dict[str, list[int]] = defaultdict(list)
    processes = [await crew() for _ in range(3)]
    for n in range(2000):
        key = f"k{dice.randrange(100)}" if n % 2 else ""
        ids.append(await jobs.add("effect", {"n": n}, order_key=key))
        expected[key].append(n)
        if n % 300 == 299:
            victim = dice.randrange(3)
            processes[victim].kill()
            await processes[victim].wait()
            processes[victim] = await crew()
    await until(lambda: all_finished(db))
    states = await db.fetch("SELECT state, count(*) AS n FROM _jobs GROUP BY state")
    assert {row["state"]: row["n"] for row in states} == {"done": 2000}
    effects = await db.fetch("SELECT job, key, n FROM effects ORDER BY row")
    assert {row["job"] for row in effects} == set(ids)
    for key, numbers in expected.items():
        if key:
            # A repetition stands directly behind what it repeats: nothing overtakes it.
            found = [row["n"] for row in effects if row["key"] == key]
            assert [n for place, n in enumerate(found) if place == 0 or found[place - 1] != n] == numbers
