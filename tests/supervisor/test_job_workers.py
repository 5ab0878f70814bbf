"""Job workers beside the web workers of `groundplane serve`, and on their own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from groundplane.testing.live import LiveServer

LIMIT_S = 60
JOB_WORKER = "groundplane-job"


async def until(fact: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await fact():  # noqa: ASYNC110  # the fact is in another process
            await asyncio.sleep(0.02)


async def superuser(server: LiveServer) -> dict[str, str]:
    code, said = await server.command("superuser", "upsert", "admin@example.com", "1234567890")
    assert code == 0, said
    signed_in = await server.client.post(
        "/api/collections/_superusers/auth-with-password",
        json={"identity": "admin@example.com", "password": "1234567890"},
    )
    return {"Authorization": signed_in.json()["token"]}


async def states(client: httpx.AsyncClient, root: dict[str, str]) -> list[str]:
    page = (await client.get("/api/jobs?kind=cron:__pbOTPCleanup__", headers=root)).json()
    return [item["state"] for item in page["items"]]


async def run_one(server: LiveServer, root: dict[str, str]) -> None:
    before = await states(server.client, root)
    answer = await server.client.post("/api/crons/__pbOTPCleanup__", headers=root)
    assert answer.status_code == 204

    async def is_done() -> bool:
        now = await states(server.client, root)
        return len(now) > len(before) and set(now) == {"done"}

    await until(is_done)


async def test_serve_runs_jobs_in_a_process_of_their_own_which_is_replaced_when_it_is_killed(
    server_database_url: str, tmp_path: Path
) -> None:
    async with LiveServer(tmp_path / "live", server_database_url, workers=1) as server:
        root = await superuser(server)
        [pid] = server.pids(JOB_WORKER)
        await run_one(server, root)
        os.kill(pid, signal.SIGKILL)

        async def is_replaced() -> bool:
            return server.pids(JOB_WORKER) not in ([], [pid])

        await until(is_replaced)
        await run_one(server, root)
        [replaced] = server.pids(JOB_WORKER)
        assert await server.stop() == 0
        assert not Path(f"/proc/{replaced}").exists()


async def test_a_worker_of_its_own_runs_the_jobs_of_a_server_that_has_none(
    server_database_url: str, tmp_path: Path
) -> None:
    config = "[jobs]\nworkers = 0\n"
    async with LiveServer(tmp_path / "live", server_database_url, workers=1, config=config) as server:
        assert server.pids(JOB_WORKER) == []
        root = await superuser(server)
        await server.client.post("/api/crons/__pbOTPCleanup__", headers=root)
        process = await asyncio.create_subprocess_exec(
            *server.arguments("worker"),
            stdout=asyncio.subprocess.PIPE,
            env=server.environment,
            cwd=server.folder,
        )
        try:

            async def is_done() -> bool:
                # Two, when the clock's own run is due meanwhile.
                return set(await states(server.client, root)) == {"done"}

            await until(is_done)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT_S):
                said, _ = await process.communicate()
            assert (process.returncode, said) == (0, b"Running up to 8 jobs at a time.\n")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_plugins_hear_of_every_worker_that_is_ready_and_what_it_does(
    server_database_url: str, tmp_path: Path
) -> None:
    plugins = tmp_path / "live" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "roles.py").write_text(
        "from pathlib import Path\n"
        "from groundplane.hooks import hookimpl\n"
        "API_VERSION = 1\n"
        "@hookimpl\n"
        "async def ready(role: str) -> None:\n"
        "    Path(role).touch()\n",
        encoding="utf-8",
    )
    async with LiveServer(tmp_path / "live", server_database_url, workers=1) as server:

        async def are_told() -> bool:
            return all((server.folder / role).exists() for role in ("web", "jobs"))

        await until(are_told)
