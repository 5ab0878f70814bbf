"""What the plugin does in a running server."""

from __future__ import annotations

import groundplane_hello

from groundplane.testing.plugins import AppWith, PluginApp

TITLE = {"name": "title", "type": "text"}
CONFIG = {"hello": {"word": "dear", "collections": ["notes"]}}


async def counted(app: PluginApp) -> int:
    return (await app.ask("GET", "/api/x/hello/greetings/notes")).json()["count"]


async def test_new_records_are_greeted_and_counted(app_with: AppWith) -> None:
    app = await app_with(groundplane_hello, config=CONFIG)
    await app.make_collection("notes", [TITLE])
    record = await app.make_record("notes", title="reader")
    assert record["title"] == "dear reader"
    assert await counted(app) == 1


async def test_a_record_that_is_refused_is_not_counted(app_with: AppWith) -> None:
    app = await app_with(groundplane_hello, config=CONFIG)
    await app.make_collection("notes", [TITLE])
    answer = await app.send("POST", "notes", json={})
    assert answer.json()["message"] == "Nobody can be greeted without a title."
    assert await counted(app) == 0


async def test_a_job_forgets_how_many_were_greeted(app_with: AppWith) -> None:
    app = await app_with(groundplane_hello, config=CONFIG)
    await app.make_collection("notes", [TITLE])
    await app.make_record("notes", title="reader")
    await app.ask("DELETE", "/api/x/hello/greetings/notes", user=await app.as_superuser())
    assert [job.kind for job in await app.run_jobs()] == ["hello.forget"]
    assert await counted(app) == 0


async def test_other_collections_stay_as_they_are(app_with: AppWith) -> None:
    app = await app_with(groundplane_hello)
    await app.make_collection("notes", [TITLE])
    assert (await app.make_record("notes", title="reader"))["title"] == "reader"
