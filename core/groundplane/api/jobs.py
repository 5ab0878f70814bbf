"""/api/crons and /api/jobs"""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get, post
from litestar.params import FromPath

from groundplane.api.caller import require_superuser
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.clock import wire_date
from groundplane.errors import Invalid
from groundplane.jobs.job import STATES, Job, Run
from groundplane.records.paging import list_request, page_of


def superuser_exchange(request: AnyRequest) -> Exchange:
    ask = exchange(request)
    require_superuser(ask)
    return ask


def answer(value: Any, ask: Exchange) -> Response[bytes]:
    return to_response(json_reply(value, fields=ask.query.get("fields")))


def job_to_json(job: Job) -> dict[str, Any]:
    """A job without its payload, which may be long."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "priority": job.priority,
        "orderKey": job.order_key,
        "uniqueKey": job.unique_key,
        "runAt": wire_date(job.run_at),
        "attempts": job.attempts,
        "maxAttempts": job.max_attempts,
        "worker": job.worker,
        "cancelAsked": job.cancel_asked,
        "error": job.error,
        "created": wire_date(job.created),
        "started": wire_date(job.started),
        "finished": wire_date(job.finished),
    }


def run_to_json(run: Run) -> dict[str, Any]:
    return {
        "number": run.number,
        "outcome": run.outcome,
        "error": run.error,
        "worker": run.worker,
        "started": wire_date(run.started),
        "finished": wire_date(run.finished),
    }


@get("/")
async def list_crons(request: AnyRequest) -> Response[bytes]:
    """List the cron jobs that exist now."""
    ask = superuser_exchange(request)
    crons = await services_of(request).crons.all()
    return answer([{"id": cron.id, "expression": cron.expression} for cron in crons], ask)


@post("/{id:str}", status_code=204)
async def run_cron(request: AnyRequest, id: FromPath[str]) -> None:
    """Run a cron job in the background, on any worker."""
    superuser_exchange(request)
    await services_of(request).crons.run(id)


@get("/")
async def list_jobs(request: AnyRequest) -> Response[bytes]:
    """List jobs, newest first, of one state or kind if so asked."""
    ask = superuser_exchange(request)
    wanted = list_request(ask.query)
    state = ask.query.get("state", "")
    if state not in ("", *STATES):
        raise Invalid(f"The state is one of {', '.join(STATES)}.")
    page = await services_of(request).jobs.page(
        state=state,
        kind=ask.query.get("kind", ""),
        limit=wanted.per_page,
        offset=wanted.offset,
        with_total=not wanted.skip_total,
    )
    return answer(page_of([job_to_json(job) for job in page.items], wanted, page.total), ask)


@get("/{id:str}")
async def view_job(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Show a job with its payload and its latest runs."""
    ask = superuser_exchange(request)
    jobs = services_of(request).jobs
    job = await jobs.view(id)
    runs = [run_to_json(run) for run in await jobs.runs(id)]
    return answer(job_to_json(job) | {"payload": job.payload, "runs": runs}, ask)


@post("/{id:str}/retry", status_code=204)
async def retry_job(request: AnyRequest, id: FromPath[str]) -> None:
    """Run a finished job again, or a waiting one now."""
    superuser_exchange(request)
    await services_of(request).jobs.retry(id)


@post("/{id:str}/cancel", status_code=204)
async def cancel_job(request: AnyRequest, id: FromPath[str]) -> None:
    """Keep a job from running, or interrupt it."""
    superuser_exchange(request)
    await services_of(request).jobs.cancel(id)


crons_router = Router("/api/crons", route_handlers=[list_crons, run_cron])
jobs_router = Router("/api/jobs", route_handlers=[cancel_job, list_jobs, retry_job, view_job])
