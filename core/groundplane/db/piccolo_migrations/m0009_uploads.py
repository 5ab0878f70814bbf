"""Uploads that may be interrupted: how far each has come, and who writes to it just now."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000009"
VERSION = "1.38.0"
DESCRIPTION = __doc__

STATEMENTS = """
CREATE TABLE "_uploads" (
    "id" text COLLATE "C" PRIMARY KEY,
    "secret" bytea NOT NULL,
    "owner" text COLLATE "C" NOT NULL,
    "payer" text COLLATE "C" NOT NULL,
    "collection" text COLLATE "C" NOT NULL,
    "field" text COLLATE "C" NOT NULL,
    "filename" text NOT NULL,
    "filetype" text NOT NULL,
    "metadata" text NOT NULL,
    "length" bigint NOT NULL,
    "offset" bigint NOT NULL DEFAULT 0,
    "store" text NOT NULL,
    "segments" text[] COLLATE "C" NOT NULL DEFAULT '{}',
    "holder" text NOT NULL DEFAULT '',
    "held_until" timestamptz(3) NOT NULL DEFAULT '-infinity',
    "contested" timestamptz(3) NOT NULL DEFAULT '-infinity',
    "created" timestamptz(3) NOT NULL,
    "expires" timestamptz(3) NOT NULL,
    CHECK ("offset" BETWEEN 0 AND "length")
) WITH (fillfactor = 70);
CREATE INDEX "_uploads_payer" ON "_uploads" ("payer");
CREATE INDEX "_uploads_expires" ON "_uploads" ("expires");
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
