"""The part of the API document that is about jobs, for superusers."""

from __future__ import annotations

from typing import Any

from groundplane.api.openapi_fields import DATE_PATTERN, JSON
from groundplane.api.openapi_records import answer, errors, parameters, ref
from groundplane.jobs.job import STATES

TAG: JSON = {"name": "Jobs", "description": "Work for later and by the clock. Superusers only."}
DATE: JSON = {"type": "string", "pattern": DATE_PATTERN}
TEXT: JSON = {"type": "string"}
NUMBER: JSON = {"type": "integer"}


def operation(id: str, summary: str, client: str, **more: Any) -> JSON:
    return {
        "operationId": id,
        "tags": ["Jobs"],
        "summary": summary,
        "security": [{"token": []}],
        "x-codeSamples": [{"lang": "JavaScript", "source": client}],
    } | more


def with_id(description: str) -> list[JSON]:
    schema = {"type": "string", "minLength": 1}
    return [{"name": "id", "in": "path", "required": True, "schema": schema, "description": description}]


def job_paths() -> dict[str, JSON]:
    done: JSON = {"204": {"description": "Done."}}
    return {
        "/api/crons": {
            "get": operation(
                "cronsList",
                "List the cron jobs",
                "await pb.crons.getFullList()",
                parameters=parameters("fields"),
                responses={"200": answer("Those that exist now.", {"type": "array", "items": ref("Cron")})}
                | errors("401", "403"),
            )
        },
        "/api/crons/{id}": {
            "parameters": with_id("The id of the cron job."),
            "post": operation(
                "cronsRun",
                "Run a cron job in the background",
                "await pb.crons.run('__pbOTPCleanup__')",
                responses=done | errors("401", "403", "404"),
            ),
        },
        "/api/jobs": {
            "get": operation(
                "jobsList",
                "List jobs, newest first",
                "await pb.send('/api/jobs', { query: { state: 'dead' } })",
                parameters=[
                    {"name": "state", "in": "query", "schema": {"type": "string", "enum": list(STATES)}},
                    {"name": "kind", "in": "query", "schema": TEXT},
                    *parameters("page", "perPage", "skipTotal", "fields"),
                ],
                responses={"200": answer("A page of jobs.", ref("JobPage"))} | errors("400", "401", "403"),
            )
        },
        "/api/jobs/{id}": {
            "parameters": with_id("The id of the job."),
            "get": operation(
                "jobsView",
                "Show a job with its payload and its runs",
                "await pb.send('/api/jobs/JOB_ID', {})",
                parameters=parameters("fields"),
                responses={"200": answer("The job.", ref("JobWithRuns"))} | errors("401", "403", "404"),
            ),
        },
        "/api/jobs/{id}/retry": {
            "parameters": with_id("The id of the job."),
            "post": operation(
                "jobsRetry",
                "Run a finished job again, or a waiting one now",
                "await pb.send('/api/jobs/JOB_ID/retry', { method: 'POST' })",
                responses=done | errors("400", "401", "403", "404", "409"),
            ),
        },
        "/api/jobs/{id}/cancel": {
            "parameters": with_id("The id of the job."),
            "post": operation(
                "jobsCancel",
                "Keep a job from running, or interrupt it",
                "await pb.send('/api/jobs/JOB_ID/cancel', { method: 'POST' })",
                responses=done | errors("400", "401", "403", "404"),
            ),
        },
    }


def job_schemas() -> dict[str, JSON]:
    job = {
        "id": TEXT,
        "kind": TEXT,
        "state": {"type": "string", "enum": list(STATES)},
        "priority": NUMBER,
        "orderKey": TEXT,
        "uniqueKey": TEXT,
        "runAt": DATE,
        "attempts": NUMBER,
        "maxAttempts": NUMBER,
        "worker": TEXT,
        "cancelAsked": {"type": "boolean"},
        "error": TEXT,
        "created": DATE,
        "started": DATE,
        "finished": DATE,
    }
    run = {
        "number": NUMBER,
        "outcome": TEXT,
        "error": TEXT,
        "worker": TEXT,
        "started": DATE,
        "finished": DATE,
    }
    page = {name: NUMBER for name in ("page", "perPage", "totalItems", "totalPages")}
    return {
        "Cron": {"type": "object", "properties": {"id": TEXT, "expression": TEXT}},
        "Job": {"type": "object", "properties": job},
        "JobPage": {
            "type": "object",
            "properties": {"items": {"type": "array", "items": ref("Job")}} | page,
        },
        "JobRun": {"type": "object", "properties": run},
        "JobWithRuns": {
            "type": "object",
            "properties": job
            | {"payload": {"type": "object"}, "runs": {"type": "array", "items": ref("JobRun")}},
        },
    }
