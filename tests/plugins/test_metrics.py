"""Numbers for Prometheus: what is counted, who may read it, and that the workers of a server add up."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundplane.hooks import hookimpl
from groundplane.hooks.events import RecordSaving, RequestFinished
from groundplane.hooks.routes import PluginAnswer, PluginRequest, Route
from groundplane.services import Services
from groundplane.testing.live import LIMIT_S, LiveServer
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin
from groundplane_plugins import metrics
from groundplane_plugins.metrics import names, series
from groundplane_plugins.metrics.series import Key, Store, added, read_all

PATH = "/api/x/metrics/"
TOKEN = "a token of enough letters"
REQUESTS = names.REQUESTS
Labels = frozenset[tuple[str, str]]


def parsed(text: str) -> dict[tuple[str, Labels], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scrape:
    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = parsed(text)

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def values(self, name: str, label: str) -> set[str]:
        return {dict(labels)[label] for found, labels in self.samples if found == name}


async def scrape(app: PluginApp) -> Scrape:
    answer = await app.ask("GET", PATH, user=await app.as_superuser())
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


async def start(app_with: AppWith, *modules: ModuleType, **config: Any) -> PluginApp:
    app = await app_with(metrics, *modules, config={"metrics": config})
    await app.make_collection("notes", [{"name": "title", "type": "text"}])
    return app


async def test_requests_are_counted_by_method_route_and_class_of_status(app_with: AppWith) -> None:
    app = await start(app_with)
    made = (await app.send("POST", "notes", json={"title": "a"})).json()
    for _ in range(3):
        await app.send("GET", "notes", made["id"])
    await app.send("GET", "notes", "nobody")
    await app.ask("GET", "/api/health")
    await app.ask("GET", "/api/collections", user=await app.as_superuser())
    await app.ask("OPTIONS", "/api/health")
    found = await scrape(app)
    record = "/api/collections/{collection}/records/{id}"
    count = f"{REQUESTS}_count"
    assert found(count, method="GET", route=record, status="2xx") == 3
    assert found(count, method="GET", route=record, status="4xx") == 1
    assert found(count, method="POST", route="/api/collections/{collection}/records", status="2xx") == 1
    assert found(count, method="GET", route="/api/health", status="2xx") == 1
    assert found(count, method="GET", route="/api/collections", status="2xx") == 1
    assert found(f"{REQUESTS}_bucket", method="GET", route=record, status="2xx", le="+Inf") == 3
    assert 0 < found(f"{REQUESTS}_sum", method="GET", route=record, status="2xx") < 30
    assert found("groundplane_record_requests_total", collection="notes", action="view", status="2xx") == 3
    assert found("groundplane_record_requests_total", collection="notes", action="create", status="2xx") == 1
    # The scrape itself is there the next time, by the template of the plugin's route.
    assert (await scrape(app))(count, method="GET", route=PATH, status="2xx") == 1


async def test_clients_cannot_make_up_series(app_with: AppWith) -> None:
    app = await start(app_with)
    for number in range(30):
        await app.ask("GET", f"/api/invented/{number}")
        await app.ask("GET", f"/api/x/invented/{number}")
        await app.ask("GET", f"/api/x/metrics/{number}")
        await app.ask(f"VERB{number}", "/api/health")
        await app.send("GET", f"invented{number}")
    found = await scrape(app)
    routes = found.values(f"{REQUESTS}_count", "route")
    assert all("invented" not in route and not re.search(r"\d", route) for route in routes)
    assert found.values(f"{REQUESTS}_count", "method") <= metrics.METHODS | {"other"}
    assert found.values("groundplane_record_requests_total", "collection") <= {"notes"}
    assert found(f"{REQUESTS}_count", method="GET", route="other", status="4xx") >= 30


def test_of_one_name_the_series_are_limited_and_the_rest_is_other(tmp_path: Path) -> None:
    store = Store(tmp_path, "web")
    for number in range(series.MAX_OF_ONE_NAME + 50):
        store.add("some", (str(number), "x"))
    total = added(read_all(tmp_path))
    assert len(total) == series.MAX_OF_ONE_NAME + 1
    assert total[Key("some", ("other", "other"))] == (50.0,)
    store.close()


def test_a_store_that_is_full_counts_nothing_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "CAPACITY", series.SPARE + 3)
    store = Store(tmp_path, "web")
    for number in range(9):
        store.add("some", (str(number),))
    assert added(read_all(tmp_path)) == {Key("some", (str(number),)): (1.0,) for number in range(3)}
    store.close()


async def test_superusers_a_token_and_addresses_let_in_and_nothing_else_does(app_with: AppWith) -> None:
    app = await start(app_with, token=TOKEN)
    for given in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer ä"):
        answer = await app.server.client.get(PATH, headers={"Authorization": given.encode()})
        assert answer.status_code == 401, given
    assert (await app.ask("GET", PATH, user=await app.as_user())).status_code == 401
    for path in (PATH, PATH.rstrip("/")):
        answer = await app.server.client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
    assert TOKEN not in answer.text
    app = await start_again(app_with, allowed_ips=["10.0.0.0/8", "127.0.0.1"])
    assert (await app.ask("GET", PATH)).status_code == 200
    app = await start_again(app_with, allowed_ips=["10.0.0.0/8"])
    assert (await app.ask("GET", PATH)).status_code == 401
    assert (await app.ask("GET", PATH, user=await app.as_superuser())).status_code == 200


async def start_again(app_with: AppWith, **config: Any) -> PluginApp:
    return await app_with(metrics, config={"metrics": config})


@pytest.mark.parametrize(
    ("config", "reason"),
    [({"token": "short"}, "fewer than 16"), ({"allowed_ips": ["10.0.0.300"]}, "no address and no network")],
)
async def test_a_configuration_that_lets_in_too_many_or_nobody_is_refused(
    app_with: AppWith, config: dict[str, Any], reason: str
) -> None:
    app = await app_with(metrics, config={"metrics": config})
    assert reason in app.plugins.broken[0].reason


def test_the_token_is_not_shown_with_the_configuration() -> None:
    assert TOKEN not in repr(metrics.Config(token=TOKEN))


async def test_the_calls_of_plugins_are_counted_with_their_failures(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None:
        if event.record["title"] == "bad":
            raise RuntimeError("no")

    app = await start(app_with, make_plugin("clumsy", record_saving))
    for title in ("good", "bad", "good"):
        await app.send("POST", "notes", json={"title": title})
    found = await scrape(app)
    labels = {"plugin": "clumsy", "hook": "record_saving"}
    assert found("groundplane_plugin_calls_total", **labels) == 3
    assert found("groundplane_plugin_failures_total", **labels) == 1
    assert found("groundplane_plugin_seconds_total", **labels) > 0


async def test_jobs_are_shown_by_kind_and_state_and_their_runs_are_timed(app_with: AppWith) -> None:
    @hookimpl
    async def startup(services: Services) -> None:
        async def act(job: Any) -> None:
            if job.payload.get("bad"):
                raise ValueError("no")

        services.jobs.register("act", act)

    app = await start(app_with, make_plugin("worker", startup))
    for payload in ({}, {}, {"bad": True}):
        await app.services.jobs.add("act", payload)
    await app.run_jobs(may_fail=True)
    await app.services.jobs.add("act")
    found = await scrape(app)
    assert found("groundplane_jobs", kind="act", state="done") == 2
    assert found("groundplane_jobs", kind="act", state="waiting") == 2
    assert found("groundplane_jobs_oldest_due_seconds") >= 0
    assert found(f"{names.JOB_RUNS}_count", kind="act", outcome="done") == 2
    assert found(f"{names.JOB_RUNS}_count", kind="act", outcome="failed") == 1


async def test_changes_of_records_are_counted_when_that_is_wanted(app_with: AppWith) -> None:
    app = await start(app_with, changes=True)
    await app.services.settings.change({"batch": {"enabled": True}})
    items = [
        {"method": "POST", "url": "/api/collections/notes/records", "body": {"title": title}}
        for title in ("a", "b")
    ]
    made = (await app.ask("POST", "/api/batch", json={"requests": items})).json()
    await app.send("DELETE", "notes", made[0]["body"]["id"])
    found = await scrape(app)
    name = "groundplane_record_changes_total"
    assert found(name, collection="notes", action="create") == 2
    assert found(name, collection="notes", action="delete") == 1


async def test_the_process_and_its_connections_are_looked_at(app_with: AppWith) -> None:
    found = await scrape(await start(app_with))
    assert found("groundplane_processes", role="web") == 1
    assert found("groundplane_realtime_streams") == 0
    assert found("groundplane_process_cpu_seconds_total", role="web") > 0
    assert found("groundplane_process_resident_memory_bytes", role="web") > 10_000_000
    assert found("groundplane_database_connections", state="idle") >= 1
    assert found("groundplane_database_up") == 1


async def test_every_name_has_a_text_and_a_type(app_with: AppWith) -> None:
    text = (await scrape(await start(app_with))).text
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")


def test_the_guide_has_every_metric_with_its_labels_and_no_other() -> None:
    guide = Path(__file__).parents[2] / "docs" / "plugin-metrics.md"
    rows = re.findall(r"^\| `(groundplane_\w+)` \| (.*?) ?\| ", guide.read_text("utf-8"), re.MULTILINE)
    told = {name.removesuffix("_total"): tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert told == {name: metric.labels for name, metric in names.METRICS.items()}
    counters = {name for name, metric in names.METRICS.items() if metric.kind == names.COUNTER}
    assert {name.removesuffix("_total") for name, _ in rows if name.endswith("_total")} == counters


async def test_without_the_database_the_rest_is_still_told(app_with: AppWith) -> None:
    app = await start(app_with, allowed_ips=["127.0.0.1"])
    await app.services.db.execute('ALTER TABLE "_jobs" RENAME TO "_gone"')
    try:
        found = Scrape((await app.ask("GET", PATH)).text)
    finally:
        await app.services.db.execute('ALTER TABLE "_gone" RENAME TO "_jobs"')
    assert found.samples["groundplane_database_up", frozenset()] == 0
    assert found("groundplane_processes", role="web") == 1


async def test_the_library_is_asked_for_when_it_is_missing(
    app_with: AppWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "groundplane_plugins.metrics.exposition", None)
    app = await app_with(metrics)
    assert "pip install 'groundplane[metrics]'" in app.plugins.broken[0].reason
    assert (await app.ask("GET", "/api/health")).status_code == 200


# The store of several processes


def in_child(act: Callable[[], None], *, killed: bool = False) -> int:
    """Run in another process of the same parent's parent; returns its id once it is gone."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os.kill(os.getpid(), signal.SIGKILL) if killed else os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_what_a_killed_process_has_counted_is_taken_over_and_its_gauges_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "parent_mark", lambda: "one server")

    def count() -> None:
        store = Store(tmp_path, "web")
        store.add("requests", ("a",), 5)
        store.show("memory", ("web",), 100)

    in_child(count, killed=True)
    # Nobody has come after it yet.
    assert added(read_all(tmp_path)) == {Key("requests", ("a",)): (5.0,)}
    for _ in range(3):
        in_child(count, killed=True)
    store = Store(tmp_path, "web")
    store.add("requests", ("a",))
    assert added(read_all(tmp_path)) == {Key("requests", ("a",)): (21.0,)}
    assert len(list(tmp_path.glob("*.names"))) == 1
    store.close()


def test_numbers_of_an_earlier_server_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for server in ("one", "two"):
        monkeypatch.setattr(series, "parent_mark", lambda server=server: server)
        store = Store(tmp_path, "web")
        store.add("requests", ("a",))
        store.close()
    assert added(read_all(tmp_path)) == {Key("requests", ("a",)): (1.0,)}
    assert len(list(tmp_path.glob("*.names"))) == 1


def test_half_written_files_are_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path, "web")
    store.add("requests", ("a",))
    (tmp_path / "web-1-1.names").write_bytes(b"")
    (tmp_path / "web-2-2.names").write_bytes(b'{"role":"we')
    (tmp_path / "web-3-3.names").write_bytes(b'{"role":"web","parent":"x"}\n["some",[],0,1,tr')
    assert added(read_all(tmp_path)) == {Key("requests", ("a",)): (1.0,)}
    store.close()


async def test_two_workers_behind_one_port_add_up_and_a_killed_one_takes_nothing_away(
    server_database_url: str, tmp_path: Path
) -> None:
    config = f'[plugins.metrics]\ntoken = "{TOKEN}"\n'
    async with LiveServer(tmp_path, server_database_url, workers=2, config=config) as live:
        headers = {"Authorization": f"Bearer {TOKEN}", "Connection": "close"}

        async def found() -> Scrape:
            answer = await live.client.get(PATH, headers=headers)
            assert answer.status_code == 200, answer.text
            return Scrape(answer.text)

        async def asked() -> float:
            return (await found())(f"{REQUESTS}_count", method="GET", route="/api/health", status="2xx")

        for _ in range(40):
            await live.client.get("/api/health", headers={"Connection": "close"})
        # Whichever worker answers.
        assert {await asked() for _ in range(6)} == {40.0}
        before = counting(live)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        assert await asked() == 40.0
        async with asyncio.timeout(LIMIT_S):
            while not counting(live) - before:  # noqa: ASYNC110  # another process has to start
                await asyncio.sleep(0.05)
        # The new one has taken over what the killed one had.
        assert len(counting(live)) == 2
        assert {await asked() for _ in range(6)} == {40.0}


def counting(live: LiveServer) -> set[int]:
    """The web processes that have files."""
    return {int(file.name.split("-")[1]) for file in (live.data_dir / "metrics").glob("web-*.names")}


# The hook behind it


async def test_a_plugin_is_told_of_every_answer_with_its_route_and_status(app_with: AppWith) -> None:
    told: list[tuple[str, str, int]] = []

    @hookimpl
    def request_finished(event: RequestFinished) -> None:
        assert event.duration_s >= 0
        told.append((event.method, event.route, event.status))

    async def answer(request: PluginRequest, services: Services) -> PluginAnswer:
        return PluginAnswer(b"x", "text/x-own", 201, (("X-Own", "1"),))

    @hookimpl
    def register_routes() -> list[Route]:
        return [Route("GET", "/some/{thing}", answer, access="everyone")]

    app = await app_with(make_plugin("ears", request_finished, register_routes))
    await app.make_collection("notes")
    answered = await app.ask("GET", "/api/x/ears/some/one")
    assert (answered.status_code, answered.headers["content-type"], answered.headers["x-own"]) == (
        201,
        "text/x-own",
        "1",
    )
    await app.send("POST", "notes", json={})
    await app.ask("DELETE", "/api/collections/notes")
    await app.ask("GET", "/nothing")
    assert told == [
        ("GET", "/api/x/ears/some/{thing}", 201),
        ("POST", "/api/collections/{collection}/records", 200),
        ("DELETE", "/api/collections/{collection}", 401),
        ("GET", "", 404),
    ]
