"""Signing in with Apple: keeps the name that is told once, until the code it came with is exchanged."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000012"
VERSION = "1.38.0"
DESCRIPTION = __doc__

# Lost in a crash: the person signs in all the same, without a name.
STATEMENT = """
CREATE UNLOGGED TABLE "_oauth_names" (
    "code" text PRIMARY KEY,
    "name" text NOT NULL,
    "expires" timestamptz NOT NULL
)
"""


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="groundplane", description=DESCRIPTION)

    async def run() -> None:
        engine = engine_finder()
        await engine.run_ddl(STATEMENT)  # type: ignore[union-attr]  # migrate.py has set one

    manager.add_raw(run)
    return manager
