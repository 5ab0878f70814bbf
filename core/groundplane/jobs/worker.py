"""Runs jobs: claims what is due, keeps the leases, and stops without losing anything."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

from groundplane.db.engine import Database
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import JobRun
from groundplane.jobs.job import GiveUp, Job, Kind, Postpone
from groundplane.jobs.queue import Jobs
from groundplane.security.ids import random_text

log = logging.getLogger(__name__)

Conclude: TypeAlias = Callable[[], Awaitable[bool]]

CHANNEL = "groundplane_jobs"  # of PostgreSQL's notifications; see queries.sql
CANCEL = "cancel"  # the notification that somebody wants a running job to end
LEASE_S = 30.0
LONGEST_WAIT_S = 5.0  # between two looks, when no notification comes
SHORTEST_WAIT_S = 0.01
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
# A handler that does not end when it is told to keeps its lease for so long, then the job is somebody else's.
STUBBORN_S = 30.0
LOOK_FOR_LOST_S = 1.0
LETTING_GO_S = 2.0  # for handlers to end after the grace


class Running:
    """A job that runs here: `handling` is its handler, `attending` waits for that and stores what came of it."""

    def __init__(self, job: Job, kind: Kind, hooks: Hooks) -> None:
        self.job = job
        self.timeout_s = kind.timeout_s
        self.overdue_at = time.monotonic() + kind.timeout_s + STUBBORN_S
        self.reason = ""  # why it was interrupted
        self.handling: asyncio.Task[None] = asyncio.create_task(
            handled(kind, job, hooks), name=f"job:{job.kind}:{job.id}"
        )
        self.attending: asyncio.Task[None] | None = None

    def interrupt(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            self.handling.cancel()


async def handled(kind: Kind, job: Job, hooks: Hooks) -> None:
    if not hooks.job_run:
        await kind.handler(job)
        return
    async with hooks.job_run(event=JobRun(job)):
        await kind.handler(job)


class Worker:
    """Runs up to `slots` jobs at a time; `name` tells who it was in the history of runs.

    Several may run, in one process or in many. A job is at one worker at a time as long as that worker can
    renew its lease of `lease_s`.
    """

    def __init__(
        self, db: Database, jobs: Jobs, *, slots: int = 8, lease_s: float = LEASE_S, name: str = ""
    ) -> None:
        self.name = name or f"{socket.gethostname()[:40]}:{os.getpid()}:{random_text(6)}"
        self._db = db
        self._jobs = jobs
        self._slots = slots
        self._lease_s = lease_s
        self._running: dict[str, Running] = {}
        self._stopping = asyncio.Event()
        self._awake = asyncio.Event()
        self._look_at_leases = asyncio.Event()
        self._renewed_at = time.monotonic()
        self._took_back_at = 0.0

    @property
    def running(self) -> list[Job]:
        """The jobs that run here now."""
        return [each.job for each in self._running.values()]

    def stop(self) -> None:
        """Claim nothing more; `run` returns when the running jobs are finished or given back."""
        self._stopping.set()
        self._awake.set()

    async def run(self, grace_s: float = 10.0) -> None:
        """Work until `stop`; then running jobs have `grace_s` to finish, and what is left is given back."""
        others = [
            asyncio.create_task(self._listen(), name="jobs:listen"),
            asyncio.create_task(self._keep_leases(), name="jobs:leases"),
        ]
        try:
            await self._work()
            await self._finish_running(grace_s)
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def run_due(self) -> int:
        """Run everything that is due now, and what becomes due by it; return the number of runs.

        For tests and single commands: no notifications, no leases renewed.
        """
        count = 0
        while True:
            await self._jobs.take_back()
            claimed = await self._claim()
            if not claimed:
                return count
            count += len(claimed)
            await self._settle()

    # The loop

    async def _work(self) -> None:
        pause_s = FIRST_PAUSE_S
        asks = True  # when to look again; a worker that is busy need not know
        while not self._stopping.is_set():
            # Cleared first: what comes to be while we look wakes us again.
            self._awake.clear()
            try:
                wait_s = LONGEST_WAIT_S
                if len(self._running) < self._slots:
                    await self._take_back_now_and_then()
                    # Before the claim: what becomes due between the two is claimed, not waited for.
                    due_s = await self._jobs.next_due_s() if asks else None
                    if self._stopping.is_set():
                        break
                    await self._claim()
                    has_room = len(self._running) < self._slots
                    if has_room and not asks:
                        wait_s = 0.0
                    elif has_room and due_s is not None:
                        wait_s = min(max(due_s, SHORTEST_WAIT_S), LONGEST_WAIT_S)
                    asks = has_room
                pause_s = FIRST_PAUSE_S
            except Exception as error:  # noqa: BLE001  # the database is away, most likely; jobs wait there
                log.warning("Jobs cannot be claimed: %s: %s", type(error).__name__, error)
                wait_s, pause_s = pause_s, min(pause_s * 2, LONGEST_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._awake.wait()

    async def _take_back_now_and_then(self) -> None:
        # A busy worker comes by here after every job; one look in a while is enough.
        moment = time.monotonic()
        if moment - self._took_back_at >= min(self._lease_s / 3, LOOK_FOR_LOST_S):
            self._took_back_at = moment
            await self._jobs.take_back()

    async def _claim(self) -> list[Job]:
        claimed = await self._jobs.claim(self.name, self._slots - len(self._running), self._lease_s)
        for job in claimed:
            running = self._running[job.id] = Running(job, self._jobs.kinds[job.kind], self._jobs.hooks)
            running.attending = asyncio.create_task(self._attend(running), name=f"attend:{job.id}")
        return claimed

    async def _settle(self) -> None:
        while tasks := [each.attending for each in self._running.values() if each.attending]:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _finish_running(self, grace_s: float) -> None:
        for limit_s in (grace_s, LETTING_GO_S):
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._settle()
            for each in list(self._running.values()):
                each.interrupt("given_back")
        for job in self.running:
            log.error("The job %s (%s) does not end and is left to its lease", job.id, job.kind)

    # One job

    async def _attend(self, running: Running) -> None:
        """Wait for a run and store what came of it; what cannot be stored is repeated after its lease."""
        try:
            done, _ = await asyncio.wait([running.handling], timeout=running.timeout_s)
            if not done:
                running.interrupt("timed_out")
                await asyncio.wait([running.handling])
            await self._store(running.job, self._conclusion(running))
        finally:
            # A job that was lost may already run here again.
            if self._running.get(running.job.id) is running:
                del self._running[running.job.id]
            self._awake.set()

    def _conclusion(self, running: Running) -> Conclude | None:
        """Return what to call to end the run; None when it is not ours to end."""
        job, jobs, task = running.job, self._jobs, running.handling
        error = None if task.cancelled() else task.exception()
        if not task.cancelled() and error is None:
            # Also when it was interrupted: it got to its end first.
            return lambda: jobs.finish(job)
        match running.reason:
            case "cancelled":
                return lambda: jobs.end_cancelled(job)
            case "lost":
                log.warning("The lease of the job %s (%s) was lost; the run was stopped", job.id, job.kind)
                return None
            case "given_back":
                return lambda: jobs.give_back(job)
            case "timed_out":
                text = f"The job ran longer than {running.timeout_s:g} seconds."
                tell(job, text)
                return lambda: jobs.fail(job, text, outcome="timed_out")
        if isinstance(error, Postpone):
            delay_s, reason = error.delay_s, str(error)
            return lambda: jobs.give_back(job, delay_s=delay_s, outcome="postponed", reason=reason)
        if isinstance(error, GiveUp):
            text = str(error)
            log.error("The job %s (%s) is dead: %s", job.id, job.kind, text)
            return lambda: jobs.fail(job, text, final=True)
        # Without an error the handler has cancelled itself, which is a failure like any other.
        text = "The handler was cancelled." if error is None else f"{type(error).__name__}: {error}"
        tell(job, text, error)
        return lambda: jobs.fail(job, text)

    async def _store(self, job: Job, conclude: Conclude | None) -> None:
        pause_s = FIRST_PAUSE_S
        give_up_at = time.monotonic() + self._lease_s
        while conclude is not None:
            try:
                if not await conclude():
                    log.warning("The job %s (%s) was no longer ours when it ended", job.id, job.kind)
                return
            except Exception as error:  # noqa: BLE001  # whatever it is, only trying again helps
                if time.monotonic() > give_up_at:
                    log.error("What came of the job %s (%s) was not stored: %s", job.id, job.kind, error)
                    return
                log.info("What came of the job %s cannot be stored yet: %s", job.id, type(error).__name__)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    # Leases

    async def _keep_leases(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / 3):
                    await self._look_at_leases.wait()
            self._look_at_leases.clear()
            try:
                await self.renew()
            except Exception as error:  # noqa: BLE001  # the next look may succeed
                log.warning("Leases of jobs cannot be renewed: %s", type(error).__name__)
                if time.monotonic() - self._renewed_at > self._lease_s:
                    # Another worker that reaches the database may have them by now.
                    for each in list(self._running.values()):
                        each.interrupt("lost")

    async def renew(self) -> None:
        """Prolong the leases of what runs here; interrupt what was cancelled, or taken by others."""
        moment = time.monotonic()
        mine = {id: each for id, each in self._running.items() if each.overdue_at > moment}
        if mine:
            kept = await self._jobs.renew(self.name, list(mine), self._lease_s)
            for id, each in mine.items():
                runs, cancel_asked = kept.get(id, (0, False))
                if runs != each.job.runs:
                    each.interrupt("lost")
                elif cancel_asked:
                    each.interrupt("cancelled")
        self._renewed_at = moment

    # Notifications

    async def _listen(self) -> None:
        """Hear of new jobs on a connection of our own; without it the loop looks every few seconds."""
        while True:
            try:
                await self._listen_once()
            except Exception as error:  # noqa: BLE001  # whatever it is, only trying again helps
                log.info("No notifications of jobs for now: %s", type(error).__name__)
            await asyncio.sleep(LONGEST_PAUSE_S / 5)

    async def _listen_once(self) -> None:
        lost = asyncio.Event()

        def on_end(_connection: Any) -> None:
            lost.set()

        def on_message(_connection: Any, _pid: int, _channel: str, text: object) -> None:
            if text == CANCEL:
                self._look_at_leases.set()
            else:
                self._awake.set()

        async with self._db.session() as connection:
            connection.add_termination_listener(on_end)
            await connection.add_listener(CHANNEL, on_message)
            try:
                self._awake.set()  # for what came before we listened
                await lost.wait()
            finally:
                if not connection.is_closed():
                    connection.remove_termination_listener(on_end)
                    await connection.remove_listener(CHANNEL, on_message)


def tell(job: Job, text: str, error: BaseException | None = None) -> None:
    """Log a failed attempt; the last one as an error."""
    level, what = (logging.ERROR, "is dead") if job.is_last_attempt else (logging.WARNING, "failed")
    message = "The job %s (%s) %s at attempt %d of %d: %s"
    log.log(level, message, job.id, job.kind, what, job.attempts, job.max_attempts, text, exc_info=error)
