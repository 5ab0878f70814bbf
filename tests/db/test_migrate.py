"""The system tables: made once, by whoever comes first, as the code declares them."""

from __future__ import annotations

import asyncio

import pytest

from groundplane.db import piccolo_conf
from groundplane.db.engine import Database
from groundplane.db.migrate import migrate, migrations
from groundplane.db.tables import TABLES
from groundplane.db.unusable import DatabaseUnusable

COLUMNS = """
SELECT c.relname AS "table", a.attname AS "column", format_type(a.atttypid, NULL) AS type, NOT a.attnotnull AS "null"
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
"""
NAMES = {"timestamptz": "timestamp with time zone"}


@pytest.fixture
async def empty(empty_database_url: str) -> Database:
    return await Database.connect(empty_database_url)


async def test_all_migrations_on_an_empty_database_make_what_the_tables_declare(empty: Database) -> None:
    await migrate(empty)
    made = {(row["table"], row["column"], row["type"], row["null"]) for row in await empty.fetch(COLUMNS)}
    declared = set()
    piccolo_conf.ENGINE.set(empty.engine)  # Piccolo's types depend on the database
    for table in TABLES:
        for column in table._meta.columns:
            name = column.column_type.lower()
            declared.add(
                (table._meta.tablename, column._meta.db_column_name, NAMES.get(name, name), column._meta.null)
            )
    assert made == declared
    await empty.close()


async def test_processes_that_start_together_migrate_once(empty: Database) -> None:
    await asyncio.gather(*(migrate(empty, "SELECT pg_sleep(0.01)") for _ in range(4)))
    applied = [row["id"] for row in await empty.fetch("SELECT id FROM _migrations ORDER BY id")]
    assert applied == migrations()
    await empty.close()


async def test_functions_are_installed_again_only_when_their_text_changed(empty: Database) -> None:
    text = "CREATE TABLE IF NOT EXISTS runs (n int); INSERT INTO runs VALUES ({})"
    for number in (1, 1, 2, 2):
        await migrate(empty, text.format(number))
    assert [row["n"] for row in await empty.fetch("SELECT n FROM runs")] == [1, 2]
    await empty.close()


async def test_a_failing_step_leaves_the_database_as_it_was(empty: Database) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011  # whichever; what counts is what is left
        await migrate(empty, "SELECT no_such_function()")
    assert await empty.fetch(COLUMNS) == []
    await empty.close()


async def test_a_database_of_a_newer_version_is_refused(empty: Database) -> None:
    await migrate(empty)
    await empty.execute("INSERT INTO _migrations (id) VALUES ('m9999_later')")
    with pytest.raises(DatabaseUnusable, match="newer version"):
        await migrate(empty)
    await empty.close()
