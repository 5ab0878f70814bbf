"""Jobs that the handler of another one runs along with it: claimed together, concluded together.

A job by itself costs some statements; a handler that can do many at a time, such as one that sends messages on
one connection, shares them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from groundplane.jobs.job import GiveUp, Job, Postpone
from groundplane.jobs.queue import Jobs

log = logging.getLogger(__name__)


class Bundle:
    """Jobs that were claimed for the worker of the running one; their lease must outlast the run."""

    def __init__(self, jobs: Jobs, claimed: Sequence[Job]) -> None:
        self._jobs = jobs
        self._claimed = claimed

    async def run(self, handle: Callable[[Job], Awaitable[None]]) -> None:
        """Handle all of them at the same time and store what came of each, as a worker would.

        When it is cancelled, those that have not ended are given back.
        """
        tasks = {job.id: asyncio.create_task(handled(handle, job)) for job in self._claimed}
        try:
            if tasks:
                await asyncio.wait(tasks.values())
        finally:
            running = [task for task in tasks.values() if not task.done()]
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            await self._conclude({job.id: outcome_of(tasks[job.id]) for job in self._claimed})

    async def _conclude(self, outcomes: dict[str, BaseException | None]) -> None:
        await self._jobs.finish_many([job for job in self._claimed if outcomes[job.id] is None])
        for job in self._claimed:
            match outcomes[job.id]:
                case None:
                    continue
                case asyncio.CancelledError():
                    await self._jobs.give_back(job)
                case Postpone() as error:
                    await self._jobs.give_back(
                        job, delay_s=error.delay_s, outcome="postponed", reason=str(error)
                    )
                case GiveUp() as error:
                    log.error("The job %s (%s) is dead: %s", job.id, job.kind, error)
                    await self._jobs.fail(job, str(error), final=True)
                case error:
                    text = f"{type(error).__name__}: {error}"
                    log.warning("The job %s (%s) failed: %s", job.id, job.kind, text)
                    await self._jobs.fail(job, text)


async def handled(handle: Callable[[Job], Awaitable[None]], job: Job) -> None:
    await handle(job)


def outcome_of(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
