"""What counting costs: the same requests with and without it, by turns, in one run."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest

from groundplane.testing.plugins import AppWith, PluginApp
from groundplane_plugins import metrics

TURNS = 20
REQUESTS = 100  # per turn and way
MOST = 1.4  # a bare read in one process takes some fifty microseconds, counting it less than ten


async def processor_time(app: PluginApp, path: str) -> float:
    """Seconds of the processor for some requests, straight into the application."""
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"server.test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "root_path": "",
        "extensions": {},
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200

    started = time.process_time()
    for _ in range(REQUESTS):
        await app.server.application(dict(scope), receive, send)
    return time.process_time() - started


@pytest.mark.slow
async def test_counting_costs_little_of_a_get_by_id(app_with: AppWith) -> None:
    app = await app_with(metrics)
    await app.make_collection("notes", [{"name": "title", "type": "text"}])
    note = await app.make_record("notes", title="a")
    path = f"/api/collections/notes/records/{note['id']}"
    hook = app.plugins.hooks.request_finished
    counting = hook.implementations
    await processor_time(app, path)
    ratios = []
    for _ in range(TURNS):
        hook.implementations = ()
        without = await processor_time(app, path)
        hook.implementations = counting
        ratios.append(await processor_time(app, path) / without)
    ratio = statistics.median(ratios)
    print(f"get by id with metrics: {ratio:.3f} times the processor time without")  # noqa: T201  # the figure
    assert ratio < MOST
