"""The connection to PostgreSQL: statements, transactions and what follows a commit."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from groundplane.db.engine import Database
from groundplane.db.failures import (
    BadValue,
    Busy,
    ConstraintViolation,
    SchemaChanged,
    StatementRefused,
    StatementTimeout,
    UniqueViolation,
)
from groundplane.db.unusable import DatabaseUnusable
from groundplane.errors import Unavailable


@pytest.fixture
async def things(db: Database) -> Database:
    await db.execute("CREATE TABLE things (id text CONSTRAINT things_id PRIMARY KEY, n int CHECK (n < 10))")
    return db


async def names(db: Database) -> list[str]:
    return [row["id"] for row in await db.fetch("SELECT id FROM things ORDER BY id")]


async def test_values_come_back_as_they_went_in(db: Database) -> None:
    assert await db.fetchval("SELECT $1::text", "ü") == "ü"
    row = await db.fetchrow("SELECT 1 AS one, 2 AS two")
    assert row is not None
    assert dict(row) == {"one": 1, "two": 2}
    assert await db.fetchrow("SELECT 1 WHERE false") is None


async def add_and_fail(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute("INSERT INTO things VALUES ('a')")
        raise ZeroDivisionError


async def test_a_transaction_that_fails_leaves_nothing(things: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await add_and_fail(things)
    assert await names(things) == []
    assert not things.in_transaction


async def test_an_inner_transaction_shares_the_outcome_of_the_outer_one(things: Database) -> None:
    async def change() -> None:
        async with things.transaction() as outer:
            async with things.transaction() as inner:
                assert inner is outer
                assert things.in_transaction
            await add_and_fail(things)

    with pytest.raises(ZeroDivisionError):
        await change()
    assert await names(things) == []


async def test_piccolo_joins_the_open_transaction(things: Database) -> None:
    async def change() -> None:
        async with things.transaction():
            await things.engine.run_ddl("INSERT INTO things VALUES ('a')")
            assert await names(things) == ["a"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change()
    assert await names(things) == []


async def test_another_task_does_not_join_the_transaction(things: Database) -> None:
    async with things.transaction():
        await things.execute("INSERT INTO things VALUES ('a')")
        assert await asyncio.create_task(names(things)) == []
    assert await names(things) == ["a"]


async def test_what_follows_a_commit_runs_after_it_and_outside_of_it(things: Database) -> None:
    seen: list[object] = []

    async def look() -> None:
        seen.append((things.in_transaction, await names(things)))

    async with things.transaction():
        await things.execute("INSERT INTO things VALUES ('a')")
        async with things.transaction():
            await things.after_commit(look)
        assert seen == []
    assert seen == [(False, ["a"])]


async def test_a_rolled_back_transaction_forgets_what_would_follow(things: Database) -> None:
    seen: list[int] = []

    async def note() -> None:
        seen.append(1)

    async def change() -> None:
        async with things.transaction():
            await things.after_commit(note)
            await add_and_fail(things)

    with pytest.raises(ZeroDivisionError):
        await change()
    assert seen == []
    await things.after_commit(note)
    assert seen == [1]


async def test_a_failure_after_the_commit_hides_neither_the_answer_nor_the_next_act(things: Database) -> None:
    seen: list[int] = []

    async def fail() -> None:
        raise ZeroDivisionError

    async def note() -> None:
        seen.append(1)

    async with things.transaction():
        await things.after_commit(fail)
        await things.after_commit(note)
    assert seen == [1]


async def test_a_request_cancelled_while_it_commits_still_tells_the_others(things: Database) -> None:
    seen: list[list[str]] = []

    async def look() -> None:
        asyncio.current_task()
        seen.append(await names(things))

    async def change() -> None:
        async with things.transaction():
            await things.execute("INSERT INTO things VALUES ('a')")
            await things.after_commit(look)
            asyncio.get_running_loop().call_soon(task.cancel)

    task = asyncio.create_task(change())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (seen, await names(things)) == ([["a"]], ["a"])


async def test_a_cancelled_transaction_gives_its_connection_back(database_url: str) -> None:
    db = await Database.connect(database_url, max_size=1)

    async def hang() -> None:
        async with db.transaction():
            started.set()
            await db.execute("SELECT pg_sleep(60)")

    for _ in range(3):
        started = asyncio.Event()
        task = asyncio.create_task(hang())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await db.fetchval("SELECT 1") == 1
    await db.close()


@pytest.mark.parametrize(
    ("statement", "args", "failure"),
    [
        ("INSERT INTO things VALUES ('a')", (), UniqueViolation),
        ("INSERT INTO things VALUES ('b', 11)", (), ConstraintViolation),
        ("INSERT INTO things VALUES ($1)", ("a\x00",), BadValue),
        ("INSERT INTO things VALUES ($1)", (1,), BadValue),
        ("SELECT 99999999999::int", (), BadValue),
        ("SELECT nothing FROM things", (), SchemaChanged),
        ("SELECT 1 FROM nowhere", (), SchemaChanged),
        ("SELECT no_such_function()", (), StatementRefused),
        ("SELECT 'a' +", (), StatementRefused),
    ],
)
async def test_a_failure_of_the_driver_becomes_ours(
    things: Database, statement: str, args: tuple[object, ...], failure: type[Exception]
) -> None:
    await things.execute("INSERT INTO things VALUES ('a')")
    with pytest.raises(failure):
        await things.execute(statement, *args)
    with pytest.raises(failure):
        async with things.transaction() as connection:
            await connection.execute(statement, *args)


async def test_a_unique_violation_names_its_index_and_table(things: Database) -> None:
    await things.execute("INSERT INTO things VALUES ('a')")
    with pytest.raises(UniqueViolation) as caught:
        await things.execute("INSERT INTO things VALUES ('a')")
    assert (caught.value.constraint, caught.value.table) == ("things_id", "things")


async def test_a_statement_over_the_limit_is_stopped(database_url: str) -> None:
    db = await Database.connect(database_url, statement_timeout_s=0.05)
    with pytest.raises(StatementTimeout):
        await db.execute("SELECT pg_sleep(10)")
    await db.close()


async def test_a_deadlock_asks_to_try_again(things: Database) -> None:
    await things.execute("INSERT INTO things VALUES ('a'), ('b')")
    await things.execute(
        f"ALTER DATABASE {await things.fetchval('SELECT current_database()')} SET deadlock_timeout = '10ms'"
    )
    barrier = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> str:
        try:
            async with things.transaction() as connection:
                await connection.execute("SELECT 1 FROM things WHERE id = $1 FOR UPDATE", first)
                await barrier.wait()
                await connection.execute("SELECT 1 FROM things WHERE id = $1 FOR UPDATE", second)
        except Busy:
            return "busy"
        return "done"

    assert sorted(await asyncio.gather(lock("a", "b"), lock("b", "a"))) == ["busy", "done"]


async def test_a_lost_connection_is_unavailable_once_and_then_replaced(things: Database) -> None:
    async def cut_off() -> None:
        async with things.transaction() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await asyncio.create_task(things.execute("SELECT pg_terminate_backend($1)", pid))
            await connection.execute("SELECT 1")

    with pytest.raises(Unavailable):
        await cut_off()
    assert await things.fetchval("SELECT 1") == 1


async def test_a_body_keeps_its_own_errors(things: Database) -> None:
    with pytest.raises(FileNotFoundError):
        async with things.transaction():
            raise FileNotFoundError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), things.transaction():
            await things.execute("SELECT pg_sleep(10)")


async def test_a_closed_database_is_unavailable(database_url: str) -> None:
    db = await Database.connect(database_url)
    await db.close()
    with pytest.raises(Unavailable):
        await db.fetch("SELECT 1")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgresql://a:hidden@127.0.0.1:1/x", "127.0.0.1:1/x cannot be reached"),
        ("postgresql://a:hidden@/x?host=/nowhere", "/nowhere/x cannot be reached"),
        ("mysql://a:hidden@h/x", "is not a PostgreSQL address"),
    ],
)
async def test_an_unreachable_database_is_one_sentence_without_the_password(url: str, advice: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        await Database.connect(url)
    assert advice in str(caught.value)
    assert "hidden" not in str(caught.value)


async def test_a_wrong_password_and_a_missing_database_say_so(database_url: str) -> None:
    parts = asyncpg.connect_utils.urllib.parse.urlsplit(database_url)
    with pytest.raises(DatabaseUnusable, match="refused the user or password"):
        await Database.connect(database_url.replace(parts.password, "wrong"))
    with pytest.raises(DatabaseUnusable, match="does not exist"):
        await Database.connect(database_url.replace(parts.path, "/no_such_database"))
