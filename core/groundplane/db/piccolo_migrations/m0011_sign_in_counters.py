"""Sign-in: how often something was tried or mailed lately, for all processes together."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000011"
VERSION = "1.38.0"
DESCRIPTION = __doc__

STATEMENTS = """
CREATE TABLE "_sign_in_counters" (
    "key" text COLLATE "C" PRIMARY KEY,
    "times" integer NOT NULL,
    "expires" timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX "_sign_in_counters_expires" ON "_sign_in_counters" ("expires");
"""


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="groundplane", description=DESCRIPTION)

    async def run() -> None:
        engine = engine_finder()
        for statement in filter(None, map(str.strip, STATEMENTS.split(";"))):
            await engine.run_ddl(statement)  # type: ignore[union-attr]  # migrate.py has set one

    manager.add_raw(run)
    return manager
