"""The broker on LISTEN and NOTIFY, and its bad days."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest

from groundplane.broker.broker import Broker
from groundplane.broker.postgres import PostgresBroker
from groundplane.db.engine import Database
from groundplane.errors import Unavailable
from groundplane.testing.broker import BrokerSuite, Inbox, MakeBroker

LIMIT_S = 10


@pytest.fixture
async def make_broker(database_url: str) -> AsyncIterator[MakeBroker]:
    made: list[tuple[PostgresBroker, Database]] = []

    async def make() -> Broker:
        database = await Database.connect(database_url)
        broker = PostgresBroker(database, database_url)
        made.append((broker, database))
        return broker

    yield make
    for broker, database in made:
        await broker.close()
        await database.close()


@pytest.fixture
async def cut(db: Database) -> Callable[[Broker], Awaitable[None]]:
    """Ends the listening connection of a broker, as a crash of its backend would."""

    async def end(broker: Broker) -> None:
        name = f"groundplane:{broker.process}"  # type: ignore[attr-defined]  # only of this broker
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", name
        )

    return end


class TestPostgresBroker(BrokerSuite):
    @pytest.fixture
    def take_away(self, postgres_url: str, database_url: str) -> Callable[[], Awaitable[None]]:
        async def end() -> None:
            name = urlsplit(database_url).path.removeprefix("/")
            admin = await asyncpg.connect(postgres_url)
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name
            )
            await admin.close()

        return end


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not fact():  # noqa: ASYNC110  # trust has no event to wait for
            await asyncio.sleep(0.005)


async def test_trust_returns_after_a_lost_connection_when_all_was_read_again(
    make_broker: MakeBroker, cut: Callable[[Broker], Awaitable[None]]
) -> None:
    broker = await make_broker()
    may_finish, tries = asyncio.Event(), 0

    async def catch_up() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable  # the database may go away once more
        await may_finish.wait()

    broker.on_reconnect(catch_up)
    await broker.start()
    assert tries == 0
    await cut(broker)
    await until(lambda: tries == 2)
    assert not broker.trusted
    may_finish.set()
    await until(lambda: broker.trusted)
    inbox = Inbox()
    broker.subscribe("news", inbox)
    await broker.publish_and_wait("news", b"again")
    assert inbox.messages == [b"again"]


async def test_a_process_that_dies_meanwhile_is_not_waited_for(
    make_broker: MakeBroker, cut: Callable[[Broker], Awaitable[None]]
) -> None:
    one, two = await make_broker(), await make_broker()
    asked = asyncio.Event()

    async def hang(payload: bytes) -> None:
        asked.set()
        await asyncio.Event().wait()

    two.subscribe("news", hang)
    await one.start()
    await two.start()
    waiting = asyncio.create_task(one.publish_and_wait("news", timeout_s=60))
    await asked.wait()
    assert not waiting.done()
    await two.close()
    async with asyncio.timeout(LIMIT_S):
        await waiting


async def test_a_handler_that_could_not_read_the_news_costs_trust_until_all_is_read(
    make_broker: MakeBroker,
) -> None:
    broker, read = await make_broker(), asyncio.Event()

    async def fail(payload: bytes) -> None:
        raise Unavailable

    async def catch_up() -> None:
        read.set()

    broker.subscribe("news", fail)
    broker.on_reconnect(catch_up)
    await broker.start()
    await broker.publish_and_wait("news")
    assert not broker.trusted
    await asyncio.wait_for(read.wait(), LIMIT_S)
    await until(lambda: broker.trusted)


async def test_a_message_of_a_transaction_leaves_with_its_commit(
    make_broker: MakeBroker, database_url: str
) -> None:
    database, inbox = await Database.connect(database_url), Inbox()
    broker = PostgresBroker(database, database_url)
    broker.subscribe("news", inbox)
    await broker.start()

    async def roll_back() -> None:
        async with database.transaction():
            await broker.publish("news", b"never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await roll_back()
    async with database.transaction():
        await broker.publish("news", b"committed")
        with pytest.raises(RuntimeError):
            await broker.publish_and_wait("news")
    assert await inbox.holds(1) == [b"committed"]
    await broker.close()
    await database.close()


async def test_databases_of_one_server_do_not_hear_each_other(
    make_broker: MakeBroker, empty_database_url: str
) -> None:
    elsewhere_db, inbox = await Database.connect(empty_database_url), Inbox()
    elsewhere, here = PostgresBroker(elsewhere_db, empty_database_url), await make_broker()
    elsewhere.subscribe("news", inbox)
    await elsewhere.start()
    await here.start()
    await here.publish_and_wait("news", b"not for you")
    await elsewhere.publish_and_wait("news", b"for you")
    assert inbox.messages == [b"for you"]
    await elsewhere.close()
    await elsewhere_db.close()


async def test_long_messages_are_not_kept_for_ever(make_broker: MakeBroker, db: Database) -> None:
    broker = await make_broker()
    await broker.start()
    await broker.publish_and_wait("news", b"x" * 10_000)
    await db.execute("UPDATE _messages SET created = created - interval '1 hour'")
    await broker.publish_and_wait("news", b"y" * 10_000)
    assert [row["n"] for row in await db.fetch("SELECT length(payload) AS n FROM _messages")] == [10_000]
