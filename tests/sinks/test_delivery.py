"""What becomes of events when sinks and their plugins do well, badly, or nothing sensible."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from groundplane.errors import Invalid
from groundplane.hooks import hookimpl
from groundplane.jobs.job import Backoff, Job
from groundplane.sinks import delivery
from groundplane.sinks.choice import Choice
from groundplane.sinks.outbox import Outbox
from groundplane.sinks.sink import BrokerAway, EventSink, Message, MessageRefused
from groundplane.testing.event_sinks import Refuser, SinkApp, until, working
from groundplane.testing.plugins import AppWith, make_plugin

PASSWORD = "hunter2"


class Drain:
    """A sink in memory; `errors` are raised by the next messages, `closed_for` openings fail first."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.errors: list[BaseException] = []
        self.closed_for = 0
        self.opened = 0
        self.is_open = False

    async def open(self) -> None:
        self.opened += 1
        if self.closed_for:
            self.closed_for -= 1
            raise ConnectionRefusedError(f"amqp://me:{PASSWORD}@host refuses")
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def send(self, message: Message) -> None:
        assert self.is_open
        if self.errors:
            raise self.errors.pop(0)
        self.messages.append(message)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "REOPENING", Backoff(base_s=0.02, max_s=0.1))
    monkeypatch.setattr(delivery, "PROBE_LATER_S", 0.02)


@pytest.fixture
def drain() -> Drain:
    return Drain()


@pytest.fixture
def open_drain(app_with: AppWith, drain: Drain) -> Callable[..., Any]:
    async def start(*functions: Any, **choice: Any) -> SinkApp:
        @hookimpl
        def register_event_sinks() -> list[EventSink]:
            return [EventSink(sink=drain, choice=Choice(**choice), secrets=(PASSWORD,), address="here")]

        app = await app_with(make_plugin("drain", register_event_sinks, *functions))
        sink = SinkApp(app, None, "drain")  # type: ignore[arg-type]  # there is no broker
        await sink.collections()
        return sink

    return start


async def jobs_of(sink: SinkApp) -> list[Job]:
    return (await sink.services.jobs.page(kind="sink:drain", limit=200)).items[::-1]


async def test_nothing_is_opened_where_no_jobs_are_run(open_drain: Any, drain: Drain) -> None:
    sink = await open_drain()
    await sink.send("POST", "posts", text="a")
    assert drain.opened == 0
    async with working(sink.services):
        await sink.delivered()
        assert drain.is_open
    assert (drain.opened, drain.is_open) == (1, False)


async def test_only_chosen_collections_actions_and_fields_are_passed_on(
    open_drain: Any, drain: Drain
) -> None:
    sink = await open_drain(collections=("posts",), actions=("create", "delete"), fields=("nothing",))
    post = await sink.send("POST", "posts", text="a")
    await sink.send("PATCH", "posts", post["id"], text="b")
    await sink.send("POST", "comments", text="c", post=post["id"])
    await sink.send("DELETE", "posts", post["id"])
    async with working(sink.services):
        await sink.delivered()
    assert [(each.collection, each.type) for each in drain.messages] == [
        ("posts", "record.created"),
        ("posts", "record.deleted"),
    ]
    assert b'"text"' not in drain.messages[0].body


async def test_accounts_of_the_system_are_not_passed_on_unless_they_are_named(
    open_drain: Any, drain: Drain
) -> None:
    sink = await open_drain()
    await sink.app.as_user()
    await sink.app.as_superuser()
    async with working(sink.services):
        await sink.delivered()
    [message] = drain.messages
    assert message.collection == "users"
    assert b"user@example.com" in message.body
    assert b"password" not in message.body
    assert b"tokenKey" not in message.body


async def test_the_condition_is_about_the_record_as_the_change_leaves_it(
    open_drain: Any, drain: Drain
) -> None:
    sink = await open_drain(collections=("posts",), condition="text ~ 'yes' && @request.auth.id = ''")
    yes = (await sink.send("POST", "posts", text="yes"))["id"]
    other = (await sink.send("POST", "posts", text="other"))["id"]
    await sink.send("PATCH", "posts", yes, text="other")
    await sink.send("PATCH", "posts", other, text="yes 2")
    await sink.send("DELETE", "posts", yes)
    await sink.send("DELETE", "posts", other)
    await sink.app.make_record("posts", text="yes, but by a superuser")
    async with working(sink.services):
        await sink.delivered()
    assert [(each.record, each.action) for each in drain.messages] == [
        (yes, "create"),
        (other, "update"),
        (other, "delete"),
    ]


async def test_a_condition_that_fits_no_longer_passes_nothing_on_and_is_told(
    open_drain: Any, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    sink = await open_drain(condition="text = 'a'", collections=("posts", "users", "nowhere"))
    await sink.app.as_user()
    await sink.send("POST", "posts", text="a")
    async with working(sink.services):
        await sink.delivered()
    assert [each.collection for each in drain.messages] == ["posts"]
    assert "The sink drain gets no events of users: its condition does not fit" in caplog.text
    texts = [check.text for check in await sink.services.sinks.health("drain") if not check.sound]
    assert any("gets no events of users" in text for text in texts)
    assert any("nowhere, and there is no such collection" in text for text in texts)


async def test_a_message_that_is_refused_is_dead_at_once_and_the_next_of_its_record_follows(
    open_drain: Any, drain: Drain
) -> None:
    sink = await open_drain()
    drain.errors = [MessageRefused(f"too large for {PASSWORD}")]
    post = (await sink.send("POST", "posts", text="a"))["id"]
    await sink.send("PATCH", "posts", post, text="b")
    async with working(sink.services):
        await sink.delivered()
    assert [each.action for each in drain.messages] == ["update"]
    assert [(job.state, job.error) for job in await jobs_of(sink)] == [
        ("dead", "too large for …"),
        ("done", ""),
    ]
    assert any("gave 1 events up" in check.text for check in await sink.services.sinks.health("drain"))


async def test_any_other_error_is_a_failed_attempt_of_that_event_alone(
    open_drain: Any, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRYING", Backoff(base_s=0.01))
    sink = await open_drain()
    drain.errors = [RuntimeError(f"no queue for {PASSWORD}"), ValueError("still none")]
    for text in "ab":
        await sink.send("POST", "posts", text=text)
    async with working(sink.services):
        await sink.delivered()
    assert len(drain.messages) == 2
    assert drain.opened == 1, "the connection was not at fault"
    jobs = await jobs_of(sink)
    assert sum(job.attempts for job in jobs) == 4
    errors = [run.error for job in jobs for run in await sink.services.jobs.runs(job.id) if run.error]
    assert sorted(errors) == ["NotTaken: RuntimeError: no queue for …", "NotTaken: ValueError: still none"]


async def test_an_outage_costs_no_attempt_and_is_told_once(
    open_drain: Any, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "groundplane.sinks")
    sink = await open_drain()
    drain.closed_for = 4
    for number in range(20):
        await sink.send("POST", "posts", text=str(number))
    async with working(sink.services):
        await until(sink.is_failing)
        state = await sink.services.sinks.state("drain")
        assert (state.waiting, state.address) == (20, "here")
        await sink.delivered()
    assert len(drain.messages) == 20
    assert drain.opened == 5, "one event at a time tries whether the broker is back"
    assert {job.attempts for job in await jobs_of(sink)} == {1}
    told = [each.getMessage() for each in caplog.records if each.name == "groundplane.sinks.delivery"]
    assert len(told) == 2
    assert told[0].startswith("The sink drain (here) is away, its events wait: ConnectionRefusedError")
    assert told[1].startswith("The sink drain (here) is back after")
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("error", [BrokerAway("bye"), ConnectionResetError(), asyncio.CancelledError()])
async def test_a_connection_that_breaks_is_opened_again(
    open_drain: Any, drain: Drain, error: BaseException
) -> None:
    sink = await open_drain()
    drain.errors = [error]
    await sink.send("POST", "posts", text="a")
    async with working(sink.services):
        await sink.delivered()
    assert len(drain.messages) == 1
    assert drain.opened == 2
    assert [job.attempts for job in await jobs_of(sink)] == [1]


async def test_a_sink_that_hangs_is_given_up_after_its_time(app_with: AppWith, drain: Drain) -> None:
    begun, sent = asyncio.Event(), drain.send

    async def send(message: Message) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        await sent(message)

    drain.send = send  # type: ignore[method-assign]

    @hookimpl
    def register_event_sinks() -> list[EventSink]:
        return [EventSink(sink=drain, timeout_s=0.05)]

    app = await app_with(make_plugin("drain", register_event_sinks))
    sink = SinkApp(app, None, "drain")  # type: ignore[arg-type]  # there is no broker
    await sink.collections()
    await sink.send("POST", "posts", text="a")
    async with working(sink.services):
        await sink.delivered()
    [job] = await jobs_of(sink)
    assert [run.error for run in await sink.services.jobs.runs(job.id)][-1] == "no answer within 0.05 s"


async def test_an_event_that_is_too_large_arrives_without_what_makes_it_so(
    app_with: AppWith, drain: Drain
) -> None:
    @hookimpl
    def register_event_sinks() -> list[EventSink]:
        return [EventSink(sink=drain)]

    app = await app_with(make_plugin("drain", register_event_sinks))
    sink = SinkApp(app, None, "drain")  # type: ignore[arg-type]  # there is no broker
    await app.make_collection("pages", [{"name": "text", "type": "text", "max": 2_000_000}])
    page = (await sink.send("POST", "pages", text='"' * 600_000))["id"]
    await sink.send("PATCH", "pages", page, text='"' * 200_000)
    async with working(sink.services):
        await sink.delivered()
    first, second = (each.body for each in drain.messages)
    assert b'"partial":true' in first
    assert len(first) < 1000
    assert b'"partial":true' in second
    assert b'"before"' not in second
    assert len(second) > 400_000


async def test_plugins_that_run_around_jobs_see_every_event_for_itself(open_drain: Any, drain: Drain) -> None:
    seen: list[str] = []

    @hookimpl
    async def job_run(event: Any) -> AsyncIterator[None]:
        seen.append(event.job.id)
        yield

    sink = await open_drain(job_run)
    for number in range(5):
        await sink.send("POST", "posts", text=str(number))
    async with working(sink.services):
        await sink.delivered()
    assert sorted(seen) == sorted(job.id for job in await jobs_of(sink))


async def test_plugins_may_change_and_drop_what_is_passed_on(open_drain: Any, drain: Drain) -> None:
    @hookimpl
    async def event_publishing(event: Any) -> None:
        if event.target == "sink:drain":
            event.message["data"]["record"]["text"] += "!"
            event.is_dropped = event.message["data"]["record"]["text"] == "b!"

    sink = await open_drain(event_publishing)
    for text in "abc":
        await sink.send("POST", "posts", text=text)
    async with working(sink.services):
        await sink.delivered()
    texts = [json.loads(each.body)["data"]["record"]["text"] for each in drain.messages]
    assert sorted(texts) == ["a!", "c!"]


async def test_a_change_that_another_listener_refuses_leaves_no_job(open_drain: Any) -> None:
    sink = await open_drain()
    sink.services.changes.listeners.append(Refuser())
    assert (await sink.app.send("POST", "posts", json={"text": "no"})).status_code == 409
    assert await jobs_of(sink) == []


# Plugins that cannot be used


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("nonsense", "register_event_sinks must return a list of EventSink"),
        ([Drain()], "register_event_sinks must return a list of EventSink"),
        ([EventSink(sink=Drain()), EventSink(sink=Drain())], "there are two sinks with the name bad"),
        ([EventSink(sink=Drain(), name="a b")], "'bad.a b' is not a name for a sink"),
    ],
)
async def test_what_is_no_list_of_sinks_breaks_the_plugin(
    app_with: AppWith, answer: Any, reason: str
) -> None:
    @hookimpl
    def register_event_sinks() -> Any:
        return answer

    app = await app_with(make_plugin("bad", register_event_sinks))
    [plugin] = app.plugins.broken
    assert plugin.reason == reason
    assert app.services.sinks.deliveries == {}
    assert not any(isinstance(each, Outbox) for each in app.services.changes.listeners)


async def test_a_plugin_that_raises_is_broken_and_the_server_goes_on(app_with: AppWith) -> None:
    @hookimpl
    def register_event_sinks() -> Any:
        raise Invalid("no such file")

    app = await app_with(make_plugin("bad", register_event_sinks))
    assert [plugin.name for plugin in app.plugins.broken] == ["bad"]
    assert (await app.ask("GET", "/api/health")).status_code == 200
