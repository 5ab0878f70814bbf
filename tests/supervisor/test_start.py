"""What a start costs: what is imported, what is shared, and what happens when the process that forks is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from groundplane.config import Config
from groundplane.nursery import MODULES
from groundplane.process_memory import shares
from groundplane.testing.live import LiveServer

LIMIT_S = 60
LISTED = "import json, sys; print(json.dumps(sorted(sys.modules)))"
SUPERVISOR = "import groundplane.cli, groundplane.nursery, groundplane.plain_log, groundplane.supervisor\n"
WORKERS = (
    f"from importlib import import_module\nfor each in {sum(MODULES.values(), ())}: import_module(each)\n"
)
MADE = "from groundplane.api.routes import make_gateway\nmake_gateway()\n"

TALKS = """
from groundplane.hooks import hookimpl

API_VERSION = 1


@hookimpl
async def ready(role):
    print(("x" * 99 + chr(10)) * 1500 + "said", flush=True)
"""


def imported(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", program + LISTED], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("program", "most", "absent"),
    [
        (SUPERVISOR, 320, {"asyncpg", "litestar", "piccolo", "rich", "structlog", "uvicorn"}),
        (WORKERS + MADE, 1400, {"jinja2", "puremagic", "pydantic", "sqlglot"}),
    ],
    ids=["supervisor", "workers"],
)
def test_no_process_imports_at_its_start_what_it_may_never_need(
    program: str, most: int, absent: set[str]
) -> None:
    found = imported(program)
    assert absent & found == set()
    assert len(found) < most


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts shared memory")
async def test_an_idle_installation_with_one_worker_takes_less_than_160_mib(tmp_path: Path) -> None:
    async with LiveServer(tmp_path / "live", workers=1) as server:
        assert (await server.client.get("/api/health")).status_code == 200
        found = shares(Config(data_dir=str(server.data_dir)))
        names = [share.name for share in found]
        assert {"groundplane-web", "groundplane-job", "groundplane serve", "postgres"} <= set(names)
        # Idle is what it is when the start is over: what only that needed is given back soon.
        with suppress(TimeoutError):
            async with asyncio.timeout(LIMIT_S):
                while sum(share.pss_bytes for share in found) >= 160 * 2**20:
                    await asyncio.sleep(0.5)
                    found = shares(Config(data_dir=str(server.data_dir)))
        assert sum(share.pss_bytes for share in found) < 160 * 2**20, found


async def test_when_the_process_that_makes_workers_is_killed_the_server_ends_and_says_so(
    server_database_url: str, tmp_path: Path
) -> None:
    async with LiveServer(tmp_path / "live", server_database_url, workers=2) as server:
        assert server.process is not None
        workers = server.pids("groundplane-web") + server.pids("groundplane-job")
        assert len(workers) == 3
        [nursery] = server.pids("groundplane-nur")
        os.kill(nursery, signal.SIGKILL)
        async with asyncio.timeout(LIMIT_S):
            assert await server.process.wait() == 1
            while any(Path(f"/proc/{pid}").exists() for pid in workers):  # noqa: ASYNC110  # not our children
                await asyncio.sleep(0.02)
            while b"start the server again" not in server.output:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_what_a_worker_prints_is_seen_and_does_not_block_it(
    server_database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "live"
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "talks.py").write_text(TALKS)
    async with LiveServer(folder, server_database_url, workers=1) as server:
        assert (await server.client.get("/api/health")).status_code == 200
        async with asyncio.timeout(LIMIT_S):
            while b"\nsaid" not in server.output:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
