"""What plugins cost: the checks where there is none, and ten that are told of every new record.

Run it by name: `pytest tests/bench/bench_hooks.py -s`. It measures CPU time of this process, PostgreSQL's not, in
turns of both kinds within one run, so that what else the machine does hits both alike.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from groundplane.api import direct, records
from groundplane.api.caller import token_of
from groundplane.hooks import hookimpl
from groundplane.hooks.events import RecordSaved
from groundplane.records import quick, watchers
from groundplane.testing import plugins
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin

app_with = plugins.app_with

ROUNDS = 30
READS = 1500  # per turn
WRITES = 400
AT_ONCE = 64
FIELDS = [{"name": "title", "type": "text"}, {"name": "size", "type": "number"}]


@pytest.fixture(autouse=True)
def no_project_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(str(tmp_path))


def scope_of(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    headers = [(b"host", b"localhost")]
    if body:
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def ask(app: PluginApp, method: str, path: str, body: bytes = b"") -> int:
    """A request in process, without the cost of a client."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    await app.server.application(scope_of(method, path, body), receive, send)  # type: ignore[arg-type]
    return status


async def turn(count: int, one: Callable[[int], Any]) -> float:
    """CPU microseconds per request, with `AT_ONCE` under way."""
    started = time.process_time()
    for first in range(0, count, AT_ONCE):
        statuses = await asyncio.gather(
            *(one(number) for number in range(first, min(first + AT_ONCE, count)))
        )
        assert set(statuses) == {200}
    return (time.process_time() - started) / count * 1e6


@contextmanager
def without_checks(app: PluginApp) -> Iterator[None]:
    """The code as if there were no hooks: what looks at them is replaced by what it comes to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watchers.Watchers, "reads_are_plain", True)
        patch.setattr(watchers.Watchers, "create_is_plain", lambda self, schema, collection: True)
        patch.setattr(type(app.services.records), "reads_are_plain", True)
        patch.setattr(quick, "restrictions", lambda schema, collection: None)
        for module in (records, direct):
            patch.setattr(module, "asker_of", guest_without_asking)
        yield


def guest_without_asking(authorization: str, services: Any, headers: Any) -> Any:
    """`asker_of` for a guest, without the look for plugins that know callers."""
    settings = services.settings.current
    if settings.rate_limits.enabled:
        return None
    return None if token_of(authorization) else quick.NOBODY


def report(what: str, one: list[float], other: list[float]) -> float:
    """Print both medians and the median of the ratios of neighbouring turns; returns that ratio."""
    ratio = statistics.median(left / right for left, right in zip(one, other, strict=True))
    sys.stdout.write(
        f"\n{what}: {statistics.median(one):.1f} µs against {statistics.median(other):.1f} µs, ratio {ratio:.3f}\n"
    )
    return ratio


async def test_no_plugin_costs_nothing_on_get_by_id(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("notes", FIELDS)
    ids = [(await app.make_record("notes", title="a"))["id"] for _ in range(50)]
    paths = [f"/api/collections/notes/records/{each}" for each in ids]

    def read(number: int) -> Any:
        return ask(app, "GET", paths[number % len(paths)])

    await turn(READS, read)
    checked: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        checked.append(await turn(READS, read))
        with without_checks(app):
            bare.append(await turn(READS, read))
    assert report("get by id with the hooks' checks, and without", checked, bare) < 1.15


def teller(number: int) -> Any:
    @hookimpl
    async def record_saved(event: RecordSaved) -> None: ...

    return make_plugin(f"teller{number}", record_saved)


async def test_ten_plugins_that_are_told_of_new_records(app_with: AppWith) -> None:
    app = await app_with(*(teller(number) for number in range(10)))
    app.plugins.hooks.surroundings.trace = None
    await app.make_collection("notes", FIELDS)
    body = json.dumps({"title": "a", "size": 1}).encode()
    hook = app.plugins.hooks.record_saved
    ten = hook.implementations

    def write(number: int) -> Any:
        return ask(app, "POST", "/api/collections/notes/records", body)

    async def all_told(number: int) -> float:
        started = time.process_time()
        took = await turn(number, write)
        await app.settled()
        return took + max(0.0, (time.process_time() - started) / number * 1e6 - took)

    await all_told(WRITES)
    told: list[float] = []
    silent: list[float] = []
    for _ in range(ROUNDS):
        hook.implementations = ten
        told.append(await all_told(WRITES))
        hook.implementations = ()
        silent.append(await all_told(WRITES))
    report("create with ten plugins that hear of it, and with none", told, silent)
    more = statistics.median(left - right for left, right in zip(told, silent, strict=True))
    sys.stdout.write(f"ten plugins: {more:.1f} µs per create, {more / 10:.1f} µs per plugin\n")
    assert sum(each.counters.calls for each in ten) >= 10 * WRITES * ROUNDS
