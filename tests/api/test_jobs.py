"""/api/crons and /api/jobs over HTTP, and the built-in cron jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from groundplane.clock import now
from groundplane.jobs.job import GiveUp, Job
from groundplane.jobs.worker import Worker
from groundplane.testing.server import Server

NO_TOKEN = "The request requires valid record authorization token."
NOT_ALLOWED = "The authorized record is not allowed to perform this action."


@pytest.fixture
async def root(server: Server) -> dict[str, str]:
    return {"Authorization": await server.superuser_token()}


@pytest.fixture
def worker(server: Server) -> Worker:
    return Worker(server.services.db, server.services.jobs, name="one")


def add_kinds(server: Server) -> None:
    async def greet(_: Job) -> None:
        pass

    async def refuse(_: Job) -> None:
        raise GiveUp("no such receiver")

    server.services.jobs.register("greet", greet)
    server.services.jobs.register("refuse", refuse)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/crons"),
        ("POST", "/api/crons/__pbOTPCleanup__"),
        ("GET", "/api/jobs"),
        ("GET", "/api/jobs/abc"),
        ("POST", "/api/jobs/abc/retry"),
        ("POST", "/api/jobs/abc/cancel"),
    ],
)
async def test_only_superusers_see_and_steer_jobs(server: Server, method: str, path: str) -> None:
    answer = await server.client.request(method, path)
    assert (answer.status_code, answer.json()["message"]) == (401, NO_TOKEN)
    users = server.services.schema.current.find("users")
    await server.services.records.create_internal(users, {"email": "a@example.com"})
    token = await server.token("users", "a@example.com")
    answer = await server.client.request(method, path, headers={"Authorization": token})
    assert (answer.status_code, answer.json()["message"]) == (403, NOT_ALLOWED)


async def test_cron_jobs_are_listed_with_built_in_ones_behind(server: Server, root: Any) -> None:
    async def act() -> None:
        pass

    server.services.crons.add("nightly", "@daily", act)
    answer = await server.client.get("/api/crons", headers=root)
    assert answer.status_code == 200
    assert answer.json() == [
        {"id": "nightly", "expression": "0 0 * * *"},
        {"id": "__gpFilesCount__", "expression": "7 * * * *"},
        {"id": "__gpIdempotencyCleanup__", "expression": "17 * * * *"},
        {"id": "__gpJobsCleanup__", "expression": "27 * * * *"},
        {"id": "__gpSessionsCleanup__", "expression": "47 * * * *"},
        {"id": "__gpUploadsCleanup__", "expression": "57 * * * *"},
        {"id": "__gpWebhooksCleanup__", "expression": "37 * * * *"},
        {"id": "__pbDBOptimize__", "expression": "0 0 * * *"},
        {"id": "__pbLogsCleanup__", "expression": "0 */6 * * *"},
        {"id": "__pbMFACleanup__", "expression": "0 * * * *"},
        {"id": "__pbOTPCleanup__", "expression": "0 * * * *"},
    ]
    answer = await server.client.get("/api/crons?fields=id", headers=root)
    assert answer.json()[0] == {"id": "nightly"}


async def test_a_cron_job_runs_in_the_background(server: Server, root: Any, worker: Worker) -> None:
    calls = []

    async def act() -> None:
        calls.append(1)

    server.services.crons.add("nightly", "@daily", act)
    answer = await server.client.post("/api/crons/nightly", headers=root)
    assert (answer.status_code, answer.content) == (204, b"")
    assert calls == []
    await worker.run_due()
    assert calls == [1]
    for unknown in ("unknown", "__pbRateLimitersCleanup__", "%00"):
        answer = await server.client.post(f"/api/crons/{unknown}", headers=root)
        assert answer.status_code == 404
        assert answer.json() == {"data": {}, "message": "Missing or invalid cron job.", "status": 404}


async def test_the_clean_up_of_rate_limits_is_there_while_somebody_is_counted(
    server: Server, root: Any, worker: Worker
) -> None:
    async def is_listed() -> bool:
        crons = (await server.client.get("/api/crons", headers=root)).json()
        return {"id": "__pbRateLimitersCleanup__", "expression": "2 * * * *"} in crons

    limits = {"enabled": True, "rules": [{"label": "/api/", "maxRequests": 100, "duration": 10}]}
    change = {"rateLimits": limits}
    assert (await server.client.patch("/api/settings", json=change, headers=root)).status_code == 200
    assert not await is_listed()
    await server.client.get("/api/health")
    assert await is_listed()
    # A window that is open stays, one that is over goes.
    await server.services.crons.run("__pbRateLimitersCleanup__")
    await worker.run_due()
    assert await is_listed()
    await server.services.db.execute("UPDATE _rate_limits SET started = started - 11")
    await server.services.crons.run("__pbRateLimitersCleanup__")
    await worker.run_due()
    assert not await is_listed()
    await server.client.get("/api/health")
    assert await is_listed()
    await server.client.patch("/api/settings", json={}, headers=root)
    assert not await is_listed()


@pytest.mark.parametrize(("table", "cron"), [("_mfas", "__pbMFACleanup__"), ("_otps", "__pbOTPCleanup__")])
async def test_expired_steps_of_sign_ins_are_removed(
    server: Server, worker: Worker, table: str, cron: str
) -> None:
    services = server.services
    users = services.schema.current.find("users")
    duration = (users.options.mfa if table == "_mfas" else users.options.otp).duration
    for id, collection, age in (
        ("fresh", users.id, duration - 60),
        ("expired", users.id, duration + 60),
        ("orphan", "gone", 0),
    ):
        await services.db.execute(
            f'INSERT INTO "{table}" ("id", "collectionRef", "recordRef", "created") VALUES ($1, $2, $3, $4)',
            *(id, collection, "someone", now() - timedelta(seconds=age)),
        )
    await services.crons.run(cron)
    await worker.run_due()
    assert [row["id"] for row in await services.db.fetch(f'SELECT "id" FROM "{table}"')] == ["fresh"]


async def test_expired_idempotency_keys_are_removed(server: Server, worker: Worker) -> None:
    db = server.services.db
    for key, hours in (("old", 25), ("new", 23)):
        await db.execute(
            "INSERT INTO _idempotency (key, caller, collection, body_hash, status, response, created)"
            " VALUES ($1, '', '', '', 200, '', $2)",
            *(key, now() - timedelta(hours=hours)),
        )
    await server.services.crons.run("__gpIdempotencyCleanup__")
    await worker.run_due()
    assert [row["key"] for row in await db.fetch("SELECT key FROM _idempotency")] == ["new"]


async def test_statistics_are_refreshed_and_old_jobs_forgotten(server: Server, worker: Worker) -> None:
    services = server.services
    ids = [await services.crons.run(id) for id in ("__pbDBOptimize__", "__gpJobsCleanup__")]
    await worker.run_due()
    assert [(await services.jobs.view(id)).state for id in ids] == ["done", "done"]
    analyzed = "SELECT count(*) FROM pg_stats WHERE tablename = '_collections'"
    assert await services.db.fetchval(analyzed) > 0


async def test_jobs_are_listed_newest_first_by_state_and_kind(
    server: Server, root: Any, worker: Worker
) -> None:
    add_kinds(server)
    jobs = server.services.jobs
    first = await jobs.add("greet", {"secret": 1}, order_key="o", unique_key="u", priority=3)
    second = await jobs.add("refuse")
    await worker.run_due()
    third = await jobs.add("greet", delay_s=60)
    page = (await server.client.get("/api/jobs", headers=root)).json()
    assert {key: page[key] for key in ("page", "perPage", "totalItems", "totalPages")} == {
        "page": 1,
        "perPage": 30,
        "totalItems": 3,
        "totalPages": 1,
    }
    assert [item["id"] for item in page["items"]] == [third, second, first]
    assert page["items"][2] == {
        "id": first,
        "kind": "greet",
        "state": "done",
        "priority": 3,
        "orderKey": "o",
        "uniqueKey": "u",
        "runAt": page["items"][2]["runAt"],
        "attempts": 1,
        "maxAttempts": 10,
        "worker": "",
        "cancelAsked": False,
        "error": "",
        "created": page["items"][2]["created"],
        "started": page["items"][2]["started"],
        "finished": page["items"][2]["finished"],
    }
    for query, ids in (
        ("state=dead", [second]),
        ("kind=greet", [third, first]),
        ("kind=greet&state=done", [first]),
        ("perPage=1&page=2&skipTotal=1", [second]),
        ("kind=%00", []),
    ):
        page = (await server.client.get(f"/api/jobs?{query}", headers=root)).json()
        assert [item["id"] for item in page["items"]] == ids, query
    for query in ("state=lost", "page=x", "perPage=99999999999999999999"):
        assert (await server.client.get(f"/api/jobs?{query}", headers=root)).status_code == 400


async def test_a_job_is_shown_with_its_payload_and_runs(server: Server, root: Any, worker: Worker) -> None:
    add_kinds(server)
    id = await server.services.jobs.add("refuse", {"to": "nobody"})
    await worker.run_due()
    job = (await server.client.get(f"/api/jobs/{id}", headers=root)).json()
    assert (job["payload"], job["state"], job["error"]) == ({"to": "nobody"}, "dead", "no such receiver")
    [run] = job["runs"]
    assert (run["number"], run["outcome"], run["error"], run["worker"]) == (
        1,
        "failed",
        "no such receiver",
        "one",
    )
    for unknown in ("nothing", "%00"):
        answer = await server.client.get(f"/api/jobs/{unknown}", headers=root)
        assert (answer.status_code, answer.json()["message"]) == (404, "Missing or invalid job.")


async def test_a_job_is_retried_and_cancelled_over_http(server: Server, root: Any, worker: Worker) -> None:
    add_kinds(server)
    id = await server.services.jobs.add("refuse")
    await worker.run_due()
    assert (await server.client.post(f"/api/jobs/{id}/retry", headers=root)).status_code == 204
    assert (await server.services.jobs.view(id)).state == "waiting"
    assert (await server.client.post(f"/api/jobs/{id}/cancel", headers=root)).status_code == 204
    assert (await server.services.jobs.view(id)).state == "cancelled"
    answer = await server.client.post(f"/api/jobs/{id}/cancel", headers=root)
    assert (answer.status_code, answer.json()["message"]) == (400, "The job is already finished.")
    for action in ("retry", "cancel"):
        assert (await server.client.post(f"/api/jobs/nothing/{action}", headers=root)).status_code == 404
