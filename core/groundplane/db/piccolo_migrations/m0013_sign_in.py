"""Sign-in: sessions and what ended them, second factors, passkeys, mailed links, and service keys."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-22T00:00:00:000013"
VERSION = "1.38.0"
DESCRIPTION = __doc__

STATEMENTS = """
CREATE TABLE "_sessions" (
    "id" text COLLATE "C" PRIMARY KEY,
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "signed_by" text COLLATE "C" NOT NULL,
    "method" text COLLATE "C" NOT NULL,
    "ip" text NOT NULL,
    "agent" text NOT NULL,
    "created" timestamptz(3) NOT NULL,
    "used" timestamptz(3) NOT NULL,
    "expires" timestamptz(3) NOT NULL,
    "ended" timestamptz(3)
) WITH (fillfactor = 80);
CREATE INDEX "_sessions_of" ON "_sessions" ("collection", "record");
CREATE INDEX "_sessions_expires" ON "_sessions" ("expires");

CREATE TABLE "_session_tokens" (
    "mark" text COLLATE "C" PRIMARY KEY,
    "session" text COLLATE "C" NOT NULL,
    "expires" timestamptz(3) NOT NULL
);
CREATE INDEX "_session_tokens_of" ON "_session_tokens" ("session");
CREATE INDEX "_session_tokens_expires" ON "_session_tokens" ("expires");

CREATE TABLE "_refused_tokens" (
    "mark" text COLLATE "C" PRIMARY KEY,
    "until" double precision NOT NULL,
    "expires" timestamptz(3) NOT NULL
);
CREATE INDEX "_refused_tokens_expires" ON "_refused_tokens" ("expires");

CREATE TABLE "_totp" (
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "secret" text NOT NULL,
    "confirmed" timestamptz(3),
    "last_step" bigint NOT NULL DEFAULT 0,
    "created" timestamptz(3) NOT NULL,
    PRIMARY KEY ("collection", "record")
);

CREATE TABLE "_recovery_codes" (
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "hash" text COLLATE "C" NOT NULL,
    "created" timestamptz(3) NOT NULL,
    PRIMARY KEY ("collection", "record", "hash")
);

CREATE TABLE "_factor_attempts" (
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "started" timestamptz(3) NOT NULL,
    "used" integer NOT NULL,
    PRIMARY KEY ("collection", "record")
);

CREATE TABLE "_passkeys" (
    "id" text COLLATE "C" PRIMARY KEY,
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "credential" text COLLATE "C" NOT NULL,
    "public_key" bytea NOT NULL,
    "sign_count" bigint NOT NULL,
    "name" text NOT NULL,
    "model" text COLLATE "C" NOT NULL,
    "transports" text[] COLLATE "C" NOT NULL,
    "synced" boolean NOT NULL,
    "created" timestamptz(3) NOT NULL,
    "used" timestamptz(3)
);
CREATE UNIQUE INDEX "_passkeys_credential" ON "_passkeys" ("collection", "credential");
CREATE INDEX "_passkeys_of" ON "_passkeys" ("collection", "record");

CREATE TABLE "_passkey_challenges" (
    "id" text COLLATE "C" PRIMARY KEY,
    "purpose" text COLLATE "C" NOT NULL,
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "challenge" bytea NOT NULL,
    "expires" timestamptz(3) NOT NULL
);
CREATE INDEX "_passkey_challenges_expires" ON "_passkey_challenges" ("expires");

CREATE TABLE "_magic_links" (
    "hash" text COLLATE "C" PRIMARY KEY,
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "signed_by" text COLLATE "C" NOT NULL,
    "email" text COLLATE "C" NOT NULL,
    "browser" text COLLATE "C" NOT NULL,
    "created" timestamptz(3) NOT NULL,
    "expires" timestamptz(3) NOT NULL
);
CREATE INDEX "_magic_links_of" ON "_magic_links" ("collection", "record", "created");
CREATE INDEX "_magic_links_expires" ON "_magic_links" ("expires");

CREATE TABLE "_service_keys" (
    "id" text COLLATE "C" PRIMARY KEY,
    "name" text NOT NULL,
    "hash" text COLLATE "C" NOT NULL,
    "hint" text COLLATE "C" NOT NULL,
    "collection" text COLLATE "C" NOT NULL,
    "record" text COLLATE "C" NOT NULL,
    "access" text COLLATE "C" NOT NULL CHECK ("access" IN ('rules', 'full', 'superuser')),
    "scopes" json NOT NULL,
    "previous" text COLLATE "C" NOT NULL DEFAULT '',
    "previous_until" timestamptz(3),
    "expires" timestamptz(3),
    "used" timestamptz(3),
    "created" timestamptz(3) NOT NULL,
    "updated" timestamptz(3) NOT NULL
);
CREATE UNIQUE INDEX "_service_keys_name" ON "_service_keys" (lower("name"));
CREATE UNIQUE INDEX "_service_keys_hash" ON "_service_keys" ("hash");
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
