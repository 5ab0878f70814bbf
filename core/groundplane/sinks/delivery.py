"""Passes events on to one sink: opens it, waits when it is away, and says what came of each event."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from groundplane.jobs.bundle import Bundle
from groundplane.jobs.job import Backoff, GiveUp, Job, Postpone
from groundplane.jobs.queue import Jobs
from groundplane.sinks.outbox import KIND_PREFIX
from groundplane.sinks.sink import BrokerAway, EventSink, Message, MessageRefused

log = logging.getLogger(__name__)

REOPENING = Backoff(base_s=0.5, factor=2, max_s=30)
# For events that a working broker does not take: about a day, then they are dead.
RETRYING = Backoff(base_s=2, factor=2, max_s=3600)
MAX_ATTEMPTS = 30
BUNDLE = 60  # events that are sent beside the one whose job it is
TOGETHER = 240  # of these at a time in one process: their messages are in memory
LEASE_S = 10.0  # above the time that sending may take
CLOSING_S = 5.0
PROBE_LATER_S = 0.5  # for what was claimed while another event tries whether the broker is back


class NotTaken(Exception):
    """A sink failed with one message; the text holds no secrets."""


def is_cancelled() -> bool:
    """Whether somebody wants the present task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Delivery:
    """One sink in this process; its jobs are those of the kind `kind`."""

    def __init__(self, name: str, registered: EventSink, jobs: Jobs) -> None:
        self.name = name
        self.kind = KIND_PREFIX + name
        self.registered = registered
        self._jobs = jobs
        self._lock = asyncio.Lock()
        self._opened = 0  # the number of the connection; 0 while there is none
        self._connections = 0
        self._on_their_way = 0
        self._failures = 0  # since the last confirmed event
        self._failing_since = 0.0
        self._closed_until = 0.0
        self._reason = ""

    def register(self) -> None:
        """Say who runs the jobs; in every process, since all of them add some."""
        timeout_s = 2 * self.registered.timeout_s + CLOSING_S + 10
        self._jobs.register(
            self.kind, self.deliver, timeout_s=timeout_s, max_attempts=MAX_ATTEMPTS, backoff=RETRYING
        )

    async def deliver(self, job: Job) -> None:
        """Send the event of a job, and with it others that wait, in one go.

        A broker that is away does not cost an attempt.
        """
        connection = await self._connection()
        if self._failures or self._jobs.hooks.job_run:
            # One is enough to find out whether the broker is back; plugins see every job for itself.
            await self._send(job, connection)
            return
        first, others = await asyncio.gather(
            self._send(job, connection), self._send_others(job.worker, connection), return_exceptions=True
        )
        if isinstance(others, Exception):
            # Their leases run out, and they are sent again.
            log.warning("The queue failed the sink %s: %s", self.name, type(others).__name__)
        if isinstance(first, BaseException):
            raise first

    async def _send_others(self, worker: str, connection: int) -> None:
        """Take along what waits for this sink, as far as not too many are on their way already."""
        room = min(BUNDLE, TOGETHER - self._on_their_way)
        if room <= 0:
            return
        self._on_their_way += room
        try:
            lease_s = self.registered.timeout_s + LEASE_S
            bundle = Bundle(self._jobs, await self._jobs.claim(worker, room, lease_s, [self.kind]))
            await bundle.run(lambda other: self._send(other, connection))
        finally:
            self._on_their_way -= room

    async def _send(self, job: Job, connection: int) -> None:
        message = Message.of(job.payload)
        try:
            async with asyncio.timeout(self.registered.timeout_s):
                await self.registered.sink.send(message)
        except MessageRefused as error:
            raise GiveUp(self._said(error)) from None
        except (BrokerAway, OSError) as error:  # TimeoutError is an OSError
            await self._lost(error, connection)
            raise self._later() from None
        except Exception as error:  # noqa: BLE001  # a client library may raise whatever it likes
            raise NotTaken(self._said(error)) from None
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # Client libraries cancel what waits on a connection that breaks.
            await self._lost(BrokerAway("the connection broke"), connection)
            raise self._later() from None
        if self._failures:
            await self._back()

    async def close(self) -> None:
        """Let go of the connection; what is being sent fails and is sent again by another process."""
        async with self._lock:
            if self._opened:
                await self._close()

    # The connection

    async def _connection(self) -> int:
        """Return the number of an open connection; raises Postpone while the broker is away."""
        if self._opened:
            return self._opened
        if self._failures and self._lock.locked():
            # Another event tries already. One is enough: the others would keep this worker's places.
            raise Postpone(PROBE_LATER_S, self._reason)
        async with self._lock:
            if not self._opened:
                if self._closed_until > time.monotonic():
                    raise self._later()
                await self._open()
            return self._opened

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self.registered.timeout_s):
                await self.registered.sink.open()
        except Exception as error:  # noqa: BLE001  # whatever it is, there is no connection
            await self._close()
            self._failed(error)
            raise self._later() from None
        except asyncio.CancelledError:
            await self._close()
            raise
        self._connections += 1
        self._opened = self._connections

    async def _close(self) -> None:
        self._opened = 0
        try:
            async with asyncio.timeout(CLOSING_S):
                await self.registered.sink.close()
        except Exception as error:  # noqa: BLE001  # it is broken already, most likely
            log.debug("The sink %s did not close well: %s", self.name, self._said(error))

    async def _lost(self, error: Exception, connection: int) -> None:
        """Close a connection that has failed, once for all the events that were on their way."""
        async with self._lock:
            if self._opened == connection:
                await self._close()
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._reason = self._said(error)
        moment = time.monotonic()
        if not self._failures:
            self._failing_since = moment
            log.warning("The sink %s is away, its events wait: %s", self.described, self._reason)
        self._failures += 1
        wait_s = REOPENING(self._failures)
        self._closed_until = moment + wait_s
        self._jobs.pause(self.kind, wait_s)

    def _later(self) -> Postpone:
        wait_s = max(self._closed_until - time.monotonic(), 0.0)
        # Not all at the same moment: the first to come finds out whether the broker is back.
        return Postpone(wait_s + PROBE_LATER_S * random.random(), self._reason)  # noqa: S311  # spreads load

    async def _back(self) -> None:
        seconds = time.monotonic() - self._failing_since
        self._failures = 0
        log.info("The sink %s is back after %.1f s", self.described, seconds)
        await self._jobs.resume(self.kind)

    # Texts

    @property
    def described(self) -> str:
        """The sink's name, and its address where it has one."""
        address = self.registered.address
        return f"{self.name} ({address})" if address else self.name

    def _said(self, error: BaseException) -> str:
        """What an error says, without the secrets that client libraries like to repeat."""
        text = str(error)
        for secret in self.registered.secrets:
            if secret:
                text = text.replace(secret, "…")
        if isinstance(error, BrokerAway | MessageRefused) and text:
            return text
        if isinstance(error, TimeoutError) and not text:
            return f"no answer within {self.registered.timeout_s:g} s"
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
