"""Files: which are still to be removed, and how many there are."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000010"
VERSION = "1.38.0"
DESCRIPTION = __doc__

STATEMENTS = """
CREATE TABLE "_file_removals" (
    "id" text COLLATE "C" PRIMARY KEY,
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "names" text[] COLLATE "C" NOT NULL,
    "is_upload" boolean NOT NULL,
    "due" timestamptz(3) NOT NULL,
    "attempts" integer NOT NULL DEFAULT 0,
    "error" text NOT NULL DEFAULT '',
    "created" timestamptz(3) NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX "_file_removals_due" ON "_file_removals" ("due");

CREATE TABLE "_file_usage" (
    "collection" text COLLATE "C" PRIMARY KEY,
    "files" bigint NOT NULL,
    "bytes" bigint NOT NULL,
    "thumbs" bigint NOT NULL,
    "thumb_bytes" bigint NOT NULL,
    "measured" timestamptz(3) NOT NULL,
    "took_s" double precision NOT NULL
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
