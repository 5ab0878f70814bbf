"""What the plugin for limits of streams refuses, and what it leaves out of messages."""

from __future__ import annotations

from typing import Any

import pytest
from tests.realtime.streams import OPEN, Stream, caller_of

from groundplane.errors import Forbidden, Invalid, TooManyRequests
from groundplane.testing.plugins import AppWith, PluginApp
from groundplane_plugins import stream_limits

FIELDS = [{"name": "text", "type": "text"}, {"name": "body", "type": "editor"}]


async def start(app_with: AppWith, **config: Any) -> PluginApp:
    app = await app_with(stream_limits, config={"stream_limits": config})
    await app.make_collection("posts", FIELDS, **OPEN)
    return app


async def opened(app: PluginApp) -> Stream:
    stream = Stream(app.server, await app.services.realtime.open("127.0.0.1", "127.0.0.1"))
    await stream.next()
    return stream


async def test_an_address_has_so_many_streams_and_no_more(app_with: AppWith) -> None:
    app = await start(app_with, per_address=2)
    for _ in range(2):
        await opened(app)
    answer = await app.ask("GET", "/api/realtime")
    assert (answer.status_code, answer.json()["message"]) == (429, stream_limits.TOO_MANY)
    assert len(app.services.realtime.clients) == 2


async def test_a_caller_has_so_many_streams_and_a_stream_so_many_topics(app_with: AppWith) -> None:
    app = await start(app_with, per_caller=1, topics=2, guests=False)
    await app.as_user()
    caller = await caller_of(app.server, "users", "user@example.com")
    first, second = await opened(app), await opened(app)
    await first.subscribe("posts/*", caller=caller)
    await first.subscribe("posts", "posts/*", caller=caller)
    with pytest.raises(Invalid, match="at most 2 topics"):
        await first.subscribe("a", "b", "c", caller=caller)
    with pytest.raises(TooManyRequests):
        await second.subscribe("posts/*", caller=caller)
    with pytest.raises(Forbidden):
        await second.subscribe("posts/*")
    await second.subscribe()
    app.services.realtime.clients.close(first.client)
    await second.subscribe("posts/*", caller=caller)


async def test_fields_are_left_out_of_messages_and_of_nothing_else(app_with: AppWith) -> None:
    app = await start(app_with, leave_out={"posts": ["body"]})
    stream = await opened(app)
    await stream.subscribe("posts/*")
    made = (await app.send("POST", "posts", json={"text": "a", "body": "long"})).json()
    record = (await stream.next()).data["record"]
    assert made["body"] == "long"
    assert record == {name: value for name, value in made.items() if name != "body"}


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        stream_limits.Config(topics=-1)
