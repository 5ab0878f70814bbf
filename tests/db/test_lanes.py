"""Lanes: every request gets its own answer, whatever happens to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from groundplane.db import lanes
from groundplane.db.engine import Database
from groundplane.db.failures import BadValue
from groundplane.db.lanes import DEPARTURE, Departed, Departure, Lane, Shape
from groundplane.errors import Unavailable


@pytest.fixture
async def table(db: Database) -> Database:
    await db.execute("CREATE TABLE things (id text PRIMARY KEY, owner text NOT NULL)")
    await db.execute("INSERT INTO things SELECT 'id' || n, 'owner' || n % 7 FROM generate_series(1, 500) n")
    return db


@pytest.fixture
async def small(db: Database, database_url: str) -> AsyncIterator[Lane]:
    """A lane of one connection that stops statements after a tenth of a second."""

    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(database_url, server_settings={"statement_timeout": "100"})

    async def alone(sql: str, values: tuple[Any, ...]) -> asyncpg.Record | None:
        return await db.fetchrow(sql, *values)

    lane = Lane(connect, alone, size=1)
    yield lane
    await lane.close()


async def test_a_lone_request_gets_its_row(table: Database) -> None:
    shape = Shape("SELECT owner FROM things WHERE id = $1", 1)
    row = await table.rows.row(shape, ("id8",))
    assert row is not None
    assert row[0] == "owner1"
    assert await table.rows.row(shape, ("nobody",)) is None


async def test_each_of_many_requests_gets_its_own_answer(table: Database) -> None:
    own = Shape("SELECT id, owner FROM things WHERE id = $1 AND owner = $2", 2)
    other = Shape("SELECT owner || $2, $1 FROM things WHERE id = $1 AND owner <> $3", 2, ("owner0",))

    async def ask(number: int) -> None:
        id, tag = f"id{number % 600}", f"owner{number % 5}"
        stored = f"owner{number % 600 % 7}" if 0 < number % 600 <= 500 else None
        if number % 3:
            row = await table.rows.row(own, (id, tag))
            assert (None if row is None else (row[0], row[1])) == ((id, tag) if stored == tag else None)
        else:
            row = await table.rows.row(other, (id, tag))
            expected = None if stored in (None, "owner0") else (f"{stored}{tag}", id)
            assert (None if row is None else (row[0], row[1])) == expected

    for start in range(0, 4000, 1000):
        await asyncio.gather(*(ask(number) for number in range(start, start + 1000)))


async def test_waiting_requests_of_one_shape_share_a_statement(small: Lane) -> None:
    shape = Shape("SELECT $1::text, statement_timestamp()", 1)
    rows = await asyncio.gather(*(small.row(shape, (str(number),)) for number in range(40)))
    assert [row[0] for row in rows if row is not None] == [str(number) for number in range(40)]
    assert len({row[1] for row in rows if row is not None}) == 1


async def test_a_failing_request_fails_alone(small: Lane) -> None:
    shape = Shape("SELECT 10 / $1::integer", 1)
    rows = await asyncio.gather(
        *(small.row(shape, (number,)) for number in (1, 2, 0, 5)), return_exceptions=True
    )
    assert [row[0] for row in rows if isinstance(row, asyncpg.Record)] == [10, 5, 2]
    assert isinstance(rows[2], BadValue)


async def test_a_value_of_the_wrong_type_fails_alone(small: Lane) -> None:
    shape = Shape("SELECT $1::integer", 1)
    good, bad = await asyncio.gather(
        small.row(shape, (7,)), small.row(shape, ("seven",)), return_exceptions=True
    )
    assert isinstance(good, asyncpg.Record)
    assert good[0] == 7
    assert isinstance(bad, BadValue)


async def test_placeholders_in_quotes_are_left_alone(small: Lane) -> None:
    shape = Shape("""SELECT '$1' || $1::text || $2::text AS "$2" """, 1, ("!",))
    rows = await asyncio.gather(small.row(shape, ("a",)), small.row(shape, ("b",)))
    assert [row["$2"] for row in rows if row is not None] == ["$1a!", "$1b!"]


async def test_a_slow_statement_is_finished_elsewhere(small: Lane) -> None:
    slow = Shape("SELECT $1::text FROM pg_sleep(0.3)", 1)
    row = await small.row(slow, ("done",))
    assert row is not None
    assert row[0] == "done"
    assert slow.slow_until > 0
    fast = Shape("SELECT $1::text", 1)
    again = asyncio.create_task(small.row(slow, ("done",)))
    row = await small.row(fast, ("fast",))
    assert row is not None
    assert row[0] == "fast"
    assert not again.done()
    await again


async def test_a_statement_survives_a_change_of_its_table(table: Database) -> None:
    shape = Shape("SELECT * FROM things WHERE id = $1", 1)
    await table.rows.row(shape, ("id1",))
    await asyncio.gather(*(table.rows.row(shape, (f"id{number}",)) for number in (1, 2, 3)))
    await table.execute("ALTER TABLE things ADD COLUMN added integer DEFAULT 5")
    rows = await asyncio.gather(*(table.rows.row(shape, (f"id{number}",)) for number in (1, 2, 3)))
    assert [row["added"] for row in rows if row is not None] == [5, 5, 5]


async def test_a_killed_backend_fails_its_requests_and_no_later_ones(db: Database, small: Lane) -> None:
    shape = Shape("SELECT pg_backend_pid()", 0)
    row = await small.row(shape, ())
    assert row is not None
    await db.fetchval("SELECT pg_terminate_backend($1, 5000)", row[0])
    again = await small.row(shape, ())
    assert again is not None
    assert again[0] != row[0]


async def test_without_a_connection_of_its_own_a_lane_asks_elsewhere(db: Database) -> None:
    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        raise Unavailable()

    async def alone(sql: str, values: tuple[Any, ...]) -> asyncpg.Record | None:
        return await db.fetchrow(sql, *values)

    lane = Lane(connect, alone, size=1)
    row = await lane.row(Shape("SELECT $1::text", 1), ("here",))
    assert row is not None
    assert row[0] == "here"
    await lane.close()


async def test_a_cancelled_request_leaves_the_others_alone(small: Lane) -> None:
    shape = Shape("SELECT $1::text", 1)
    asked = [asyncio.create_task(small.row(shape, (str(number),))) for number in range(3)]
    await asyncio.sleep(0)
    asked[1].cancel()
    rows = await asyncio.gather(*asked, return_exceptions=True)
    assert [row[0] for row in rows if isinstance(row, asyncpg.Record)] == ["0", "2"]


async def test_what_is_taken_back_is_not_asked_and_what_was_sent_goes_on(small: Lane) -> None:
    shape = Shape("SELECT $1::text FROM pg_sleep(0.02)", 1)
    asked = [(str(number), small.ask(shape, (str(number),))) for number in (0, 0, 1, 2)]
    small.withdraw(shape, ("0",), asked[1][1])
    small.withdraw(shape, ("1",), asked[2][1])
    assert small.waiting == 2
    await asyncio.sleep(0)  # now it is sent
    small.withdraw(shape, ("2",), asked[3][1])
    outcomes = await asyncio.gather(*(waiter for _, waiter in asked), return_exceptions=True)
    assert [type(each) for each in outcomes] == [asyncpg.Record, Departed, Departed, asyncpg.Record]
    small.withdraw(shape, ("3",), asked[0][1])
    assert small.waiting == 0


async def test_only_the_task_of_a_request_leaves_with_its_client(small: Lane) -> None:
    shape = Shape("SELECT $1::text", 1)
    departure = Departure()

    async def work() -> list[Any]:
        departure.task = asyncio.current_task()
        DEPARTURE.set(departure)
        other = asyncio.create_task(small.row(shape, ("other",)))
        own = small.row(shape, ("own",))
        return await asyncio.gather(own_of(own), other, return_exceptions=True)

    async def own_of(row: Any) -> Any:
        departure.task = asyncio.current_task()
        return await row

    working = asyncio.create_task(work())
    while departure.withdraw is None:  # noqa: ASYNC110  # only looking tells
        await asyncio.sleep(0)
    departure.leave()
    own, other = await working
    assert isinstance(own, Departed)
    assert other[0] == "other"
    departure.leave()  # nothing waits any more


async def test_what_comes_while_its_shape_is_asked_for_goes_together(db: Database, database_url: str) -> None:
    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(database_url)

    async def alone(sql: str, values: tuple[Any, ...]) -> asyncpg.Record | None:
        return await db.fetchrow(sql, *values)

    lane = Lane(connect, alone, size=2, patience_s=60)
    shape = Shape("SELECT $1 || pg_current_xact_id()::text, pg_sleep(0.05)", 1)
    first = lane.ask(shape, ("a",))
    await asyncio.sleep(0)
    late = [lane.ask(shape, (letter,)) for letter in "bcd"]
    await asyncio.sleep(0)
    assert lane.waiting == 3
    rows = await asyncio.gather(first, *late)
    assert len({row[0][1:] for row in rows[1:] if row is not None}) == 1
    await lane.close()
    lane = Lane(connect, alone, size=2, patience_s=0)
    slow = Shape("SELECT pg_advisory_lock_shared(88) FROM (SELECT $1::text) x", 1)
    async with db.transaction() as holding:
        await holding.execute("SELECT pg_advisory_xact_lock(88)")
        held = lane.ask(slow, ("a",))
        await asyncio.sleep(0)
        other = lane.ask(Shape("SELECT $1::text", 1), ("b",))
        row = await other
        assert row is not None
        assert not held.done()
    await held
    await lane.close()


async def test_the_queue_has_an_end(small: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_WAITING", 3)
    shape = Shape("SELECT $1::text", 1)
    rows = await asyncio.gather(
        *(small.row(shape, (str(number),)) for number in range(5)), return_exceptions=True
    )
    assert [type(row) for row in rows] == [asyncpg.Record] * 3 + [Unavailable] * 2
    assert (await small.row(shape, ("later",))) is not None


async def test_who_waits_when_a_lane_is_closed_is_told(small: Lane) -> None:
    shape = Shape("SELECT $1::text", 1)
    asked = [asyncio.create_task(small.row(shape, (str(number),))) for number in range(3)]
    await asyncio.sleep(0)
    await small.close()
    rows = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(row, Unavailable) for row in rows)
    with pytest.raises(Unavailable):
        await small.row(shape, ("late",))
