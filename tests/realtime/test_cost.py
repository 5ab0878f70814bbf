"""What an event costs the database does not depend on how many listen."""

from __future__ import annotations

import asyncpg
import pytest
from tests.realtime.streams import OpenStream, caller_of

from groundplane.testing.server import Server

PEOPLE = 5


async def statements_for_one_event(
    server: Server, posts: str, open_stream: OpenStream, monkeypatch: pytest.MonkeyPatch, count: int
) -> list[str]:
    """The statements of writing a post and telling `count` streams of several callers, topics and options."""
    topics = ["posts/*", 'posts/*?options={"query":{"filter":"text=\'a\'","fields":"text"}}']
    streams = []
    for number in range(count):
        caller = await caller_of(server, "users", f"u{number % PEOPLE}@example.com")
        streams.append(await open_stream(topics[number % 2], caller=caller))
    # Connections prepare what they have not had before; that is once for each, and not for each event.
    for _ in range(3):
        await server.client.post(posts, json={"text": "a"})
        for stream in streams:
            await stream.next()
    asked: list[str] = []

    def counting(name: str) -> None:
        inner = getattr(asyncpg.Connection, name)

        async def counted(self: asyncpg.Connection, query: str, *values: object, **more: object) -> object:
            asked.append(query)
            return await inner(self, query, *values, **more)

        monkeypatch.setattr(asyncpg.Connection, name, counted)

    for name in ("fetch", "fetchrow", "fetchval", "execute", "executemany"):
        counting(name)
    await server.client.post(posts, json={"text": "a"})
    for stream in streams:
        assert (await stream.next()).data["record"]["text"] == "a"
    monkeypatch.undo()
    for stream in streams:
        server.services.realtime.clients.close(stream.client)
    return [query for query in asked if '"_events"' in query and "INSERT" not in query]


async def test_fifty_subscribers_cost_as_many_statements_as_one(
    server: Server, posts: str, open_stream: OpenStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = "text != '' && (author = '' || author = @request.auth.id)"
    await server.services.collections.update("posts", {"listRule": rule})
    for number in range(PEOPLE):
        person = {
            "email": f"u{number}@example.com",
            "password": "1234567890",
            "passwordConfirm": "1234567890",
        }
        answer = await server.client.post("/api/collections/users/records", json=person)
        assert answer.status_code == 200
    # Two topics whose conditions differ: one statement reads what is new, one asks for each of both, one reads.
    few = await statements_for_one_event(server, posts, open_stream, monkeypatch, 2)
    many = await statements_for_one_event(server, posts, open_stream, monkeypatch, 50)
    assert len(few) == len(many) == 4, "\n".join([*few, "---", *many])
