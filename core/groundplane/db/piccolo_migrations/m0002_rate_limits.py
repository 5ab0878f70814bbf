"""The counters of the rate limits, which all processes share."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000002"
VERSION = "1.38.0"
DESCRIPTION = __doc__

# Unlogged: losing the counters in a crash of the database gives everybody a fresh window, no more.
STATEMENT = """
CREATE UNLOGGED TABLE IF NOT EXISTS "_rate_limits" (
    "version" bigint NOT NULL,
    "bucket" text COLLATE "C" NOT NULL,
    "ip" text COLLATE "C" NOT NULL,
    "started" bigint NOT NULL,
    "used" integer NOT NULL,
    "max_requests" integer NOT NULL,
    "duration_s" integer NOT NULL,
    PRIMARY KEY ("version", "bucket", "ip")
)
"""


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="groundplane", description=DESCRIPTION)

    async def run() -> None:
        await engine_finder().run_ddl(STATEMENT)  # type: ignore[union-attr]  # migrate.py has set one

    manager.add_raw(run)
    return manager
