"""Takes a plugin out for good: what it leaves in the database, written to a file, and dropped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from groundplane.clock import now, wire_date
from groundplane.db.engine import Connection, Database
from groundplane.db.sql import ident
from groundplane.hooks.checks import BadPlugin
from groundplane.hooks.tables import LOCK, MADE, schema_name

AT_ONCE = 500  # rows
TABLES = """
SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname
"""
# What of others would go along with a plugin's tables.
ELSEWHERE = """
SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname <> $1 AND n.nspname NOT LIKE 'pg\\_%'
"""
JOBS = """
SELECT "id" FROM "_jobs"
 WHERE "state" IN ('waiting', 'held', 'running')
   AND (starts_with("kind", $1 || '.') OR starts_with("kind", 'cron:' || $1 || '.'))
"""


class Belongings(NamedTuple):
    """What a plugin has in the database: its tables with their numbers of rows, its steps, unfinished jobs."""

    tables: dict[str, int]
    steps: tuple[str, ...]
    jobs: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.tables or self.steps or self.jobs)


async def belongings(database: Database, plugin: str) -> Belongings:
    """Look for what a plugin has in the database, whether it is installed or not."""
    schema = schema_name(plugin)
    await database.execute(MADE)
    tables: dict[str, int] = {}
    for row in await database.fetch(TABLES, schema):
        table = f"{ident(schema)}.{ident(row['name'])}"
        tables[row["name"]] = int(await database.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608
    steps = await database.fetch(
        'SELECT "id" FROM "_plugin_migrations" WHERE "plugin" = $1 ORDER BY "id"', plugin
    )
    jobs = await database.fetch(JOBS, plugin)
    return Belongings(tables, tuple(row["id"] for row in steps), tuple(row["id"] for row in jobs))


async def drop(database: Database, plugin: str, export_to: Path | None = None) -> int:
    """Drop a plugin's tables, written to a file before if one is given; returns the number of rows in it.

    All or nothing. Raises BadPlugin when something else depends on the tables, and when the file is there.
    The file has one JSON object per line: first the plugin, then each row with the name of its table.
    """
    schema = schema_name(plugin)
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SET LOCAL lock_timeout = '15s'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        tables = [row["name"] for row in await connection.fetch(TABLES, schema)]
        for table in tables:
            # What a server that still runs writes from now on, it writes to nothing.
            await connection.execute(f"LOCK TABLE {ident(schema)}.{ident(table)} IN ACCESS EXCLUSIVE MODE")
        written = 0
        if export_to is not None:
            written = await export(connection, plugin, tables, export_to)
        before = {row["oid"] for row in await connection.fetch(ELSEWHERE, schema)}
        await connection.execute(f"DROP SCHEMA IF EXISTS {ident(schema)} CASCADE")
        after = {row["oid"] for row in await connection.fetch(ELSEWHERE, schema)}
        if before - after:
            raise BadPlugin(f"something else depends on tables of {schema}: remove that first")
        await connection.execute('DELETE FROM "_plugin_migrations" WHERE "plugin" = $1', plugin)
    return written


async def export(connection: Connection, plugin: str, tables: Iterable[str], file: Path) -> int:
    """Write the rows of a plugin's tables to a new file that only we may read; returns their number."""
    schema, written = schema_name(plugin), 0
    rows = await connection.fetch(
        'SELECT "id" FROM "_plugin_migrations" WHERE "plugin" = $1 ORDER BY "id"', plugin
    )
    head = {"plugin": plugin, "exported": wire_date(now()), "steps": [row["id"] for row in rows]}
    partial = file.with_name(f".{file.name}.partial")
    if file.exists():  # noqa: ASYNC240  # a command; nobody else waits
        raise BadPlugin(f"{file} is there already")
    try:
        handle = os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with open(handle, "wb") as out:  # noqa: ASYNC230
            out.write(msgspec.json.encode(head) + b"\n")
            for table in tables:
                name = msgspec.json.encode(table)
                source = f"{ident(schema)}.{ident(table)}"
                text = f"SELECT row_to_json(r)::text FROM {source} r"  # noqa: S608
                async for row in connection.cursor(text, prefetch=AT_ONCE):
                    # A JSON text of PostgreSQL has line ends only inside of strings, and there escaped.
                    out.write(b'{"table":%b,"row":%b}\n' % (name, row[0].encode()))
                    written += 1
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    except OSError as error:
        raise BadPlugin(f"{file} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return written
