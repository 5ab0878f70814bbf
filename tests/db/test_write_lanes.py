"""Lanes that write: each row is written once or not at all, and who sent it hears which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from groundplane.db import write_lanes
from groundplane.db.engine import Database
from groundplane.db.lanes import Departed
from groundplane.db.write_lanes import WriteLane, WriteShape
from groundplane.errors import Unavailable

INSERT = (
    "INSERT INTO things SELECT a, b FROM unnest($1::text[], $2::text[]) g(a, b)"
    " ON CONFLICT DO NOTHING RETURNING id, statement_timestamp()"
)
# One that PostgreSQL refuses for an empty owner.
PICKY = (
    "INSERT INTO things SELECT a, b FROM unnest($1::text[], $2::text[]) g(a, b) WHERE 1 / length(b) >= 0"
    " ON CONFLICT DO NOTHING RETURNING id"
)
ADD = (
    "UPDATE things t SET n = t.n + g.b FROM unnest($1::text[], $2::integer[]) g(a, b) WHERE t.id = g.a"
    " RETURNING t.id, t.n"
)
SLOW = "SELECT id FROM unnest($1::text[]) AS id, pg_sleep(0.4)"


@pytest.fixture
async def table(db: Database) -> Database:
    await db.execute("CREATE TABLE things (id text PRIMARY KEY, owner text NOT NULL, n integer DEFAULT 0)")
    await db.execute("INSERT INTO things SELECT 'id' || n, 'owner' FROM generate_series(1, 20) n")
    return db


@pytest.fixture
async def small(table: Database, database_url: str) -> AsyncIterator[WriteLane]:
    """A lane of one connection that stops statements after a fifth of a second."""

    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(database_url, server_settings={"statement_timeout": "200"})

    lane = WriteLane(connect, size=1)
    yield lane
    await lane.close()


async def count(db: Database, condition: str = "true") -> int:
    found: int = await db.fetchval(f"SELECT count(*) FROM things WHERE {condition}")
    return found


async def test_rows_share_a_statement_and_tell_who_was_not_written(table: Database) -> None:
    shape = WriteShape(INSERT)
    ids = ["new1", "id5", "new2", "new3"]
    rows = await asyncio.gather(*(table.writes.row(shape, (id, f"by {id}")) for id in ids))
    assert [row and row[0] for row in rows] == ["new1", None, "new2", "new3"]
    assert len({row[1] for row in rows if row}) == 1
    assert await table.fetchval("SELECT owner FROM things WHERE id = 'new2'") == "by new2"
    assert await table.fetchval("SELECT owner FROM things WHERE id = 'id5'") == "owner"


async def test_what_comes_during_a_statement_goes_together_in_the_next(small: WriteLane) -> None:
    shape = WriteShape(INSERT)
    first = asyncio.create_task(small.row(shape, ("new0", "x")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rows = await asyncio.gather(first, *(small.row(shape, (f"new{number}", "x")) for number in range(1, 50)))
    assert [row and row[0] for row in rows] == [f"new{number}" for number in range(50)]
    assert len({row[1] for row in rows[1:] if row}) == 1


async def test_a_bad_row_is_refused_alone(small: WriteLane, table: Database) -> None:
    shape = WriteShape(PICKY)
    owners = ["" if number == 7 else "x" for number in range(40)]
    rows = await asyncio.gather(
        *(small.row(shape, (f"new{number}", owner)) for number, owner in enumerate(owners))
    )
    assert [number for number, row in enumerate(rows) if row is None] == [7]
    assert await count(table, "id LIKE 'new%'") == 39


async def test_two_writes_to_one_row_both_count(small: WriteLane, table: Database) -> None:
    shape = WriteShape(ADD)
    rows = await asyncio.gather(*(small.row(shape, (f"id{number % 3 + 1}", 1)) for number in range(30)))
    assert sorted(row[1] for row in rows if row) == sorted([*range(1, 11)] * 3)
    assert await table.fetchval("SELECT sum(n) FROM things") == 30


async def test_two_new_rows_with_one_id_are_one_row(small: WriteLane, table: Database) -> None:
    shape = WriteShape(INSERT)
    rows = await asyncio.gather(small.row(shape, ("new", "first")), small.row(shape, ("new", "second")))
    assert [row is None for row in rows] == [False, True]
    assert await table.fetchval("SELECT owner FROM things WHERE id = 'new'") == "first"


async def test_a_statement_that_takes_too_long_has_written_nothing(small: WriteLane) -> None:
    slow = WriteShape(SLOW)
    assert await small.row(slow, ("a",)) is None
    assert slow.slow_until > 0
    # From now on it does not even try, and does not hold up the others.
    waiting = asyncio.create_task(small.row(slow, ("b",)))
    assert await small.row(WriteShape(INSERT), ("new", "x")) is not None
    assert await waiting is None


async def test_a_lost_connection_leaves_unknown_what_was_written(small: WriteLane, table: Database) -> None:
    killing = WriteShape("SELECT id FROM unnest($1::text[]) AS id, pg_terminate_backend(pg_backend_pid())")
    outcomes = await asyncio.gather(
        *(small.row(killing, (str(number),)) for number in range(5)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [Unavailable] * 5
    assert await small.row(WriteShape(INSERT), ("new", "x")) is not None


async def test_without_a_connection_nothing_is_written(table: Database) -> None:
    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        raise Unavailable()

    lane = WriteLane(connect, size=1)
    assert await lane.row(WriteShape(INSERT), ("new", "x")) is None
    await lane.close()
    assert await count(table, "id = 'new'") == 0


async def test_a_request_whose_client_has_gone_is_not_written(small: WriteLane, table: Database) -> None:
    shape = WriteShape(INSERT)
    asked = [asyncio.create_task(small.row(shape, (f"new{number}", "x"))) for number in range(3)]
    await asyncio.sleep(0)
    asked[1].cancel()
    rows = await asyncio.gather(*asked, return_exceptions=True)
    assert [row[0] for row in rows if isinstance(row, asyncpg.Record)] == ["new0", "new2"]
    assert await count(table, "id = 'new1'") == 0


async def test_what_is_taken_back_is_not_written_and_what_was_sent_is(
    small: WriteLane, table: Database
) -> None:
    add, insert = WriteShape(ADD), WriteShape(INSERT)
    gone, stays = small.ask(add, ("id1", 1)), small.ask(add, ("id1", 10))
    behind, new = small.ask(add, ("id1", 100)), small.ask(insert, ("new1", "x"))
    small.withdraw(add, ("id1", 100), behind)  # it waits behind another write to its row
    small.withdraw(add, ("id1", 1), gone)  # who waits behind this one moves up
    small.withdraw(insert, ("new1", "x"), new)
    assert small.waiting == 1
    await asyncio.sleep(0)  # now it is sent
    small.withdraw(add, ("id1", 10), stays)
    outcomes = await asyncio.gather(gone, stays, behind, new, return_exceptions=True)
    assert [type(each) for each in outcomes] == [Departed, asyncpg.Record, Departed, Departed]
    assert await count(table, "id = 'id1' AND n = 10") == 1
    assert await count(table, "id = 'new1'") == 0
    assert small.waiting == 0


async def test_one_shape_does_not_starve_another(small: WriteLane) -> None:
    many, other = WriteShape(INSERT, together=5), WriteShape(PICKY)
    done: list[str] = []

    async def write(shape: WriteShape, id: str) -> None:
        await small.row(shape, (id, "x"))
        done.append(id)

    await asyncio.gather(*(write(many, f"new{number}") for number in range(100)), write(other, "other"))
    assert done.index("other") <= 10


async def test_the_queue_has_an_end(small: WriteLane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_lanes, "MAX_WAITING", 3)
    shape = WriteShape(INSERT)
    rows = await asyncio.gather(
        *(small.row(shape, (f"new{number}", "x")) for number in range(5)), return_exceptions=True
    )
    assert [type(row) for row in rows] == [asyncpg.Record] * 3 + [Unavailable] * 2
    assert (await small.row(shape, ("later", "x"))) is not None


async def test_who_waits_when_a_lane_is_closed_is_told(small: WriteLane) -> None:
    shape = WriteShape(INSERT)
    asked = [asyncio.create_task(small.row(shape, ("new", str(number)))) for number in range(3)]
    await asyncio.sleep(0)
    await small.close()
    rows = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(row, Unavailable) for row in rows)
    with pytest.raises(Unavailable):
        await small.row(shape, ("late", "x"))


WHY = "SELECT t.id, t.owner FROM unnest($1::text[], $2::text[]) g(a, b) JOIN things t ON t.id = g.a"


async def test_who_was_not_written_is_told_why(table: Database) -> None:
    shape = WriteShape(INSERT, why=WHY)
    rows = await asyncio.gather(*(table.writes.row(shape, (id, "me")) for id in ("new1", "id5", "new2")))
    assert [row and row[0] for row in rows] == ["new1", "id5", "new2"]
    assert [row and row[1] == "owner" for row in rows] == [False, True, False]


@pytest.mark.parametrize(
    ("why", "asked_again"),
    [("SELECT 1 / 0, $1::text[], $2::text[]", True), ("SELECT pg_sleep(1), $1::text[], $2::text[]", False)],
)
async def test_a_question_why_that_fails_leaves_everything_as_it_is(
    small: WriteLane, table: Database, why: str, asked_again: bool
) -> None:
    shape = WriteShape(INSERT, why=why)
    rows = await asyncio.gather(*(small.row(shape, (id, "me")) for id in ("new1", "id5")))
    assert [row and row[0] for row in rows] == ["new1", None]
    assert bool(shape.why) == asked_again
    assert await small.row(shape, ("new2", "me")) is not None
    assert await count(table, "owner = 'me'") == 2
