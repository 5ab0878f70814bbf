"""Brings a database to this version: the system tables in order, each step once, then the SQL functions."""

from __future__ import annotations

import hashlib
import json
import os
from importlib import import_module
from importlib.resources import files
from typing import Any

from groundplane.db import piccolo_conf
from groundplane.db.engine import Database
from groundplane.db.unusable import DatabaseUnusable

MIGRATIONS = "groundplane.db.piccolo_migrations"
# Any number that nobody else uses in this database; every process takes the same lock before it migrates.
LOCK = 0x67706D6967  # "gpmig"

os.environ.setdefault("PICCOLO_CONF", piccolo_conf.__name__)


def migrations() -> list[str]:
    """Return the names of the steps in their order; a step is imported only when it has to be applied."""
    names = (entry.name for entry in files(MIGRATIONS).iterdir())
    return sorted(name[:-3] for name in names if name.startswith("m") and name.endswith(".py"))


async def migrate(database: Database, functions: str = "") -> None:
    """Apply what is missing, all of it or nothing; `functions` is SQL that may be run again and again.

    Processes that start together wait for each other. A database that a newer version has
    changed is refused with DatabaseUnusable.
    """
    token = piccolo_conf.ENGINE.set(database.engine)
    try:
        async with database.transaction() as connection:
            # The limit of ordinary statements is not for a step that rewrites a table, nor for waiting for it.
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            await connection.execute(
                'CREATE TABLE IF NOT EXISTS "_migrations" ('
                '"id" text COLLATE "C" PRIMARY KEY, "applied" timestamptz(3) NOT NULL DEFAULT now())'
            )
            applied = {row["id"] for row in await connection.fetch('SELECT "id" FROM "_migrations"')}
            known = migrations()
            if unknown := applied - set(known):
                raise DatabaseUnusable(
                    f"The database was changed by a newer version of groundplane ({max(unknown)}): "
                    "install that version, or restore a backup of before."
                )
            for step in known:
                if step not in applied:
                    manager = await import_module(f"{MIGRATIONS}.{step}").forwards()
                    for run in manager.raw:
                        await run()
                    await connection.execute('INSERT INTO "_migrations" ("id") VALUES ($1)', step)
            if functions:
                await install_functions(connection, functions)
    finally:
        piccolo_conf.ENGINE.reset(token)


async def install_functions(connection: Any, functions: str) -> None:
    """Run `functions` in schema `gp` unless exactly this text was run before."""
    checksum = json.dumps(hashlib.sha256(functions.encode()).hexdigest())
    before = await connection.fetchval('SELECT "value"::text FROM "_params" WHERE "id" = \'functions\'')
    if before == checksum:
        return
    await connection.execute('CREATE SCHEMA IF NOT EXISTS "gp"')
    await connection.execute(functions)
    await connection.execute(
        'INSERT INTO "_params" ("id", "value") VALUES (\'functions\', $1) '
        'ON CONFLICT ("id") DO UPDATE SET "value" = excluded."value", "updated" = now()',
        checksum,
    )
