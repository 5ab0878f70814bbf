-- Statements over codes, recovery codes, passkeys and mailed links.

-- name: attempt
INSERT INTO "_factor_attempts" AS a ("collection", "record", "started", "used") VALUES ($1, $2, $3, 1)
ON CONFLICT ("collection", "record") DO UPDATE
   SET "used" = CASE WHEN a."started" < $4 THEN 1 ELSE least(a."used" + 1, 1000000) END,
       "started" = CASE WHEN a."started" < $4 THEN $3 ELSE a."started" END
RETURNING "used";

-- name: clear_attempts
DELETE FROM "_factor_attempts" WHERE "collection" = $1 AND "record" = $2;

-- name: forget_attempts
DELETE FROM "_factor_attempts" WHERE "started" < $1;

-- name: totp
SELECT "secret", "confirmed", "last_step", "created" FROM "_totp" WHERE "collection" = $1 AND "record" = $2;

-- name: begin_totp
-- A secret that is not confirmed may be replaced; one that is in use may not.
INSERT INTO "_totp" AS t ("collection", "record", "secret", "created") VALUES ($1, $2, $3, $4)
ON CONFLICT ("collection", "record") DO UPDATE
   SET "secret" = $3, "created" = $4, "last_step" = 0 WHERE t."confirmed" IS NULL
RETURNING "record";

-- name: confirm_totp
UPDATE "_totp" SET "confirmed" = $4, "last_step" = $3
 WHERE "collection" = $1 AND "record" = $2 AND "confirmed" IS NULL AND "secret" = $5 RETURNING "record";

-- name: use_step
-- Of two requests with one code the first one wins.
UPDATE "_totp" SET "last_step" = $3
 WHERE "collection" = $1 AND "record" = $2 AND "last_step" < $3 AND "confirmed" IS NOT NULL
RETURNING "record";

-- name: end_totp
DELETE FROM "_totp" WHERE "collection" = $1 AND "record" = $2 RETURNING "record";

-- name: has_totp
SELECT EXISTS (SELECT 1 FROM "_totp" WHERE "collection" = $1 AND "record" = $2 AND "confirmed" IS NOT NULL);

-- name: forget_recovery_codes
DELETE FROM "_recovery_codes" WHERE "collection" = $1 AND "record" = $2;

-- name: add_recovery_codes
INSERT INTO "_recovery_codes" ("collection", "record", "hash", "created")
SELECT $1, $2, unnest($3::text[]), $4;

-- name: use_recovery_code
DELETE FROM "_recovery_codes" WHERE "collection" = $1 AND "record" = $2 AND "hash" = $3 RETURNING "hash";

-- name: count_recovery_codes
SELECT count(*) FROM "_recovery_codes" WHERE "collection" = $1 AND "record" = $2;

-- name: add_challenge
WITH old AS (DELETE FROM "_passkey_challenges" WHERE "expires" < $7)
INSERT INTO "_passkey_challenges" ("id", "purpose", "collection", "record", "challenge", "expires")
VALUES ($1, $2, $3, $4, $5, $6);

-- name: take_challenge
-- Who deletes the row, wins.
DELETE FROM "_passkey_challenges" WHERE "id" = $1
RETURNING "purpose", "collection", "record", "challenge", "expires";

-- name: passkeys_of
SELECT * FROM "_passkeys" WHERE "collection" = $1 AND "record" = $2 ORDER BY "created", "id";

-- name: passkey
SELECT * FROM "_passkeys" WHERE "collection" = $1 AND "credential" = $2;

-- name: add_passkey
INSERT INTO "_passkeys" ("id", "collection", "record", "credential", "public_key", "sign_count", "name", "model",
                         "transports", "synced", "created")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: use_passkey
-- A counter that does not rise is a copy of the key, unless it never counts at all.
UPDATE "_passkeys" SET "sign_count" = $2, "used" = $3, "synced" = $4
 WHERE "id" = $1 AND ("sign_count" < $2 OR ("sign_count" = 0 AND $2 = 0)) RETURNING "id";

-- name: rename_passkey
UPDATE "_passkeys" SET "name" = $4 WHERE "id" = $1 AND "collection" = $2 AND "record" = $3 RETURNING *;

-- name: delete_passkey
DELETE FROM "_passkeys" WHERE "id" = $1 AND "collection" = $2 AND "record" = $3 RETURNING "id";

-- name: last_link
SELECT max("created") FROM "_magic_links" WHERE "collection" = $1 AND "record" = $2;

-- name: add_link
WITH old AS (DELETE FROM "_magic_links" WHERE "expires" < $7)
INSERT INTO "_magic_links"
       ("hash", "collection", "record", "signed_by", "email", "browser", "created", "expires")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: link
SELECT "record", "signed_by", "email", "browser", "expires" FROM "_magic_links"
 WHERE "hash" = $1 AND "collection" = $2;

-- name: take_link
DELETE FROM "_magic_links" WHERE "hash" = $1 RETURNING "hash";

-- name: forget_account
-- All that these tables keep about one record.
WITH sessions AS (DELETE FROM "_sessions" WHERE "collection" = $1 AND "record" = $2 RETURNING "id"),
     session_tokens AS (DELETE FROM "_session_tokens" WHERE "session" IN (SELECT "id" FROM sessions)),
     links AS (DELETE FROM "_magic_links" WHERE "collection" = $1 AND "record" = $2),
     totp AS (DELETE FROM "_totp" WHERE "collection" = $1 AND "record" = $2),
     codes AS (DELETE FROM "_recovery_codes" WHERE "collection" = $1 AND "record" = $2),
     attempts AS (DELETE FROM "_factor_attempts" WHERE "collection" = $1 AND "record" = $2)
DELETE FROM "_passkeys" WHERE "collection" = $1 AND "record" = $2;

-- name: forget_factors
-- All with which somebody could sign in besides what the record itself has.
WITH links AS (DELETE FROM "_magic_links" WHERE "collection" = $1 AND "record" = $2),
     totp AS (DELETE FROM "_totp" WHERE "collection" = $1 AND "record" = $2),
     codes AS (DELETE FROM "_recovery_codes" WHERE "collection" = $1 AND "record" = $2)
DELETE FROM "_passkeys" WHERE "collection" = $1 AND "record" = $2;

-- name: forget_collection
WITH sessions AS (DELETE FROM "_sessions" WHERE "collection" = $1),
     links AS (DELETE FROM "_magic_links" WHERE "collection" = $1),
     totp AS (DELETE FROM "_totp" WHERE "collection" = $1),
     codes AS (DELETE FROM "_recovery_codes" WHERE "collection" = $1),
     attempts AS (DELETE FROM "_factor_attempts" WHERE "collection" = $1),
     keys AS (DELETE FROM "_service_keys" WHERE "collection" = $1)
DELETE FROM "_passkeys" WHERE "collection" = $1;
