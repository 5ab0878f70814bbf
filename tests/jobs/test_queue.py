"""What becomes of a job: added, claimed, tried again, finished."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from groundplane.db.engine import Database
from groundplane.errors import Conflict, Invalid, NotFound
from groundplane.jobs.job import Backoff, GiveUp, Postpone
from groundplane.jobs.queue import KEPT_RUNS, Jobs
from groundplane.jobs.worker import Worker

EVEN = Backoff(base_s=10, factor=3, max_s=100, jitter=0)


@pytest.fixture
def worker(db: Database, jobs: Jobs) -> Worker:
    return Worker(db, jobs, slots=4, name="first")


async def test_a_job_runs_once_with_its_payload_and_is_done(jobs: Jobs, worker: Worker, seen: Any) -> None:
    jobs.register("greet", seen)
    payload = {"name": "Ann \x00 <\u2028>", "list": [1, 2.5, None, True]}
    id = await jobs.add("greet", payload)
    assert await worker.run_due() == 1
    assert await worker.run_due() == 0
    assert [(job.id, job.kind, job.payload, job.attempts) for job in seen.jobs] == [(id, "greet", payload, 1)]
    job = await jobs.view(id)
    assert (job.state, job.worker, job.error, job.finished is not None) == ("done", "", "", True)
    assert [(run.number, run.outcome, run.worker) for run in await jobs.runs(id)] == [(1, "done", "first")]


async def refused(db: Database, jobs: Jobs) -> None:
    async with db.transaction():
        await jobs.add("greet", order_key="a", unique_key="u")
        await jobs.add("greet")
        raise ZeroDivisionError


async def test_a_job_of_a_rolled_back_transaction_never_was(
    db: Database, jobs: Jobs, worker: Worker, seen: Any
) -> None:
    jobs.register("greet", seen)
    with pytest.raises(ZeroDivisionError):
        await refused(db, jobs)
    assert (await jobs.page()).total == 0
    assert await worker.run_due() == 0


async def test_a_job_is_seen_by_workers_only_after_the_commit(
    db: Database, other_db: Database, jobs: Jobs, clock: Any, seen: Any
) -> None:
    jobs.register("greet", seen)
    other = Jobs(other_db, clock=clock)
    other.register("greet", seen)
    async with db.transaction():
        await jobs.add("greet")
        assert await other.claim("w", 10, 30) == []
    assert len(await other.claim("w", 10, 30)) == 1


async def test_what_is_not_a_job_is_refused(jobs: Jobs, seen: Any) -> None:
    jobs.register("greet", seen)
    wrong: list[dict[str, Any]] = [
        {"kind": "unknown"},
        {"payload": {"x": "a" * (1024 * 1024)}},
        {"order_key": "k" * 501},
        {"unique_key": "\x00"},
        {"priority": 2**31},
        {"max_attempts": 0},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=r"\w"):
            await jobs.add(**{"kind": "greet"} | options)
    for name, options in (
        ("greet", {}),
        ("no spaces", {}),
        ("a", {"timeout_s": 0}),
        ("b", {"max_attempts": 0}),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            jobs.register(name, seen, **options)


async def test_a_failed_job_waits_longer_after_each_attempt_and_is_dead_after_the_last(
    jobs: Jobs, worker: Worker, clock: Any, seen: Any
) -> None:
    jobs.register("call", seen, max_attempts=4, backoff=EVEN)
    seen.raises = [OSError(f"no {number}") for number in range(1, 5)]
    id = await jobs.add("call")
    waits = []
    for _ in range(3):
        assert await worker.run_due() == 1
        job = await jobs.view(id)
        assert job.state == "waiting"
        waits.append((job.run_at - clock()).total_seconds())
        clock.move(waits[-1] - 0.001)
        assert await worker.run_due() == 0
        clock.move(0.001)
    assert waits == [10, 30, 90]
    assert [job.is_last_attempt for job in seen.jobs] == [False] * 3
    assert await worker.run_due() == 1
    assert seen.jobs[-1].is_last_attempt
    dead = await jobs.view(id)
    assert (dead.state, dead.attempts, dead.error) == ("dead", 4, "OSError: no 4")
    clock.move(10**6)
    assert await worker.run_due() == 0
    runs = await jobs.runs(id)
    assert [(run.number, run.outcome, run.error) for run in runs] == [
        (number, "failed", f"OSError: no {number}") for number in (4, 3, 2, 1)
    ]
    assert set(seen.ids) == {id}


def test_the_backoff_is_bounded_and_spread() -> None:
    backoff = Backoff(base_s=5, factor=2, max_s=3600, jitter=0.2)
    for attempt, full in ((1, 5), (2, 10), (5, 80), (20, 3600), (10_000, 3600)):
        delays = {backoff(attempt) for _ in range(200)}
        assert full * 0.8 <= min(delays) < max(delays) <= full
        assert len(delays) > 100


async def test_a_handler_may_give_up_or_postpone(jobs: Jobs, worker: Worker, clock: Any, seen: Any) -> None:
    jobs.register("call", seen, max_attempts=2)
    seen.raises = [Postpone(600, "closed"), Postpone(600), Postpone(600), None]
    id = await jobs.add("call")
    for _ in range(3):
        assert await worker.run_due() == 1
        job = await jobs.view(id)
        assert (job.state, job.attempts, job.run_at - clock()) == ("waiting", 0, timedelta(minutes=10))
        clock.move(600)
    await worker.run_due()
    assert (await jobs.view(id)).state == "done"
    assert [run.outcome for run in await jobs.runs(id)] == ["done"] + 3 * ["postponed"]
    seen.raises = [GiveUp("gone for good")]
    id = await jobs.add("call")
    await worker.run_due()
    job = await jobs.view(id)
    assert (job.state, job.attempts, job.error) == ("dead", 1, "gone for good")


async def test_only_the_newest_runs_of_a_job_are_kept(
    jobs: Jobs, worker: Worker, clock: Any, seen: Any
) -> None:
    jobs.register("call", seen)
    seen.raises = [Postpone(1)] * (KEPT_RUNS + 3)
    id = await jobs.add("call")
    for _ in range(KEPT_RUNS + 3):
        await worker.run_due()
        clock.move(1)
    runs = await jobs.runs(id)
    assert [run.number for run in runs] == list(range(KEPT_RUNS + 3, 3, -1))


async def test_a_delayed_job_runs_when_its_time_has_come(
    jobs: Jobs, worker: Worker, clock: Any, seen: Any
) -> None:
    jobs.register("greet", seen)
    await jobs.add("greet", {"n": 1}, delay_s=60)
    await jobs.add("greet", {"n": 2}, run_at=clock() + timedelta(seconds=30))
    assert await worker.run_due() == 0
    assert await jobs.next_due_s() == 30
    clock.move(30)
    assert await worker.run_due() == 1
    clock.move(30)
    assert await worker.run_due() == 1
    assert [job.payload["n"] for job in seen.jobs] == [2, 1]
    assert await jobs.next_due_s() is None


async def test_of_what_is_due_the_highest_priority_runs_first_then_the_oldest(
    db: Database, jobs: Jobs, clock: Any, seen: Any
) -> None:
    jobs.register("greet", seen)
    for n, priority in enumerate((0, 5, -1, 5, 0)):
        await jobs.add("greet", {"n": n}, priority=priority)
        clock.move(1)
    await Worker(db, jobs, slots=1).run_due()
    assert [job.payload["n"] for job in seen.jobs] == [1, 3, 0, 4, 2]


async def test_while_a_job_with_the_unique_key_is_unfinished_a_second_one_is_the_same(
    db: Database, jobs: Jobs, worker: Worker, seen: Any
) -> None:
    jobs.register("greet", seen)
    jobs.register("other", seen)
    ids = await asyncio.gather(*(jobs.add("greet", unique_key="ann") for _ in range(8)))
    assert len(set(ids)) == 1
    assert await jobs.add("other", unique_key="ann") not in ids
    assert await jobs.add("greet", unique_key="bob") not in ids
    async with db.transaction():  # also inside a transaction, which goes on
        assert await jobs.add("greet", unique_key="ann") == ids[0]
    assert await worker.run_due() == 3
    assert await jobs.add("greet", unique_key="ann") not in ids


async def test_a_cancelled_job_does_not_run(jobs: Jobs, worker: Worker, seen: Any) -> None:
    jobs.register("greet", seen)
    id = await jobs.add("greet")
    await jobs.cancel(id)
    assert await worker.run_due() == 0
    assert (await jobs.view(id)).state == "cancelled"
    with pytest.raises(Invalid):
        await jobs.cancel(id)
    for unknown in ("nothing", "\x00"):
        with pytest.raises(NotFound):
            await jobs.cancel(unknown)
        with pytest.raises(NotFound):
            await jobs.retry(unknown)
        with pytest.raises(NotFound):
            await jobs.view(unknown)


async def test_a_dead_job_runs_again_with_the_same_id_and_all_its_attempts(
    jobs: Jobs, worker: Worker, clock: Any, seen: Any
) -> None:
    jobs.register("call", seen, max_attempts=2, backoff=EVEN)
    seen.raises = [OSError(), OSError(), OSError(), None]
    id = await jobs.add("call")
    await worker.run_due()
    clock.move(10)
    await worker.run_due()
    assert (await jobs.view(id)).state == "dead"
    await jobs.retry(id)
    await worker.run_due()
    job = await jobs.view(id)
    assert (job.state, job.attempts, job.runs) == ("waiting", 1, 3)
    await jobs.retry(id)  # a waiting one runs now
    await worker.run_due()
    assert (await jobs.view(id)).state == "done"
    assert set(seen.ids) == {id}
    assert [run.number for run in await jobs.runs(id)] == [4, 3, 2, 1]


async def test_a_job_is_not_retried_while_another_has_its_unique_key(
    jobs: Jobs, worker: Worker, seen: Any
) -> None:
    jobs.register("greet", seen)
    id = await jobs.add("greet", unique_key="ann")
    await worker.run_due()
    await jobs.add("greet", unique_key="ann")
    with pytest.raises(Conflict):
        await jobs.retry(id)
    [running] = await jobs.claim("w", 1, 30)
    with pytest.raises(Invalid):
        await jobs.retry(running.id)


async def test_the_limit_of_a_kind_holds_over_all_workers(
    db: Database, other_db: Database, jobs: Jobs, clock: Any, seen: Any
) -> None:
    other = Jobs(other_db, clock=clock)
    for each in (jobs, other):
        each.register("heavy", seen, limit=3)
        each.register("light", seen)
    for _ in range(8):
        await jobs.add("heavy")
        await jobs.add("light")
    claims = await asyncio.gather(*(queue.claim(f"w{n}", 5, 30) for n, queue in enumerate((jobs, other) * 4)))
    claimed = [job for some in claims for job in some]
    assert sorted(job.kind for job in claimed) == ["heavy"] * 3 + ["light"] * 8
    await jobs.finish(next(job for job in claimed if job.kind == "heavy"))
    assert [job.kind for job in await other.claim("w", 5, 30)] == ["heavy"]


async def test_a_lost_lease_gives_the_job_to_another_worker_and_the_first_has_no_say_any_more(
    jobs: Jobs, clock: Any, seen: Any
) -> None:
    jobs.register("greet", seen, max_attempts=2)
    id = await jobs.add("greet")
    [mine] = await jobs.claim("one", 1, 30)
    clock.move(20)
    assert await jobs.renew("one", [id], 30) == {id: (1, False)}
    clock.move(29)
    assert await jobs.take_back() == 0
    assert await jobs.claim("two", 1, 30) == []
    clock.move(2)
    assert await jobs.take_back() == 1
    [theirs] = await jobs.claim("two", 1, 30)
    assert (theirs.id, theirs.runs, theirs.attempts) == (id, 2, 2)
    assert await jobs.renew("one", [id], 30) == {}
    assert not await jobs.finish(mine)
    assert not await jobs.fail(mine, "late")
    assert (await jobs.view(id)).worker == "two"
    # A worker that dies with the job each time: in the end the job is dead.
    clock.move(31)
    await jobs.take_back()
    assert (await jobs.view(id)).state == "dead"
    assert [run.outcome for run in await jobs.runs(id)] == ["lost", "lost"]


async def test_old_finished_jobs_are_forgotten_with_their_runs(
    db: Database, jobs: Jobs, worker: Worker, clock: Any, seen: Any
) -> None:
    jobs.register("greet", seen)
    done, dead, waiting = (
        await jobs.add("greet"),
        await jobs.add("greet"),
        await jobs.add("greet", delay_s=1e7),
    )
    seen.raises = [None, GiveUp()]
    await Worker(db, jobs, slots=1).run_due()
    clock.move(8 * 86400)
    assert await jobs.forget_old() == 1
    assert {job.id for job in (await jobs.page()).items} == {dead, waiting}
    assert await jobs.runs(done) == []
    clock.move(23 * 86400)
    assert await jobs.forget_old() == 1
    for n in range(10):
        clock.move(1)
        await jobs.add("greet", {"n": n})
        await worker.run_due()
    assert await jobs.forget_old(kept_jobs=4) == 6
    left = (await jobs.page(state="done")).items
    assert [job.payload["n"] for job in left] == [9, 8, 7, 6]


async def test_pages_of_jobs_by_state_and_kind(jobs: Jobs, worker: Worker, seen: Any) -> None:
    jobs.register("a", seen)
    jobs.register("b", seen)
    first, second = await jobs.add("a"), await jobs.add("b")
    await worker.run_due()
    third = await jobs.add("a")
    assert [job.id for job in (await jobs.page()).items] == [third, second, first]
    page = await jobs.page(state="done", limit=1, offset=1)
    assert ([job.id for job in page.items], page.total) == ([first], 2)
    page = await jobs.page(kind="a", state="waiting", with_total=False)
    assert ([job.id for job in page.items], page.total) == ([third], -1)
    assert (await jobs.page(kind="\x00")).items == []
