"""The log, partitioned by day, and the questions that were asked about collections."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000005"
VERSION = "1.38.0"
DESCRIPTION = __doc__

# A day of the log is a partition, so forgetting it is a DROP instead of a long DELETE. `logs/writer.py` makes
# the days. Numbers grow with time, so their index stays in memory and serves the order by time as well.
STATEMENTS = """
CREATE TABLE "_logs" (
    "id" bigint NOT NULL,
    "created" timestamptz(3) NOT NULL,
    "level" smallint NOT NULL,
    "message" text COLLATE "C" NOT NULL,
    "data" text COLLATE "C" NOT NULL
) PARTITION BY RANGE ("created");
CREATE INDEX "_logs_id" ON "_logs" ("id");
CREATE INDEX "_logs_created" ON "_logs" USING brin ("created") WITH (pages_per_range = 32, autosummarize = on);

CREATE TABLE "_query_shapes" (
    "collection" text COLLATE "C" NOT NULL,
    "filter" text COLLATE "C" NOT NULL,
    "sort" text COLLATE "C" NOT NULL,
    "counted" boolean NOT NULL,
    "used" bigint NOT NULL,
    "last_used" timestamptz(3) NOT NULL,
    PRIMARY KEY ("collection", "filter", "sort", "counted")
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
