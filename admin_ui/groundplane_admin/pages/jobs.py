"""Work in the background: the queue with what became of each job, and what runs by the clock."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import NamedTuple

from litestar import Response, get, post
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.clock import now
from groundplane.errors import Conflict, Invalid
from groundplane.jobs.job import FINISHED, STATES, Job, Run
from groundplane.jobs.schedule import BUILT_IN, KIND_PREFIX, parse
from groundplane_admin.panels import closing, emptied, list_behind
from groundplane_admin.registry import Command, NavItem, Screen
from groundplane_admin.visits import Toast, Visit, visit_of, with_query

PAGE_ROWS = 50
LOOK_AHEAD = timedelta(days=32)  # for the next time of a cron job
MAX_PAYLOAD = 20_000  # characters that are shown


class JobPage(NamedTuple):
    job: Job
    runs: list[Run]
    payload: str
    may_retry: bool
    may_cancel: bool
    back: str
    closing: str


class JobsPage(NamedTuple):
    state: str
    kind: str
    states: list[tuple[str, int, str]]
    jobs: list[Job]
    page: int
    newer: str
    older: str
    open: JobPage | None
    open_id: str


class CronRow(NamedTuple):
    id: str
    expression: str
    built_in: bool
    next: datetime | None
    last: Job | None


class CronsPage(NamedTuple):
    crons: list[CronRow]


async def dead_jobs(visit: Visit) -> str:
    """How many jobs have failed for good, for the sidebar."""
    dead = (await visit.services.jobs.counts()).get("dead", 0)
    return str(dead) if dead else ""


@get("/_/jobs")
async def jobs(request: AnyRequest) -> Response[bytes]:
    """The queue, newest first; `state`, `kind` and `page` of the address choose."""
    visit = visit_of(request)
    if (none := emptied(visit)) is not None:
        return none
    return visit.page("jobs/page.html", await jobs_page(visit))


@get("/_/jobs/{job_id:str}")
async def job(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """One job with its runs, in the panel."""
    visit = visit_of(request)
    shown = await job_page(visit, job_id)
    if visit.is_fragment and visit.ask.headers.get("hx-target", "").endswith("#panel"):
        return visit.fragment("jobs/_panel.html", shown)
    return visit.page("jobs/page.html", await jobs_page(visit, shown))


@post("/_/jobs/{job_id:str}/retry", status_code=303)
async def retry(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """Run a job again, or a waiting one at once."""
    return await act(visit_of(request), job_id, "retry")


@post("/_/jobs/{job_id:str}/cancel", status_code=303)
async def cancel(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """Keep a job from running."""
    return await act(visit_of(request), job_id, "cancel")


async def act(visit: Visit, job_id: str, verb: str) -> Response[bytes]:
    queue = visit.services.jobs
    try:
        await (queue.retry(job_id) if verb == "retry" else queue.cancel(job_id))
        toast = Toast(f"jobs.{verb}_done")
    except (Invalid, Conflict) as error:
        toast = Toast("jobs.refused", {"reason": str(error)}, kind="error")
    if visit.is_fragment:
        visit.toasts.append(toast)
        return visit.fragment("jobs/_panel.html", await job_page(visit, job_id))
    return visit.go_to(f"/_/jobs/{job_id}", toast=toast)


@get("/_/crons")
async def crons(request: AnyRequest) -> Response[bytes]:
    """What runs by the clock: when next, and how it went last."""
    visit = visit_of(request)
    listed = await visit.services.crons.all()
    last = await visit.services.jobs.latest([KIND_PREFIX + each.id for each in listed])
    rows = [
        CronRow(
            each.id,
            each.expression,
            each.id.startswith(BUILT_IN),
            next_time(each.expression),
            last.get(KIND_PREFIX + each.id),
        )
        for each in listed
    ]
    return visit.page("jobs/crons.html", CronsPage(rows))


@post("/_/crons/{cron_id:str}/run", status_code=303)
async def run_cron(request: AnyRequest, cron_id: FromPath[str]) -> Response[bytes]:
    """Run one now; the page of the job that does it follows."""
    visit = visit_of(request)
    job_id = await visit.services.crons.run(cron_id)
    return visit.go_to(f"/_/jobs/{job_id}", toast=Toast("jobs.cron_queued", {"id": cron_id}))


async def jobs_page(visit: Visit, open: JobPage | None = None) -> JobsPage:
    query = visit.ask.query
    state = query.get("state", "") if query.get("state") in STATES else ""
    kind = query.get("kind", "").strip()
    number = query.get("page", "1")
    page = int(number) if number.isdecimal() and 0 < int(number) <= 10_000 else 1
    found = await visit.services.jobs.page(
        state=state, kind=kind, limit=PAGE_ROWS + 1, offset=(page - 1) * PAGE_ROWS, with_total=False
    )
    counts = await visit.services.jobs.counts()

    def at(number: int) -> str:
        return with_query("/_/jobs", state=state, kind=kind, page=str(number) if number > 1 else "")

    return JobsPage(
        state=state,
        kind=kind,
        states=[(each, counts.get(each, 0), with_query("/_/jobs", state=each, kind=kind)) for each in STATES],
        jobs=found.items[:PAGE_ROWS],
        page=page,
        newer=at(page - 1) if page > 1 else "",
        older=at(page + 1) if len(found.items) > PAGE_ROWS else "",
        open=open,
        open_id=open.job.id if open is not None else "",
    )


async def job_page(visit: Visit, job_id: str) -> JobPage:
    """Raises NotFound."""
    queue = visit.services.jobs
    job = await queue.view(job_id)
    payload = json.dumps(job.payload, indent=2, ensure_ascii=False)
    back = list_behind(visit, "/_/jobs")
    return JobPage(
        job=job,
        runs=await queue.runs(job_id),
        payload=payload if len(payload) <= MAX_PAYLOAD else f"{payload[:MAX_PAYLOAD]} …",
        may_retry=job.state in (*FINISHED, "waiting"),
        may_cancel=job.state not in FINISHED and not job.cancel_asked,
        back=back,
        closing=closing(back),
    )


def next_time(expression: str) -> datetime | None:
    """When an expression matches next, within a month; None when it does not, or cannot be read."""
    try:
        schedule = parse(expression)
    except ValueError:
        return None
    moment = now().replace(second=0, microsecond=0) + timedelta(minutes=1)
    end = moment + LOOK_AHEAD
    while moment < end:
        if schedule.matches(moment):
            return moment
        # Hours without a match are passed at once: a monthly one would take forty thousand steps.
        in_hour = moment.hour in schedule.hours and moment.minute < max(schedule.minutes)
        moment += timedelta(minutes=1 if in_hour else 60 - moment.minute)
    return None


SCREEN = Screen(
    handlers=[jobs, job, retry, cancel, crons, run_cron],
    nav=[NavItem("operate", "jobs.title", "/_/jobs", "job", order=30, badge=dead_jobs)],
    commands=[
        Command("jobs.crons", "/_/crons", "job"),
        Command("jobs.command_dead", "/_/jobs?state=dead", "job"),
    ],
)
