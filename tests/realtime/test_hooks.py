"""What plugins may do to streams: refuse them, change what they hear, change or drop what they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.realtime.streams import OPEN, Stream, caller_of

from groundplane.errors import Forbidden, Unauthorized
from groundplane.hooks import hookimpl
from groundplane.hooks.events import RealtimeConnect, RealtimeMessage, RealtimeSubscribe
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin

FIELDS = [{"name": "text", "type": "text"}, {"name": "tags", "type": "json"}]


async def stream_of(app: PluginApp, *topics: str, email: str = "") -> Stream:
    stream = Stream(app.server, await app.services.realtime.open("10.0.0.1", "10.0.0.1"))
    assert (await stream.next()).event == "PB_CONNECT"
    caller = await caller_of(app.server, "users", email) if email else None
    await stream.subscribe(*topics, "marks/*", caller=caller)
    return stream


async def prepared(app: PluginApp) -> PluginApp:
    await app.make_collection("marks")
    await app.make_collection("posts", FIELDS, **OPEN)
    return app


async def test_a_plugin_refuses_a_stream_in_its_own_words(app_with: AppWith) -> None:
    seen: list[RealtimeConnect] = []

    @hookimpl
    async def realtime_connect(event: RealtimeConnect) -> None:
        seen.append(event)
        if event.query.get("key") != "let me in":
            raise Unauthorized("No stream without a key.")

    app = await app_with(make_plugin("door", realtime_connect))
    user = await app.as_user()
    answer = await app.ask("GET", "/api/realtime", user=user, params={"key": "wrong"})
    assert (answer.status_code, answer.json()["message"]) == (401, "No stream without a key.")
    assert len(app.services.realtime.clients) == 0
    assert seen[0].transport == "sse"
    assert seen[0].caller is not None
    assert seen[0].caller.id == user.id
    await app.services.realtime.admit(RealtimeConnect("sse", "", {}, {"key": "let me in"}, None))


async def test_a_plugin_changes_and_refuses_topics_around_the_subscription(app_with: AppWith) -> None:
    steps: list[Any] = []

    @hookimpl
    async def realtime_subscribe(event: RealtimeSubscribe) -> AsyncIterator[None]:
        if "forbidden" in event.topics:
            raise Forbidden("Not this one.")
        event.topics[:] = [topic for topic in event.topics if not topic.startswith("posts")]
        event.topics.append("notes/*")
        steps.append(event.client_id)
        yield
        steps.append(list(stream.client.subscriptions))

    app = await prepared(await app_with(make_plugin("editor", realtime_subscribe)))
    await app.make_collection("notes", FIELDS)
    stream = Stream(app.server, await app.services.realtime.open("10.0.0.1", "10.0.0.1"))
    await stream.next()
    await stream.subscribe("posts/*", "marks/*")
    assert steps == [stream.client.id, ["marks/*", "notes/*"]]
    with pytest.raises(Forbidden, match="Not this one"):
        await stream.subscribe("forbidden")
    assert list(stream.client.subscriptions) == ["marks/*", "notes/*"]
    for name in ("posts", "notes"):
        assert (await app.send("POST", name, json={"text": name})).status_code == 200
    assert await stream.heard() == [("notes/*", "create", "notes")]


async def test_a_message_is_changed_once_for_all_who_see_the_same(app_with: AppWith) -> None:
    calls: list[tuple[str, str, bool]] = []

    @hookimpl(collections=["posts"])
    async def realtime_message(event: RealtimeMessage) -> None:
        calls.append((event.action, event.record["text"], event.for_superusers))
        event.record["seen"] = len(calls)
        event.record["tags"].append("live")
        event.is_dropped = event.record["text"] == "quiet" and not event.for_superusers

    app = await prepared(await app_with(make_plugin("editor", realtime_message)))
    await app.as_user()
    guests = [await stream_of(app, "posts/*") for _ in range(3)]
    user = await stream_of(
        app, "posts/*", 'posts/*?options={"query":{"fields":"text,seen"}}', email="user@example.com"
    )
    await app.server.superuser_token()
    superuser = Stream(app.server, await app.services.realtime.open("10.0.0.1", "10.0.0.1"))
    await superuser.next()
    await superuser.subscribe(
        "posts/*", "marks/*", caller=await caller_of(app.server, "_superusers", "admin@example.com")
    )
    for text in ("loud", "quiet"):
        assert (await app.send("POST", "posts", json={"text": text, "tags": ["a"]})).status_code == 200
    heard = [record for _, record in await guests[0].heard_records()]
    assert [(record["text"], record["tags"]) for record in heard] == [("loud", ["a", "live"])]
    for guest in guests[1:]:
        assert [record for _, record in await guest.heard_records()] == heard
    shown = [record for _, record in await user.heard_records()]
    assert sorted(shown, key=len) == [{"text": "loud", "seen": heard[0]["seen"]}, heard[0]]
    assert [(r["text"], r["tags"]) for _, r in await superuser.heard_records()] == [
        ("loud", ["a", "live"]),
        ("quiet", ["a", "live"]),
    ]
    assert sorted(calls) == [
        ("create", text, for_superusers) for text in ("loud", "quiet") for for_superusers in (False, True)
    ]


async def test_a_plugin_that_fails_costs_the_message_and_not_the_stream(app_with: AppWith) -> None:
    @hookimpl(collections=["posts"])
    async def realtime_message(event: RealtimeMessage) -> None:
        match event.record["text"]:
            case "refused":
                raise Forbidden()
            case "broken":
                raise RuntimeError("no")
            case "nonsense":
                event.record["text"] = object()
            case "another":
                event.record = []  # type: ignore[assignment]  # what it may not do

    app = await prepared(await app_with(make_plugin("faulty", realtime_message)))
    stream = await stream_of(app, "posts/*")
    for text in ("refused", "broken", "nonsense", "another", "fine"):
        made = await app.send("POST", "posts", json={"text": text})
        assert made.status_code == 200
    await app.send("DELETE", "posts", made.json()["id"])
    assert await stream.heard() == [("posts/*", "create", "fine"), ("posts/*", "delete", "fine")]
