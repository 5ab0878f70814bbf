"""Jobs: finds what waits of some kinds without walking over what waits of others."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000007"
VERSION = "1.38.0"
DESCRIPTION = __doc__

STATEMENT = """
CREATE INDEX "_jobs_of_kind" ON "_jobs" ("kind", "priority" DESC, "run_at", "seq") WHERE "state" = 'waiting'
"""


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="groundplane", description=DESCRIPTION)

    async def run() -> None:
        engine = engine_finder()
        await engine.run_ddl(STATEMENT)  # type: ignore[union-attr]  # migrate.py has set one

    manager.add_raw(run)
    return manager
