"""What the console keeps for each superuser, and for all of them."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000015"
VERSION = "1.38.0"
DESCRIPTION = __doc__

STATEMENT = """
CREATE TABLE "_console_preferences" (
    "owner" text COLLATE "C" NOT NULL,
    "name" text COLLATE "C" NOT NULL,
    "value" text NOT NULL,
    "updated" timestamptz(3) NOT NULL,
    PRIMARY KEY ("owner", "name")
)
"""


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="groundplane", description=DESCRIPTION)

    async def run() -> None:
        await engine_finder().run_ddl(STATEMENT)  # type: ignore[union-attr]  # migrate.py has set one

    manager.add_raw(run)
    return manager
