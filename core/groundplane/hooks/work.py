"""What a plugin's jobs and cron jobs are: a name, a function, and its limits."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from groundplane.jobs.job import Job
    from groundplane.services import Services

JobHandler: TypeAlias = "Callable[[Job, Services], Awaitable[None]]"
CronHandler: TypeAlias = "Callable[[Services], Awaitable[None]]"

NAME = re.compile(r"[A-Za-z0-9_-]{1,50}", re.ASCII)


class JobKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of jobs: plugin `hello` adds one with `services.jobs.add("hello.<name>", {…})`.

    `handler` gets the job and the services, and may get the same job again: after a failure, and when a
    worker was lost. `timeout_s` bounds a run, `max_attempts` the failed runs, `limit` how many run at a time
    over all processes (0: any number). It may raise `groundplane.jobs.job.GiveUp` and `Postpone`.
    """

    name: str
    handler: JobHandler
    timeout_s: float = 60.0
    max_attempts: int = 10
    limit: int = 0


class CronJob(msgspec.Struct, frozen=True, kw_only=True):
    """Work by the clock: `expression` has five fields in UTC or is a macro such as `@daily`.

    Each tick runs once, whatever the number of processes; it is listed as `<plugin>.<name>`.
    """

    name: str
    expression: str
    handler: CronHandler
    timeout_s: float = 600.0
    max_attempts: int = 3


def job_problem(job: object) -> str:
    """Why this is no kind of jobs; "" when it is one."""
    if not isinstance(job, JobKind):
        return f"it is {type(job).__name__}, not a JobKind"
    return work_problem(job)


def cron_problem(cron: object) -> str:
    """Why this is no cron job, besides a wrong expression; "" when it is one."""
    if not isinstance(cron, CronJob):
        return f"it is {type(cron).__name__}, not a CronJob"
    return work_problem(cron)


def work_problem(work: JobKind | CronJob) -> str:
    if not isinstance(work.name, str) or NAME.fullmatch(work.name) is None:
        return f"{work.name!r} is no name: letters, digits, _ and -"
    if not inspect.iscoroutinefunction(work.handler):
        return f"{work.name}: its handler must be `async def`"
    return ""
