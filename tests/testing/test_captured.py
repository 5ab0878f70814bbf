"""What tests see of changes, jobs and the order of hooks."""

from __future__ import annotations

import pytest

from groundplane.errors import Invalid
from groundplane.hooks import hookimpl
from groundplane.hooks.events import RecordSaving
from groundplane.jobs.job import Job
from groundplane.services import Services
from groundplane.testing.clock import FrozenClock
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin

TITLE = {"name": "title", "type": "text"}


async def test_committed_changes_are_captured_with_what_follows_from_them(app_with: AppWith) -> None:
    app = await app_with()
    notes = await app.make_collection("notes", [TITLE])
    relation = {"name": "of", "type": "relation", "collectionId": notes.id, "cascadeDelete": True}
    await app.make_collection("children", [relation])
    changes, only = app.captured_changes(), app.captured_changes("children")
    note = await app.make_record("notes", title="a")
    child = await app.make_record("children", of=note["id"])
    await app.send("PATCH", "notes", note["id"], json={"title": "b"})
    await app.send("DELETE", "notes", note["id"])
    assert changes.pairs() == [
        ("create", "notes"),
        ("create", "children"),
        ("update", "notes"),
        ("delete", "notes"),
        ("delete", "children"),
    ]
    assert (changes[2].before or {})["title"] == "a"
    assert changes[4].is_cascade
    assert [change.record["id"] for change in only] == [child["id"]] * 2
    changes.stop()
    await app.make_record("notes", title="c")
    assert len(changes) == 5


async def test_what_was_rolled_back_is_not_captured(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("notes", [TITLE])
    changes = app.captured_changes()

    async def fail() -> None:
        async with app.services.db.transaction():
            await app.services.records.create_internal(
                app.services.schema.current.find("notes"), {"title": "a"}
            )
            raise Invalid

    with pytest.raises(Invalid):
        await fail()
    assert changes == []


@hookimpl
async def startup(services: Services) -> None:
    async def greet(job: Job) -> None:
        if job.payload["name"] == "bad":
            raise ValueError("no")
        if job.payload["name"] == "first":
            await services.jobs.add("greet", {"name": "second"})

    services.jobs.register("greet", greet, max_attempts=2)


async def start(app_with: AppWith) -> PluginApp:
    return await app_with(make_plugin("greeter", startup))


async def test_jobs_are_captured_and_run_with_those_that_they_add(app_with: AppWith) -> None:
    app = await start(app_with)
    await app.services.jobs.add("greet", {"name": "first"})
    assert [job.state for job in await app.captured_jobs("greet")] == ["waiting"]
    assert [job.payload["name"] for job in await app.run_jobs()] == ["first", "second"]
    assert [job.state for job in await app.captured_jobs()] == ["done", "done"]
    assert await app.captured_jobs("other") == []
    assert await app.run_jobs() == []


async def test_a_job_that_fails_fails_the_test_unless_it_may(app_with: AppWith, clock: FrozenClock) -> None:
    app = await start(app_with)
    await app.services.jobs.add("greet", {"name": "bad"})
    with pytest.raises(AssertionError, match=r"greet \{'name': 'bad'\}: ValueError: no"):
        await app.run_jobs()
    clock.travel(hours=2)
    (job,) = await app.run_jobs(may_fail=True)
    assert (job.state, job.attempts) == ("dead", 2)


async def test_the_order_of_hooks_is_compared(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None: ...

    @hookimpl(after=["first"])
    async def after_first(event: RecordSaving) -> None: ...

    after_first.__name__ = "record_saving"
    app = await app_with(make_plugin("second", after_first), make_plugin("first", record_saving))
    await app.make_collection("notes", [TITLE])
    app.assert_order("record_saving", "first", "second")
    with pytest.raises(AssertionError, match=r"called in \['first', 'second'\]"):
        app.assert_order("record_saving", "second", "first")
    await app.assert_called()
    await app.make_record("notes", title="a")
    await app.assert_called(("record_saving", "first"), ("record_saving", "second"))
    await app.make_record("notes", title="a")
    with pytest.raises(AssertionError, match="called were"):
        await app.assert_called("record_saving")


async def test_what_webhooks_would_send_is_captured_and_answered(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("notes", [TITLE])
    webhook = {"name": "one", "url": "https://example.com/hook", "collections": ["notes"]}
    await app.services.webhooks.create(webhook)
    sent = app.captured_webhooks()
    await app.make_record("notes", title="a")
    assert sent == []
    await app.run_jobs()
    assert [body["data"]["record"]["title"] for body in sent.bodies()] == ["a"]
    for status in (500, 0):
        sent.status = status
        await app.make_record("notes", title="b")
        await app.run_jobs(may_fail=True)
    (_, failed, unanswered) = await app.services.db.fetch(
        'SELECT * FROM "_webhook_deliveries" ORDER BY "seq"'
    )
    assert {failed["state"], unanswered["state"]} & {"done", "delivered"} == set()
