"""The jobs and cron jobs of plugins, in the queue under the names of their plugins."""

from __future__ import annotations

from typing import Any

from groundplane.errors import GroundplaneError
from groundplane.hooks import Options
from groundplane.hooks.implementation import Implementation, Surroundings
from groundplane.hooks.manager import Plugins
from groundplane.hooks.work import CronHandler, CronJob, JobHandler, JobKind
from groundplane.jobs.job import GiveUp, Job, Postpone
from groundplane.jobs.queue import Jobs
from groundplane.jobs.schedule import Crons

SAID = (GroundplaneError, GiveUp, Postpone)  # what a handler may say by raising; all else is its failure


def kind_of(plugin: str, name: str) -> str:
    return f"{plugin}.{name}"


def register_work(jobs: Jobs, crons: Crons, plugins: Plugins) -> None:
    """Register what the started plugins do; one whose work cannot be registered is broken."""
    surroundings = plugins.hooks.surroundings
    for plugin in plugins.loaded:
        try:
            for job in plugin.jobs:
                plugin.workers.append(add_job(jobs, surroundings, plugin.name, job))
            for cron in plugin.crons:
                plugin.workers.append(add_cron(crons, surroundings, plugin.name, cron))
        except ValueError as error:
            plugins.drop(plugin.name, str(error))


def add_job(jobs: Jobs, surroundings: Surroundings, plugin: str, job: JobKind) -> Implementation:
    kind = kind_of(plugin, job.name)
    handler = implementation(plugin, f"job {kind}", job.handler, ("job", "services"))

    async def handle(found: Job) -> None:
        given = {"job": found, "services": surroundings.services}
        # The queue bounds the time of a run itself.
        await handler.answer(surroundings, given, None, passing=SAID)

    jobs.register(kind, handle, timeout_s=job.timeout_s, max_attempts=job.max_attempts, limit=job.limit)
    return handler


def add_cron(crons: Crons, surroundings: Surroundings, plugin: str, cron: CronJob) -> Implementation:
    name = kind_of(plugin, cron.name)
    handler = implementation(plugin, f"cron {name}", cron.handler, ("services",))

    async def act() -> None:
        await handler.answer(surroundings, {"services": surroundings.services}, None, passing=SAID)

    crons.add(name, cron.expression, act, timeout_s=cron.timeout_s, max_attempts=cron.max_attempts)
    return handler


def implementation(
    plugin: str, name: str, function: JobHandler | CronHandler, arguments: tuple[str, ...]
) -> Implementation:
    """The function, to be called like the implementation of a hook; its parameters may have any names."""

    async def call(**given: Any) -> None:
        await function(*(given[argument] for argument in arguments))

    return Implementation(plugin, name, call, arguments, Options())
