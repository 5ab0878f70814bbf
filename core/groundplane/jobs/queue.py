"""The job queue: add work in a transaction, hand it to one worker at a time, and keep what came of it."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from groundplane.clock import set_time
from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.db.sql import load_queries
from groundplane.errors import Conflict, Invalid, NotFound
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import JobFailed
from groundplane.jobs.job import FINISHED, KIND, Backoff, Handler, Job, Kind, Run
from groundplane.security.ids import record_id

QUERIES = load_queries("groundplane.jobs")
MAX_PAYLOAD_BYTES = 1024 * 1024
MAX_KEY_BYTES = 500
MAX_ERROR_CHARS = 2000
KEPT_RUNS = 50  # of each job
KEPT_S = 7 * 24 * 3600.0  # finished jobs
DEAD_KEPT_S = 30 * 24 * 3600.0
KEPT_JOBS = 100_000  # finished ones, whatever their age
FORGET_AT_ONCE = 5000
WAITING, DONE, DEAD, CANCELLED = "waiting", "done", "dead", "cancelled"
UNKNOWN_JOB = "Missing or invalid job."
WORKER_LOST = "The worker was lost."


class Page(NamedTuple):
    items: list[Job]
    total: int  # -1 when it was not counted


class Jobs:
    """Adds jobs and says what becomes of them; `jobs/worker.py` runs them.

    `clock` replaces the database's time in tests, as a set clock of the process does.
    """

    def __init__(
        self, db: Database, *, clock: Callable[[], datetime] | None = None, hooks: Hooks | None = None
    ) -> None:
        self._db = db
        self._clock = clock
        self.hooks = hooks or Hooks()
        self.kinds: dict[str, Kind] = {}
        self._paused: dict[str, float] = {}  # until when this process leaves a kind alone, monotonic

    def now(self) -> datetime | None:
        """The time for statements; None stands for the database's own."""
        return self._clock() if self._clock is not None else set_time()

    def register(
        self,
        kind: str,
        handler: Handler,
        *,
        timeout_s: float = 60.0,
        max_attempts: int = 10,
        limit: int = 0,
        backoff: Callable[[int], float] = Backoff(),  # noqa: B008  # frozen
    ) -> None:
        """Say who runs the jobs of a kind; once per kind, before workers start.

        `handler` is awaited with the Job and may be called again with the same one: after a failure, and when
        a worker was lost. `timeout_s` bounds a run. After `max_attempts` failed runs a job is dead.
        `limit` bounds how many jobs of the kind run at a time, over all processes; 0 is no bound.
        `backoff` gives the seconds to wait after the failed attempt of that number. Raises ValueError.
        """
        if not KIND.fullmatch(kind):
            raise ValueError(f"{kind!r} is not a name for a kind of jobs")
        if kind in self.kinds:
            raise ValueError(f"jobs of the kind {kind!r} have a handler already")
        if timeout_s <= 0 or max_attempts < 1 or limit < 0:
            raise ValueError("timeout_s is above 0, max_attempts at least 1, limit 0 or more")
        self.kinds[kind] = Kind(
            name=kind,
            handler=handler,
            timeout_s=timeout_s,
            max_attempts=max_attempts,
            limit=limit,
            backoff=backoff,
        )

    def pause(self, kind: str, seconds: float) -> None:
        """Have this process claim no jobs of the kind for so long; what they need is away, and trying tells
        nothing new. Other processes find that out themselves."""
        self._paused[kind] = time.monotonic() + seconds

    async def resume(self, kind: str) -> None:
        """What jobs of the kind need is back: claim them again, those that wait for a next attempt at once."""
        self._paused.pop(kind, None)
        if await self._db.fetchval(QUERIES["hurry_kind"], self.now(), kind):
            await self._db.fetch(QUERIES["wake"])

    def _is_pausing(self) -> bool:
        moment = time.monotonic()
        return any(until > moment for until in self._paused.values())

    def _claimable(self) -> list[str]:
        moment = time.monotonic()
        return [kind for kind in self.kinds if self._paused.get(kind, 0.0) <= moment]

    # Adding and steering

    async def add(
        self,
        kind: str,
        payload: Mapping[str, Any] | None = None,
        *,
        delay_s: float = 0,
        run_at: datetime | None = None,
        priority: int = 0,
        order_key: str = "",
        unique_key: str = "",
        max_attempts: int | None = None,
    ) -> str:
        """Add a job and return its id; inside a transaction it comes to be with the commit or not at all.

        `payload` is what JSON can hold, up to a MiB. It runs after `delay_s`, or at `run_at`; of what is due,
        the highest `priority` first. Jobs with the same `order_key` run one after another in the order of
        their commits: one that waits for its next attempt holds the others back until it is done, dead or
        cancelled. While a job of the kind with this `unique_key` is not finished, nothing is added and the
        id of that one is returned. Raises ValueError for a kind without a handler and for values out of bounds.

        With an `order_key` the transaction waits for others that have added to the same key.
        """
        known = self.kinds.get(kind)
        if known is None:
            raise ValueError(f"there is no handler for jobs of the kind {kind!r}")
        body = msgspec.json.encode(dict(payload or {})).decode()
        if len(body) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a payload has at most {MAX_PAYLOAD_BYTES} bytes")
        for key in (order_key, unique_key):
            if len(key.encode()) > MAX_KEY_BYTES or "\x00" in key:
                raise ValueError(f"a key has at most {MAX_KEY_BYTES} bytes and no NUL")
        attempts = known.max_attempts if max_attempts is None else max_attempts
        if attempts < 1 or not -(2**31) <= priority < 2**31:
            raise ValueError("max_attempts is at least 1, priority fits 32 bits")
        args = (kind, body, priority, order_key, unique_key, run_at, float(delay_s), attempts)
        while True:
            async with self._keyed(order_key):
                added = await self._db.fetchval(QUERIES["add"], self.now(), record_id(), *args)
                # None: there is one with the key, unless it has just finished.
                found = added or await self._db.fetchval(QUERIES["same"], kind, unique_key)
            if found is not None:
                return str(found)

    async def cancel(self, job_id: str) -> None:
        """Keep a job from running; a running one is interrupted soon, unless it finishes first.

        Raises NotFound, and Invalid when it is finished.
        """
        key = await self._order_key(job_id)
        async with self._keyed(key):
            # It may start, or fail and wait again, between two looks.
            for _ in range(3):
                before = await self._db.fetchval(QUERIES["cancel"], self.now(), job_id)
                if before is not None:
                    if key and before == WAITING:
                        await self._db.fetch(QUERIES["promote"], key)
                    return
                if await self._db.fetchval(QUERIES["ask_to_cancel"], job_id) is not None:
                    return
        raise Invalid("The job is already finished.")

    async def retry(self, job_id: str) -> None:
        """Run a finished job again, with the same id and all its attempts, behind others of its order key.

        A waiting one runs now. Raises NotFound, Invalid when it is held or running, and Conflict while another
        job has its unique key.
        """
        key = await self._order_key(job_id)
        try:
            async with self._keyed(key):
                for query in ("retry", "hurry"):
                    if await self._db.fetchval(QUERIES[query], self.now(), job_id) is not None:
                        await self._db.fetch(QUERIES["wake"])
                        return
        except UniqueViolation:
            raise Conflict("Another job with the same unique key is not finished yet.") from None
        raise Invalid("The job is running, or waits for an earlier one.")

    # Looking

    async def view(self, job_id: str) -> Job:
        """Return a job; raises NotFound."""
        row = None if "\x00" in job_id else await self._db.fetchrow(QUERIES["view"], job_id)
        if row is None:
            raise NotFound(UNKNOWN_JOB)
        return as_job(row)

    async def runs(self, job_id: str) -> list[Run]:
        """Return the finished runs of a job, newest first, at most fifty."""
        rows = await self._db.fetch(QUERIES["runs"], job_id)
        return [msgspec.convert(dict(row), Run) for row in rows]

    async def page(
        self, *, state: str = "", kind: str = "", limit: int = 30, offset: int = 0, with_total: bool = True
    ) -> Page:
        """Return jobs, newest first; an empty `state` or `kind` is every one."""
        if "\x00" in state + kind:
            return Page([], 0)
        rows = await self._db.fetch(QUERIES["page"], state, kind, limit, offset)
        total = int(await self._db.fetchval(QUERIES["count"], state, kind)) if with_total else -1
        return Page([as_job(row) for row in rows], total)

    async def counts(self) -> dict[str, int]:
        """Return how many jobs there are in each state that has any."""
        return {row["state"]: row["total"] for row in await self._db.fetch(QUERIES["counts"])}

    async def behind(self) -> int:
        """Return how many jobs somebody should have taken a minute ago."""
        return int(await self._db.fetchval(QUERIES["behind"]))

    async def latest(self, kinds: Sequence[str]) -> dict[str, Job]:
        """Return the newest job of each of these kinds that has one."""
        return {row["kind"]: as_job(row) for row in await self._db.fetch(QUERIES["latest"], list(kinds))}

    async def forget_old(
        self, *, kept_s: float = KEPT_S, dead_kept_s: float = DEAD_KEPT_S, kept_jobs: int = KEPT_JOBS
    ) -> int:
        """Remove finished jobs that are too old or too many, with their runs; return how many."""
        removed = 0
        while True:
            count = int(
                await self._db.fetchval(
                    QUERIES["forget"], self.now(), kept_s, dead_kept_s, kept_jobs, FORGET_AT_ONCE
                )
            )
            removed += count
            if count < FORGET_AT_ONCE:
                return removed

    # For workers

    async def claim(self, worker: str, count: int, lease_s: float, kinds: Collection[str] = ()) -> list[Job]:
        """Take up to `count` due jobs of `kinds` (default: all that have a handler and are not paused), the
        most urgent first.

        Kinds with a limit come first; no two workers count the running jobs of one at the same time.
        """
        names = list(kinds or self._claimable())
        limited = [name for name in names if self.kinds[name].limit]
        free = [name for name in names if not self.kinds[name].limit]
        claimed: list[Job] = []
        if limited:
            due = await self._db.fetch(QUERIES["due_kinds"], self.now(), limited)
            # In any order, so that one busy kind does not keep the others waiting for ever.
            for name in random.sample([row["kind"] for row in due], len(due)):
                async with self._keyed(f"kind {name}"):
                    running = int(await self._db.fetchval(QUERIES["count_running"], name))
                    room = min(count - len(claimed), self.kinds[name].limit - running)
                    claimed += await self._claim([name], room, worker, lease_s)
        return claimed + await self._claim(free, count - len(claimed), worker, lease_s)

    async def _claim(self, kinds: Sequence[str], count: int, worker: str, lease_s: float) -> list[Job]:
        if not kinds or count <= 0:
            return []
        query = QUERIES["claim_past_others" if self._is_pausing() else "claim"]
        rows = await self._db.fetch(query, self.now(), list(kinds), count, worker, lease_s)
        rows.sort(key=lambda row: (-row["priority"], row["run_at"], row["seq"]))
        return [as_job(row) for row in rows]

    async def renew(self, worker: str, ids: Collection[str], lease_s: float) -> dict[str, tuple[int, bool]]:
        """Prolong the leases of these jobs; return the ones that are still the worker's.

        The values are the number of the run, and whether somebody asked to cancel it.
        """
        rows = await self._db.fetch(QUERIES["renew"], self.now(), list(ids), worker, lease_s)
        return {row["id"]: (row["runs"], row["cancel_asked"]) for row in rows}

    async def next_due_s(self) -> float | None:
        """Seconds until a job is due or a lease runs out; None when there is nothing to wait for.

        What is due already does not count: claim after this, so that nothing becomes due in between.
        """
        moment = time.monotonic()
        waits = [until - moment for until in self._paused.values() if until > moment]
        found = await self._db.fetchval(QUERIES["next_due_s"], self.now(), self._claimable())
        return min([*waits, float(found)] if found is not None else waits, default=None)

    async def take_back(self) -> int:
        """End the runs of lost workers, whose leases have run out; the jobs are due at once."""
        lost = [as_job(row) for row in await self._db.fetch(QUERIES["expired"], self.now())]
        for job in lost:
            state = DEAD if job.is_last_attempt else WAITING
            if await self._conclude(job, state, "lost", WORKER_LOST, only_expired=True):
                self._tell(job, "lost", WORKER_LOST, is_dead=state == DEAD)
        return len(lost)

    async def finish(self, job: Job) -> bool:
        """The run succeeded. False, here and below: it was not this worker's any more, and nothing changed."""
        return await self._conclude(job, DONE, "done")

    async def finish_many(self, jobs: Sequence[Job]) -> None:
        """As `finish` for several jobs of one worker, in a few statements; those not its own are left alone."""
        if not jobs:
            return
        async with self._db.transaction():
            # Only keys that are free: whoever adds jobs holds several of them, in an order of his own, and
            # waiting for one while we hold others could be waiting for each other.
            keys = list({job.order_key for job in jobs if job.order_key})
            free = {row["k"] for row in await self._db.fetch(QUERIES["lock_free"], keys)} | {""}
            ours = [job for job in jobs if job.order_key in free]
            ids, runs = [job.id for job in ours], [job.runs for job in ours]
            await self._db.fetch(QUERIES["finish_many"], self.now(), ids, runs, jobs[0].worker)
            if await self._db.fetchval(QUERIES["promote_many"], [key for key in free if key]):
                await self._db.fetch(QUERIES["wake"])
        for job in jobs:
            if job.order_key not in free:
                await self.finish(job)

    async def fail(self, job: Job, error: str, *, outcome: str = "failed", final: bool = False) -> bool:
        """The run failed: the job waits for its next attempt, or is dead after the last, or when `final`."""
        is_dead = final or job.is_last_attempt
        state, delay_s = (DEAD, 0.0) if is_dead else (WAITING, self.kinds[job.kind].backoff(job.attempts))
        is_ours = await self._conclude(job, state, outcome, error, delay_s=delay_s)
        if is_ours:
            self._tell(job, outcome, error, is_dead=is_dead)
        return is_ours

    def _tell(self, job: Job, outcome: str, error: str, *, is_dead: bool) -> None:
        """Tell plugins of a run that failed, after that was stored."""
        event = JobFailed(job, outcome, error)
        if is_dead:
            self.hooks.job_dead(event=event)
        else:
            self.hooks.job_failed(event=event)

    async def end_cancelled(self, job: Job) -> bool:
        """The run was interrupted because somebody cancelled the job."""
        return await self._conclude(job, CANCELLED, "cancelled")

    async def give_back(
        self, job: Job, *, delay_s: float = 0, outcome: str = "given_back", reason: str = ""
    ) -> bool:
        """The run does not count: the worker stops, or the handler postponed it."""
        return await self._conclude(
            job, WAITING, outcome, reason, delay_s=delay_s, attempts=max(job.attempts - 1, 0)
        )

    async def _conclude(
        self,
        job: Job,
        state: str,
        outcome: str,
        error: str = "",
        *,
        delay_s: float = 0,
        attempts: int | None = None,
        only_expired: bool = False,
    ) -> bool:
        error = error.replace("\x00", "")[:MAX_ERROR_CHARS]
        async with self._keyed(job.order_key):
            state_now = await self._db.fetchval(
                QUERIES["conclude"],
                self.now(),
                job.id,
                job.worker,
                job.runs,
                state,
                delay_s,
                job.attempts if attempts is None else attempts,
                outcome,
                error,
                only_expired,
                KEPT_RUNS,
            )
            if job.order_key and state_now in FINISHED:
                await self._db.fetch(QUERIES["promote"], job.order_key)
        known = self.kinds.get(job.kind)
        if (known is not None and known.limit) or (state == WAITING and not delay_s):
            # There is room for another one of the kind, or this one is for anybody now.
            await self._db.fetch(QUERIES["wake"])
        return state_now is not None

    async def _order_key(self, job_id: str) -> str:
        key = None if "\x00" in job_id else await self._db.fetchval(QUERIES["order_key"], job_id)
        if key is None:
            raise NotFound(UNKNOWN_JOB)
        return str(key)

    @asynccontextmanager
    async def _keyed(self, key: str) -> AsyncIterator[None]:
        """Hold the key's lock until the transaction ends; no key, no transaction."""
        if not key:
            yield
            return
        async with self._db.transaction():
            # A statement of its own: the ones that follow must see what was committed while we waited.
            await self._db.fetch(QUERIES["lock"], key)
            yield


def as_job(row: asyncpg.Record) -> Job:
    return msgspec.convert(dict(row) | {"payload": msgspec.json.decode(row["payload"])}, Job)
