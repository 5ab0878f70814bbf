"""Realtime: the bounded log of changes, and which collections anybody listens to."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000006"
VERSION = "1.38.0"
DESCRIPTION = __doc__

STATEMENTS = """
CREATE TABLE "_events" (
    "seq" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "xid" xid8 NOT NULL DEFAULT pg_current_xact_id(),
    "at" timestamptz NOT NULL DEFAULT clock_timestamp(),
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "action" text COLLATE "C" NOT NULL,
    "verdict" text COLLATE "C" NOT NULL DEFAULT '',
    "row" json NOT NULL
);
CREATE INDEX "_events_xid" ON "_events" ("xid");

CREATE TABLE "_event_interest" (
    "collection" text COLLATE "C" PRIMARY KEY,
    "until" timestamptz NOT NULL,
    "deep" boolean NOT NULL
);
"""


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="groundplane", description=DESCRIPTION)

    async def run() -> None:
        engine = engine_finder()
        for statement in STATEMENTS.split(";\n"):
            if statement.strip():
                await engine.run_ddl(statement)  # type: ignore[union-attr]  # migrate.py has set one

    manager.add_raw(run)
    return manager
