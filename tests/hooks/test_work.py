"""Jobs and cron jobs of plugins, and the hooks around all jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from groundplane.doctor import examine_services
from groundplane.errors import Forbidden
from groundplane.hooks import hookimpl
from groundplane.hooks.events import JobFailed, JobRun
from groundplane.hooks.work import CronJob, JobKind
from groundplane.jobs.job import GiveUp, Job, Postpone
from groundplane.jobs.worker import Worker
from groundplane.services import Services
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin


def post(*jobs: Any, crons: Any = (), functions: Any = (), name: str = "post") -> Any:
    @hookimpl
    def register_jobs() -> list[Any]:
        return list(jobs)

    @hookimpl
    def register_cron() -> list[Any]:
        return list(crons)

    return make_plugin(name, register_jobs, register_cron, *functions)


async def run_due(app: PluginApp) -> int:
    return await Worker(app.services.db, app.services.jobs, name="here").run_due()


async def test_a_plugin_adds_a_job_and_its_handler_runs_it(app_with: AppWith) -> None:
    sent: list[Any] = []

    async def send(job: Job, services: Services) -> None:
        sent.append((job.payload["to"], await services.db.fetchval("SELECT 1")))

    app = await app_with(post(JobKind(name="send", handler=send, max_attempts=3)))
    job = await app.services.jobs.add("post.send", {"to": "reader"})
    assert await run_due(app) == 1
    assert sent == [("reader", 1)]
    found = await app.services.jobs.view(job)
    assert (found.state, found.max_attempts) == ("done", 3)
    assert [each["calls"] for each in app.plugins.figures() if each["hook"] == "job post.send"] == [1]


async def test_cron_jobs_are_listed_and_fired_once_per_tick(app_with: AppWith) -> None:
    ticks: list[str] = []

    async def tidy(services: Services) -> None:
        ticks.append("tidy")

    app = await app_with(post(crons=[CronJob(name="tidy", expression="30 4 * * *", handler=tidy)]))
    admin = await app.as_superuser()
    listed = (await app.ask("GET", "/api/crons", user=admin)).json()
    assert {"id": "post.tidy", "expression": "30 4 * * *"} in listed
    moment = datetime(2030, 1, 1, 4, 30, tzinfo=UTC)
    for _ in range(2):
        await app.services.crons.fire(moment)
    await run_due(app)
    assert ticks == ["tidy"]
    assert (await app.ask("POST", "/api/crons/post.tidy", user=admin)).status_code == 204
    await run_due(app)
    assert ticks == ["tidy", "tidy"]


async def test_a_handler_that_fails_is_named_and_one_that_says_so_is_believed(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(job: Job, services: Services) -> None:
        match job.payload["how"]:
            case "raise":
                raise RuntimeError("no")
            case "give up":
                raise GiveUp("The address is wrong.")
            case "postpone":
                raise Postpone(60, "not yet")

    app = await app_with(post(JobKind(name="fail", handler=fail)))
    jobs = app.services.jobs
    ids = {how: await jobs.add("post.fail", {"how": how}) for how in ("raise", "give up", "postpone")}
    await run_due(app)
    found = {how: await jobs.view(id) for how, id in ids.items()}
    assert {how: job.state for how, job in found.items()} == {
        "raise": "waiting",
        "give up": "dead",
        "postpone": "waiting",
    }
    assert found["raise"].error == "PluginFailed: plugin post failed in job post.fail: RuntimeError: no"
    assert "Plugin post failed in job post.fail: RuntimeError: no" in caplog.text
    assert (found["give up"].error, found["postpone"].attempts) == ("The address is wrong.", 0)


async def nothing(job: Job, services: Services) -> None: ...


async def never(services: Services) -> None: ...


def plain(job: Job, services: Services) -> None: ...


@pytest.mark.parametrize(
    ("jobs", "crons", "reason"),
    [
        (["send"], [], "register_jobs: it is str, not a JobKind"),
        ([JobKind(name="a b", handler=nothing)], [], "'a b' is no name"),
        ([JobKind(name="send", handler=plain)], [], "its handler must be `async def`"),  # type: ignore[arg-type]
        ([JobKind(name="send", handler=nothing, timeout_s=0)], [], "timeout_s is above 0"),
        ([JobKind(name="send", handler=nothing)] * 2, [], "have a handler already"),
        ([], [CronJob(name="tidy", expression="at noon", handler=never)], "Invalid cron expression"),
        ([], ["tidy"], "register_cron: it is str, not a CronJob"),
    ],
)
async def test_work_that_is_none_takes_its_plugin_out(
    app_with: AppWith, jobs: Any, crons: Any, reason: str
) -> None:
    app = await app_with(post(*jobs, crons=crons))
    assert reason.lower() in app.plugins.broken[0].reason.lower()


async def test_job_hooks_see_runs_failures_and_the_end(app_with: AppWith) -> None:
    seen: list[Any] = []

    async def fail(job: Job, services: Services) -> None:
        raise RuntimeError("no")

    @hookimpl
    async def job_run(event: JobRun) -> AsyncIterator[None]:
        seen.append(("begins", event.job.kind, event.job.attempts))
        try:
            yield
        finally:
            seen.append("ends")

    @hookimpl
    async def job_failed(event: JobFailed) -> None:
        seen.append(("failed", event.outcome, event.error))

    @hookimpl
    async def job_dead(event: JobFailed) -> None:
        seen.append(("dead", event.job.attempts))

    hooks = (job_run, job_failed, job_dead)
    app = await app_with(post(JobKind(name="fail", handler=fail, max_attempts=2), functions=hooks))
    job = await app.services.jobs.add("post.fail")
    await run_due(app)
    await app.services.jobs.retry(job)
    await run_due(app)
    await app.settled()
    error = "PluginFailed: plugin post failed in job post.fail: RuntimeError: no"
    begins = [each for each in seen if each == "ends" or each[0] == "begins"]
    assert begins == [("begins", "post.fail", 1), "ends", ("begins", "post.fail", 2), "ends"]
    assert [each for each in seen if each[0] in ("failed", "dead")] == [
        ("failed", "failed", error),
        ("dead", 2),
    ]


async def refuses(event: JobRun) -> AsyncIterator[None]:
    raise Forbidden("Not on Sundays.")
    yield


async def raises(event: JobRun) -> AsyncIterator[None]:
    raise RuntimeError("no")
    yield


async def hangs(event: JobRun) -> AsyncIterator[None]:
    await asyncio.sleep(60)
    yield


async def never_yields(event: JobRun) -> AsyncIterator[None]:
    if event.job is None:
        yield


@pytest.mark.parametrize(
    ("hostile", "error"),
    [
        (refuses, "Not on Sundays."),
        (raises, "RuntimeError: no"),
        (hangs, "it took longer than 0.05 s"),
        (never_yields, "it ended without a yield"),
    ],
)
async def test_a_run_that_a_plugin_stops_is_a_failed_one_and_will_be_tried_again(
    app_with: AppWith, hostile: Any, error: str
) -> None:
    ran: list[str] = []

    async def work(job: Job, services: Services) -> None:
        ran.append(job.id)

    async def job_run(event: JobRun) -> AsyncIterator[None]:
        async for _ in hostile(event):
            yield

    function = hookimpl(deadline_s=0.05)(job_run)
    app = await app_with(post(JobKind(name="work", handler=work)), make_plugin("guard", function))
    job = await app.services.jobs.add("post.work")
    await run_due(app)
    found = await app.services.jobs.view(job)
    assert (found.state, ran) == ("waiting", [])
    assert error in found.error


async def test_doctor_tells_of_jobs_that_nobody_runs(app_with: AppWith) -> None:
    app = await app_with(post(JobKind(name="send", handler=nothing)))
    await app.services.jobs.add("post.send")
    await app.services.db.execute("UPDATE _jobs SET run_at = now() - interval '1 hour'")
    await app.services.db.execute(
        "INSERT INTO _jobs (id, kind, payload, state, priority, order_key, unique_key, run_at, max_attempts, created)"
        " VALUES ('gone', 'old.send', '{}', 'waiting', 0, '', '', now() - interval '1 hour', 3, now())"
    )
    config = app.services.config
    without = msgspec.structs.replace(config, jobs=msgspec.structs.replace(config.jobs, workers=0))
    services = msgspec.structs.replace(app.services, config=without)
    findings = [finding.text async for finding in examine_services(services) if not finding.sound]
    assert "2 jobs are due, and jobs.workers is 0: run `groundplane worker` somewhere" in findings
    assert "1 jobs of the kind old.send wait for a plugin that is not there" in findings


async def test_ready_says_what_the_process_is_for(app_with: AppWith) -> None:
    roles: list[str] = []

    @hookimpl
    async def ready(role: str) -> None:
        roles.append(role)

    app = await app_with(make_plugin("one", ready))
    await app.settled()
    assert roles == ["web"]


async def test_a_run_whose_worker_died_is_told_as_lost(app_with: AppWith) -> None:
    told: list[Any] = []

    @hookimpl
    async def job_failed(event: JobFailed) -> None:
        told.append(("failed", event.outcome))

    @hookimpl
    async def job_dead(event: JobFailed) -> None:
        told.append(("dead", event.outcome))

    plugin = post(JobKind(name="send", handler=nothing, max_attempts=2), functions=(job_failed, job_dead))
    app = await app_with(plugin)
    jobs = app.services.jobs
    await jobs.add("post.send")
    for _ in range(2):
        assert len(await jobs.claim("dying", 1, -1.0)) == 1
        assert await jobs.take_back() == 1
    await app.settled()
    assert told == [("failed", "lost"), ("dead", "lost")]
