"""What a job is, and what a handler may say of it."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

UNFINISHED = ("waiting", "held", "running")
FINISHED = ("done", "dead", "cancelled")
STATES = (*UNFINISHED, *FINISHED)
KIND = re.compile(r"[A-Za-z0-9_.:@/-]{1,100}", re.ASCII)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is stored.

    `id`           the same in every run, and after a retry: receivers recognise a repetition by it
    `payload`      what was given to `add`
    `state`        one of STATES
    `order_key`    "" is none; of the jobs of one key only the first runs, the others are `held`
    `attempts`     runs that count, the present one included; runs that were given back or postponed do not
    `runs`         all runs
    `worker`       who runs it now, "" when nobody does
    `error`        of the last run, "" when there was none
    """

    id: str
    kind: str
    payload: dict[str, Any]
    state: str
    priority: int
    order_key: str
    unique_key: str
    run_at: datetime
    attempts: int
    max_attempts: int
    runs: int
    worker: str
    cancel_asked: bool
    error: str
    created: datetime
    started: datetime | None
    finished: datetime | None

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job is dead when this run fails."""
        return self.attempts >= self.max_attempts


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run: `done`, `failed`, `timed_out`, `lost`, `cancelled`, `given_back` or `postponed`."""

    number: int
    worker: str
    outcome: str
    error: str
    started: datetime
    finished: datetime


class GiveUp(Exception):
    """Raised by a handler when trying again cannot help: the job is dead at once, with this message."""


class Postpone(Exception):
    """Raised by a handler that wants to run again in `delay_s` seconds; the run does not count as an attempt."""

    def __init__(self, delay_s: float, reason: str = "") -> None:
        super().__init__(reason)
        self.delay_s = max(delay_s, 0.0)


class Backoff(msgspec.Struct, frozen=True):
    """Seconds to wait after a failed attempt: `base_s`, then `factor` times as much each time, up to `max_s`.

    Up to the share `jitter` of it is taken off at random, so that what failed together is not tried together.
    """

    base_s: float = 5.0
    factor: float = 2.0
    max_s: float = 3600.0
    jitter: float = 0.2

    def __call__(self, attempt: int) -> float:
        """Return the seconds after attempt number `attempt` (from 1)."""
        # The exponent is bounded: a float overflows at the 1024th doubling.
        delay_s = min(self.base_s * self.factor ** min(attempt - 1, 60), self.max_s)
        return delay_s * (1 - self.jitter * random.random())  # noqa: S311  # spreads load, keeps no secret


Handler: TypeAlias = Callable[[Job], Awaitable[None]]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the jobs of one kind; see `Jobs.register`."""

    name: str
    handler: Handler
    timeout_s: float
    max_attempts: int
    limit: int
    backoff: Callable[[int], float]
