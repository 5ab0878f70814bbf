"""Webhooks: where changes are sent to, how that goes, and every delivery with its attempts."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000004"
VERSION = "1.38.0"
DESCRIPTION = __doc__

STATEMENTS = """
CREATE TABLE "_webhooks" (
    "id" text COLLATE "C" PRIMARY KEY,
    "name" text COLLATE "C" NOT NULL,
    "url" text NOT NULL,
    "collections" text[] COLLATE "C" NOT NULL,
    "actions" text[] COLLATE "C" NOT NULL,
    "condition" text NOT NULL,
    "fields" text[] COLLATE "C" NOT NULL,
    "headers" json NOT NULL,
    "secrets" json NOT NULL,
    "retries" double precision[] NOT NULL,
    "timeout_s" double precision NOT NULL,
    "concurrency" integer NOT NULL,
    "enabled" boolean NOT NULL,
    "suspended" text NOT NULL DEFAULT '',
    "created" timestamptz(3) NOT NULL,
    "updated" timestamptz(3) NOT NULL
);
CREATE UNIQUE INDEX "_webhooks_name" ON "_webhooks" (lower("name"));

CREATE TABLE "_webhook_health" (
    "webhook" text COLLATE "C" PRIMARY KEY,
    "failures" integer NOT NULL DEFAULT 0,
    "failing_since" timestamptz(3),
    "open_until" timestamptz(3),
    "last_success" timestamptz(3),
    "last_failure" timestamptz(3),
    "error" text NOT NULL DEFAULT '',
    "problem" text NOT NULL DEFAULT ''
) WITH (fillfactor = 50);

CREATE TABLE "_webhook_deliveries" (
    "id" text COLLATE "C" PRIMARY KEY,
    "seq" bigint GENERATED ALWAYS AS IDENTITY,
    "webhook" text COLLATE "C" NOT NULL,
    "event" text COLLATE "C" NOT NULL,
    "type" text COLLATE "C" NOT NULL,
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "body" text NOT NULL,
    "state" text COLLATE "C" NOT NULL CHECK ("state" IN ('waiting', 'delivered', 'failed')),
    "job" text COLLATE "C" NOT NULL,
    "attempts" integer NOT NULL DEFAULT 0,
    "tries" integer NOT NULL DEFAULT 0,
    "status" integer,
    "error" text NOT NULL DEFAULT '',
    "queued" timestamptz(3) NOT NULL,
    "next_attempt" timestamptz(3),
    "created" timestamptz(3) NOT NULL,
    "finished" timestamptz(3)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX "_webhook_deliveries_seq" ON "_webhook_deliveries" ("webhook", "seq");
CREATE INDEX "_webhook_deliveries_waiting" ON "_webhook_deliveries" ("webhook", "seq") WHERE "state" = 'waiting';
CREATE INDEX "_webhook_deliveries_failed" ON "_webhook_deliveries" ("webhook", "seq") WHERE "state" = 'failed';
CREATE INDEX "_webhook_deliveries_finished" ON "_webhook_deliveries" ("finished") WHERE "finished" IS NOT NULL;

CREATE TABLE "_webhook_attempts" (
    "delivery" text COLLATE "C" NOT NULL,
    "number" integer NOT NULL,
    "started" timestamptz(3) NOT NULL,
    "duration_ms" integer NOT NULL,
    "url" text NOT NULL,
    "request_headers" json NOT NULL,
    "status" integer,
    "answer_headers" json NOT NULL,
    "answer" text NOT NULL,
    "error" text NOT NULL,
    PRIMARY KEY ("delivery", "number")
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
