"""Messages to webhooks and event sinks, shown to plugins first: changed, dropped, refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from groundplane.errors import Forbidden
from groundplane.hooks import hookimpl
from groundplane.hooks.events import EventPublishing
from groundplane.services import Services
from groundplane.sinks.sink import EventSink, Message
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin

FIELDS = [{"name": "title", "type": "text"}, {"name": "size", "type": "number"}]


class Silent:
    """A sink that nobody opens: what it would be told waits in its jobs."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Message) -> None: ...


@hookimpl
def register_event_sinks(services: Services) -> list[EventSink]:
    return [EventSink(name=name, sink=Silent()) for name in ("archive", "search")]


def editor(act: Any, **options: Any) -> Any:
    @hookimpl(**options)
    async def event_publishing(event: EventPublishing) -> None:
        return await act(event)

    return make_plugin("editor", register_event_sinks, event_publishing)


async def messages(app: PluginApp) -> dict[str, Any]:
    """The last message that waits for each sink."""
    rows = await app.services.db.fetch(
        "SELECT kind, payload->>'body' AS body FROM _jobs WHERE kind LIKE 'sink:%' ORDER BY seq"
    )
    return {row["kind"]: json.loads(row["body"]) for row in rows}


async def test_a_message_is_changed_for_one_and_dropped_for_another(app_with: AppWith) -> None:
    async def act(event: EventPublishing) -> None:
        if event.target.endswith("archive"):
            event.is_dropped = event.message["data"]["record"]["size"] > 1
        else:
            event.message["data"]["record"]["title"] = "***"

    app = await app_with(editor(act))
    assert app.plugins.broken == []
    await app.make_collection("notes", FIELDS)
    for size, archived in ((1, True), (2, False)):
        await app.services.db.execute("DELETE FROM _jobs")
        await app.make_record("notes", title="a", size=size)
        found = await messages(app)
        shown = {kind: each["data"]["record"]["title"] for kind, each in found.items()}
        assert shown == ({"sink:editor.archive": "a"} if archived else {}) | {"sink:editor.search": "***"}


async def refuses(event: EventPublishing) -> None:
    raise Forbidden("Nobody may know.")


async def raises(event: EventPublishing) -> None:
    raise RuntimeError("no")


async def hangs(event: EventPublishing) -> None:
    await asyncio.sleep(60)


async def answers(event: EventPublishing) -> Any:
    return event.message


async def renames(event: EventPublishing) -> None:
    event.message["id"] = "another"


async def empties(event: EventPublishing) -> None:
    event.message.clear()


async def spoils(event: EventPublishing) -> None:
    event.message["data"]["record"]["title"] = object()


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (refuses, 403),
        (raises, 500),
        (hangs, 500),
        (answers, 500),
        (renames, 500),
        (empties, 500),
        (spoils, 500),
    ],
)
async def test_what_fails_there_undoes_the_change_and_tells_nobody(
    app_with: AppWith, act: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = await app_with(editor(act, deadline_s=0.1))
    await app.make_collection("notes", FIELDS)
    answer = await app.send("POST", "notes", json={"title": "a"})
    assert answer.status_code == status
    assert (await app.send("GET", "notes")).json()["totalItems"] == 0
    assert await messages(app) == {}
    if status == 500:
        assert "editor" in caplog.text or "editor" in answer.text


async def test_what_webhooks_send_is_shown_first_too(app_with: AppWith) -> None:
    async def act(event: EventPublishing) -> None:
        if event.target.startswith("webhook"):
            event.is_dropped = event.message["data"]["record"]["size"] > 1
            event.message["data"]["record"]["title"] = "***"

    app = await app_with(editor(act))
    await app.make_collection("notes", FIELDS)
    admin = await app.as_superuser()
    hook = {"name": "shop", "url": "https://shop.example/hooks", "collections": ["notes"]}
    made = await app.ask("POST", "/api/webhooks", user=admin, json=hook)
    assert made.status_code == 200, made.text
    sent = app.captured_webhooks()
    for size in (1, 2):
        await app.make_record("notes", title="a", size=size)
    await app.run_jobs(may_fail=True)
    records = [each["data"]["record"] for each in sent.bodies()]
    assert [(record["title"], record["size"]) for record in records] == [("***", 1)]
