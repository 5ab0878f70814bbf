"""A plugin's own tables: SQL steps, applied in order and once, in a PostgreSQL schema of its own."""

from __future__ import annotations

from collections.abc import Mapping

from groundplane.db.engine import Database
from groundplane.db.sql import ident
from groundplane.hooks.checks import BadPlugin

# The migrations' of the system are another one: a plugin's must not wait for a request to end.
LOCK = 0x6770706C7567  # "gpplug"
MADE = (
    'CREATE TABLE IF NOT EXISTS "_plugin_migrations" ('
    '"plugin" text COLLATE "C" NOT NULL, "id" text COLLATE "C" NOT NULL, '
    '"applied" timestamptz(3) NOT NULL DEFAULT now(), PRIMARY KEY ("plugin", "id"))'
)


def schema_name(plugin: str) -> str:
    """The PostgreSQL schema with a plugin's tables: `x_hello` for `hello`."""
    return f"x_{plugin}"


async def migrate(database: Database, plugin: str, steps: Mapping[str, str]) -> list[str]:
    """Apply the steps that are missing, all or nothing; returns their names. Raises BadPlugin.

    `steps` maps names, which sort in their order, to SQL. Names without a schema are the plugin's own there.
    """
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(MADE)
        rows = await connection.fetch('SELECT "id" FROM "_plugin_migrations" WHERE "plugin" = $1', plugin)
        applied = {row["id"] for row in rows}
        if unknown := applied - steps.keys():
            raise BadPlugin(
                f"its tables were changed by a newer version of it ({max(unknown)}): install that one"
            )
        missing = sorted(steps.keys() - applied)
        if missing and applied and missing[0] < max(applied):
            raise BadPlugin(
                f"its step {missing[0]} would come before {max(applied)}, which was applied already"
            )
        if missing:
            schema = ident(schema_name(plugin))
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            await connection.execute(f"SET LOCAL search_path = {schema}, public")
        for step in missing:
            await connection.execute(steps[step])
            await connection.execute(
                'INSERT INTO public."_plugin_migrations" ("plugin", "id") VALUES ($1, $2)', plugin, step
            )
        if missing:
            await connection.execute("SET LOCAL search_path TO DEFAULT")
        return missing
