"""A plugin's own tables: Piccolo migrations or SQL steps, applied in order and once, in a schema of its own."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, TypeAlias

from groundplane.db import piccolo_conf
from groundplane.db.engine import Connection, Database
from groundplane.db.sql import ident
from groundplane.hooks.checks import BadPlugin

Step: TypeAlias = Callable[[Connection], Awaitable[None]]

# The migrations' of the system are another one: a plugin's must not wait for a request to end.
LOCK = 0x6770706C7567  # "gpplug"
MADE = (
    'CREATE TABLE IF NOT EXISTS "_plugin_migrations" ('
    '"plugin" text COLLATE "C" NOT NULL, "id" text COLLATE "C" NOT NULL, '
    '"applied" timestamptz(3) NOT NULL DEFAULT now(), PRIMARY KEY ("plugin", "id"))'
)
PICCOLO = "piccolo_migrations"  # the package of a plugin with its migrations
APP = "piccolo_app"  # its module that tells Piccolo of the tables


def schema_name(plugin: str) -> str:
    """The PostgreSQL schema with a plugin's tables: `x_hello` for `hello`."""
    return f"x_{plugin}"


def steps(module: ModuleType) -> dict[str, Step]:
    """What makes a plugin's tables, by names that sort in their order; raises BadPlugin.

    That are the modules of its package `piccolo_migrations`, or SQL in its dictionary `MIGRATIONS`.
    """
    given = getattr(module, "MIGRATIONS", {})
    if not isinstance(given, dict) or not all(
        isinstance(name, str) and isinstance(sql, str) for name, sql in given.items()
    ):
        raise BadPlugin("MIGRATIONS must be a dictionary of names and SQL")
    package = piccolo_package(module)
    if package is None:
        return {name: partial(run_sql, sql) for name, sql in given.items()}
    if given:
        raise BadPlugin(f"it has MIGRATIONS and {PICCOLO}: keep the one that was released first")
    names = [each.name for each in iter_modules(import_module(package).__path__) if not each.ispkg]
    return {name: partial(run_piccolo, f"{package}.{name}") for name in sorted(names)}


def piccolo_package(module: ModuleType) -> str | None:
    """The name of the package with the plugin's Piccolo migrations; None when it has none."""
    if not hasattr(module, "__path__"):
        return None
    name = f"{module.__name__}.{PICCOLO}"
    return name if find_spec(name) is not None else None


async def run_sql(sql: str, connection: Connection) -> None:
    await connection.execute(sql)


async def run_piccolo(name: str, _: Connection) -> None:
    """Run one migration forwards; Piccolo finds the open transaction by itself."""
    manager = await import_module(name).forwards()
    # It tells of its progress on standard output, which belongs to the command or the supervisor.
    with redirect_stdout(io.StringIO()):
        await manager.run()


async def migrate(database: Database, plugin: str, module: ModuleType) -> list[str]:
    """Apply the steps that are missing, all or nothing; returns their names. Raises BadPlugin.

    Names without a schema are the plugin's own there.
    """
    known = steps(module)
    if not known:
        return []
    app = import_module(f"{module.__name__}.{APP}") if has_app(module) else None
    tokens = (piccolo_conf.ENGINE.set(database.engine), piccolo_conf.APPS.set((app.__name__,) if app else ()))
    try:
        async with database.transaction() as connection:
            missing = await apply(connection, plugin, known)
    finally:
        piccolo_conf.ENGINE.reset(tokens[0])
        piccolo_conf.APPS.reset(tokens[1])
    if app is not None:
        # So that the plugin's tables can be asked anywhere; Piccolo's own way knows one database per process.
        for table in app.APP_CONFIG.table_classes:
            table._meta._db = database.engine
    return missing


def has_app(module: ModuleType) -> bool:
    return hasattr(module, "__path__") and find_spec(f"{module.__name__}.{APP}") is not None


async def apply(connection: Connection, plugin: str, known: Mapping[str, Step]) -> list[str]:
    await connection.execute("SET LOCAL statement_timeout = 0")
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    await connection.execute(MADE)
    rows: list[Any] = await connection.fetch(
        'SELECT "id" FROM "_plugin_migrations" WHERE "plugin" = $1', plugin
    )
    applied = {row["id"] for row in rows}
    if unknown := applied - known.keys():
        raise BadPlugin(
            f"its tables were changed by a newer version of it ({max(unknown)}): install that one"
        )
    missing = sorted(known.keys() - applied)
    if missing and applied and missing[0] < max(applied):
        raise BadPlugin(f"its step {missing[0]} would come before {max(applied)}, which was applied already")
    if missing:
        schema = ident(schema_name(plugin))
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await connection.execute(f"SET LOCAL search_path = {schema}, public")
    for step in missing:
        await known[step](connection)
        await connection.execute(
            'INSERT INTO public."_plugin_migrations" ("plugin", "id") VALUES ($1, $2)', plugin, step
        )
    if missing:
        await connection.execute("SET LOCAL search_path TO DEFAULT")
    return missing
