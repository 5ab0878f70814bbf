"""Who looks on while plugins work: each call with its plugin, duration, outcome and request."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from typing import Any

import pytest

from groundplane.errors import Forbidden
from groundplane.hooks import hookimpl
from groundplane.hooks.events import RecordRequest, RecordSaved, RecordSaving
from groundplane.hooks.observers import Call, Spans
from groundplane.hooks.routes import PluginRequest, Route
from groundplane.services import Services
from groundplane.testing.plugins import AppWith, make_plugin

TITLE = [{"name": "title", "type": "text"}]


class Notebook:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def called(self, call: Call) -> None:
        self.calls.append(call)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(each.hook, each.outcome) for each in self.calls]


@hookimpl(deadline_s=0.05)
async def record_saving(event: RecordSaving) -> None:
    match event.record["title"]:
        case "refuse":
            raise Forbidden("No.")
        case "raise":
            raise RuntimeError("no")
        case "hang":
            await asyncio.sleep(60)


@hookimpl
async def record_saved(event: RecordSaved) -> None: ...


@hookimpl
async def record_request(event: RecordRequest) -> AsyncIterator[None]:
    yield


async def test_every_call_is_told_with_its_outcome_and_the_request_it_belongs_to(app_with: AppWith) -> None:
    app = await app_with(make_plugin("one", record_saving, record_saved, record_request))
    await app.make_collection("notes", TITLE)
    notebook = Notebook()
    app.plugins.hooks.observers.append(notebook)
    for title, outcome in (("ok", "done"), ("refuse", "refused"), ("raise", "failed"), ("hang", "timed_out")):
        answer = await app.send("POST", "notes", json={"title": title})
        await app.settled()
        saved = [("record_saved", "done")] if title == "ok" else []
        assert sorted(notebook.outcomes()) == sorted(
            [("record_saving", outcome), ("record_request", "done"), *saved]
        )
        assert {each.request_id for each in notebook.calls} == {answer.headers["x-request-id"]}
        assert {each.plugin for each in notebook.calls} == {"one"}
        assert all(0 <= each.duration_s < 60 for each in notebook.calls)
        assert [bool(each.error) for each in notebook.calls if each.hook == "record_saving"] == [
            title != "ok"
        ]
        notebook.calls.clear()


async def test_routes_are_told_too_and_an_observer_that_fails_hurts_nobody(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    async def greet(request: PluginRequest, services: Services) -> dict[str, Any]:
        return {"hello": "you"}

    @hookimpl
    def register_routes() -> list[Route]:
        return [Route("GET", "/greet", greet, access="everyone")]

    class Broken:
        def called(self, call: Call) -> None:
            raise RuntimeError("no")

    app = await app_with(make_plugin("hello", register_routes))
    notebook = Notebook()
    app.plugins.hooks.observers.extend([Broken(), notebook])
    assert (await app.ask("GET", "/api/x/hello/greet")).status_code == 200
    assert notebook.outcomes() == [("GET /api/x/hello/greet", "done")]
    assert "An observer of plugins failed" in caplog.text


class Span:
    def __init__(self, name: str, **more: Any) -> None:
        self.name, self.more = name, more
        self.status: Any = None

    def set_status(self, *status: Any) -> None:
        self.status = status

    def end(self, end_time: int) -> None:
        self.more["end_time"] = end_time


class Tracer:
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def start_span(self, name: str, **more: Any) -> Span:
        self.spans.append(Span(name, **more))
        return self.spans[-1]


def test_a_call_becomes_a_span_with_its_times_and_a_failed_one_a_failed_span() -> None:
    tracer = Tracer()
    spans = Spans(tracer, "ERROR")
    call = Call(plugin="one", hook="ready", started=100.0, duration_s=0.5, outcome="done", request_id="r1")
    spans.called(call)
    failed = Call(plugin="one", hook="ready", started=1.0, duration_s=2.0, outcome="failed", error="no")
    spans.called(failed)
    first, second = tracer.spans
    assert (first.name, first.status) == ("one.ready", None)
    assert first.more["start_time"] == 100_000_000_000
    assert first.more["end_time"] == 100_500_000_000
    assert first.more["attributes"] == {
        "groundplane.plugin": "one",
        "groundplane.hook": "ready",
        "groundplane.outcome": "done",
        "groundplane.request_id": "r1",
    }
    assert second.status == ("ERROR", "no")


async def test_calls_go_to_opentelemetry_exactly_when_it_is_installed(app_with: AppWith) -> None:
    app = await app_with(make_plugin("one", record_saved))
    installed = importlib.util.find_spec("opentelemetry") is not None
    assert any(isinstance(each, Spans) for each in app.plugins.hooks.observers) is installed


async def test_without_an_implementation_nothing_is_called_or_counted(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("notes", TITLE)
    for _ in range(5):
        await app.send("POST", "notes", json={"title": "a"})
        await app.send("GET", "notes")
    assert app.plugins.figures() == []
    await app.assert_called()
