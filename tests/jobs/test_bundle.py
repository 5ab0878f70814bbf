"""Jobs that are run along with another one, and kinds that are left alone for a while."""

from __future__ import annotations

import asyncio

import pytest

from groundplane.db.engine import Database
from groundplane.jobs.bundle import Bundle
from groundplane.jobs.job import GiveUp, Job, Postpone
from groundplane.jobs.queue import Jobs

KIND = "ship"


@pytest.fixture
def registered(jobs: Jobs, seen: object) -> Jobs:
    jobs.register(KIND, seen)  # type: ignore[arg-type]  # of the conftest beside this
    return jobs


async def states(jobs: Jobs) -> list[str]:
    """Of all jobs, in the order in which they were added."""
    return [job.state for job in reversed((await jobs.page(limit=100)).items)]


async def test_each_job_of_a_bundle_ends_as_it_would_alone(registered: Jobs) -> None:
    errors = [None, Postpone(60, "later"), GiveUp("never"), RuntimeError("oops"), None]
    for number in range(len(errors)):
        await registered.add(KIND, {"n": number})

    async def handle(job: Job) -> None:
        if (error := errors[job.payload["n"]]) is not None:
            raise error

    await Bundle(registered, await registered.claim("w", 10, 30)).run(handle)
    assert await states(registered) == ["done", "waiting", "dead", "waiting", "done"]
    items = (await registered.page(limit=10)).items[::-1]
    assert [job.error for job in items] == ["", "later", "never", "RuntimeError: oops", ""]
    assert [job.attempts for job in items] == [1, 0, 1, 1, 1]
    assert [run.outcome for job in items for run in await registered.runs(job.id)] == [
        "done",
        "postponed",
        "failed",
        "failed",
        "done",
    ]


async def test_the_next_jobs_of_the_keys_of_a_bundle_may_run_when_it_has_ended(registered: Jobs) -> None:
    for key in ("a", "b", "a", "b", "a"):
        await registered.add(KIND, order_key=key)

    async def handle(job: Job) -> None:
        await asyncio.sleep(0)

    for left in (3, 1, 0):
        await Bundle(registered, await registered.claim("w", 10, 30)).run(handle)
        assert (await states(registered)).count("done") == 5 - left


async def test_a_key_that_somebody_holds_does_not_hold_up_the_others_of_a_bundle(
    registered: Jobs, other_db: Database
) -> None:
    for key in ("a", "b"):
        await registered.add(KIND, order_key=key)
    elsewhere = Jobs(other_db)
    elsewhere.register(KIND, lambda job: asyncio.sleep(0))
    claimed = await registered.claim("w", 10, 30)
    async with other_db.transaction():
        await elsewhere.add(KIND, order_key="a")
        finishing = asyncio.create_task(registered.finish_many(claimed))
        async with asyncio.timeout(10):
            while "done" not in await states(registered):  # noqa: ASYNC110  # another connection does it
                await asyncio.sleep(0.01)
        assert await states(registered) == ["running", "done"]
    await finishing
    assert await states(registered) == ["done", "done", "waiting"]


async def test_what_is_no_longer_ours_is_not_finished(registered: Jobs) -> None:
    await registered.add(KIND)
    [job] = await registered.claim("w", 1, 30)
    await registered.give_back(job)
    await registered.claim("other", 1, 30)
    await registered.finish_many([job])
    assert await states(registered) == ["running"]


async def test_a_bundle_that_is_cancelled_gives_back_what_has_not_ended(registered: Jobs) -> None:
    for number in range(3):
        await registered.add(KIND, {"n": number})
    begun = asyncio.Event()

    async def handle(job: Job) -> None:
        if job.payload["n"]:
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(Bundle(registered, await registered.claim("w", 10, 30)).run(handle))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await states(registered) == ["done", "waiting", "waiting"]
    assert len(await registered.claim("other", 10, 30)) == 2


async def test_a_paused_kind_is_not_claimed_until_it_is_resumed(registered: Jobs) -> None:
    registered.register("other", lambda job: asyncio.sleep(0))
    await registered.add(KIND)
    await registered.add("other", priority=-1)
    registered.pause(KIND, 60)
    assert [job.kind for job in await registered.claim("w", 10, 30)] == ["other"]
    due_s = await registered.next_due_s()
    assert due_s is not None
    assert due_s <= 60
    await registered.resume(KIND)
    assert [job.kind for job in await registered.claim("w", 10, 30)] == [KIND]


async def test_the_most_urgent_job_is_claimed_first_while_a_kind_is_paused(registered: Jobs) -> None:
    registered.register("other", lambda job: asyncio.sleep(0))
    registered.register("away", lambda job: asyncio.sleep(0))
    for kind, priority in ((KIND, 1), ("other", 2), (KIND, 3), ("away", 9), ("other", 0)):
        await registered.add(kind, priority=priority)
    registered.pause("away", 60)
    assert [job.priority for job in await registered.claim("w", 3, 30)] == [3, 2, 1]
    assert [job.priority for job in await registered.claim("w", 3, 30)] == [0]


async def test_what_waits_for_another_attempt_is_due_when_the_kind_is_resumed(registered: Jobs) -> None:
    tried = await registered.add(KIND)
    await registered.add(KIND, delay_s=60)
    [job] = await registered.claim("w", 10, 30)
    await registered.give_back(job, delay_s=600)
    await registered.resume(KIND)
    assert [job.id for job in await registered.claim("w", 10, 30)] == [tried]
