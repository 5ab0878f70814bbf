"""Who was away gets what was missed, once, under today's rules, or hears that it is not all there."""

from __future__ import annotations

import asyncio

import pytest
from tests.realtime.streams import OpenStream, Stream

from groundplane.realtime.log import Position, read_cursor
from groundplane.testing.server import Server


async def replayed(stream: Stream) -> tuple[list[str], bool, str]:
    """The texts before the end of the replay, whether that was all of it, and the cursor there."""
    texts: list[str] = []
    while (message := await stream.next()).event != "@replay":
        if message.event == "posts/*":
            texts.append(message.data["record"]["text"])
    return texts, message.data["complete"], message.data["cursor"]


async def test_a_client_that_comes_back_gets_what_it_missed_and_goes_on(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    first = await open_stream("posts/*")
    await server.client.post(posts, json={"text": "seen"})
    cursor = (await first.next()).data["cursor"]
    server.services.realtime.clients.close(first.client)
    for text in ("a", "b"):
        await server.client.post(posts, json={"text": text})
    again = await open_stream("posts/*", since=cursor)
    await server.client.post(posts, json={"text": "new"})
    texts, complete, later = await replayed(again)
    assert (texts, complete) == (["a", "b"], True)
    assert [text for _, _, text in await again.heard()] == ["new"]
    third = await open_stream("posts/*", since=later)
    assert (await replayed(third))[:2] == (["new"], True)


async def test_the_cursor_of_the_connection_reaches_back_to_it(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    stream = Stream(server, await server.services.realtime.open("10.0.0.1", "10.0.0.1"))
    cursor = (await stream.next()).data["cursor"]
    await stream.subscribe("posts/*")
    server.services.realtime.clients.close(stream.client)
    await server.client.post(posts, json={"text": "a"})
    again = await open_stream("posts/*", since=cursor)
    assert (await replayed(again))[:2] == (["a"], True)


async def test_a_commit_that_was_late_is_not_lost_behind_one_that_was_quick(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    stream = await open_stream("posts/*")
    services = server.services
    collection = services.schema.current.find("posts")
    async with services.db.transaction():
        await services.records.create_internal(collection, {"text": "slow"})
        # Another connection: it commits first, with a higher number.
        await asyncio.create_task(server.client.post(posts, json={"text": "quick"}))
        quick = await stream.next()
        assert quick.data["record"]["text"] == "quick"
    assert (await stream.next()).data["record"]["text"] == "slow"
    again = await open_stream("posts/*", since=quick.data["cursor"])
    assert (await replayed(again))[:2] == (["slow"], True)


async def test_who_subscribes_hears_nothing_of_what_was_written_before(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await open_stream("posts/*")  # so that changes are read
    for number in range(10):
        await server.client.post(posts, json={"text": f"before {number}"})
        late = await open_stream("posts/*")
        assert await late.until_now() == []


async def test_a_replay_obeys_the_rules_of_today(server: Server, posts: str, open_stream: OpenStream) -> None:
    first = await open_stream("posts/*")
    await server.client.post(posts, json={"text": "first"})
    cursor = (await first.next()).data["cursor"]
    for text in ("open", "closed"):
        await server.client.post(posts, json={"text": text})
    await server.services.collections.update("posts", {"listRule": "text = 'open'"})
    again = await open_stream("posts/*", since=cursor)
    assert (await replayed(again))[:2] == (["open"], True)


@pytest.mark.parametrize(
    "cursor", ["x", "MToxOiAxOjE6IDE", "MToxOiAxOjE6IC0xIDA", "Mjo2OjUsMyAyOjY6IDEgMQ", "ÿ", "a" * 3000]
)
async def test_a_cursor_that_means_nothing_is_answered_as_a_gap(
    server: Server, posts: str, open_stream: OpenStream, cursor: str
) -> None:
    stream = await open_stream("posts/*", since=cursor)
    assert (await replayed(stream))[:2] == ([], False)


async def test_a_cursor_older_than_the_log_is_a_gap(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    stream = await open_stream("posts/*")
    await server.client.post(posts, json={"text": "a"})
    position = read_cursor((await stream.next()).data["cursor"])
    assert position is not None
    old = Position(position.before, position.upto, position.seq, position.at_ms - 601_000)
    again = await open_stream("posts/*", since=old.cursor())
    assert (await replayed(again))[1] is False
