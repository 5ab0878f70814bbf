-- Statements over the system collections that keep what happens around a sign-in.

-- name: add_mfa
INSERT INTO "_mfas" ("id", "collectionRef", "recordRef", "method", "created", "updated")
VALUES ($1, $2, $3, $4, $5, $5);

-- name: find_mfa
SELECT "collectionRef", "recordRef", "method", "created" FROM "_mfas" WHERE "id" = $1;

-- name: take_mfa
-- Two requests with the same first factor must not both go through: who deletes the row, wins.
DELETE FROM "_mfas" WHERE "id" = $1 RETURNING "id";

-- name: touch_origin
UPDATE "_authOrigins" SET "updated" = $4
 WHERE "collectionRef" = $1 AND "recordRef" = $2 AND "fingerprint" = $3
RETURNING "id";

-- name: is_new_origin
-- Whether there are origins of a record, and this is none of them.
SELECT count(*) > 0 AND count(*) FILTER (WHERE "fingerprint" = $3) = 0 FROM "_authOrigins"
 WHERE "collectionRef" = $1 AND "recordRef" = $2;

-- name: count_origins
SELECT count(*) FROM "_authOrigins" WHERE "collectionRef" = $1 AND "recordRef" = $2;

-- name: add_origin
INSERT INTO "_authOrigins" ("id", "collectionRef", "recordRef", "fingerprint", "created", "updated")
VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT DO NOTHING;

-- name: trim_origins
-- Keep the newest $3 origins of a record.
DELETE FROM "_authOrigins"
 WHERE "id" IN (SELECT "id" FROM "_authOrigins" WHERE "collectionRef" = $1 AND "recordRef" = $2
                 ORDER BY "created" DESC, "_row" DESC OFFSET $3);

-- name: superuser_by_email
SELECT "id", "email", "password" FROM "_superusers" WHERE "email" = $1;

-- name: superusers
SELECT "id", "email", "created" FROM "_superusers" WHERE "email" <> $1 ORDER BY "created", "_row";

-- name: lock_superusers
-- Two commands that each remove a superuser must not together remove the last one.
LOCK TABLE "_superusers" IN SHARE ROW EXCLUSIVE MODE;

-- name: has_superuser
SELECT EXISTS (SELECT 1 FROM "_superusers" WHERE "email" <> $1);

-- name: add_superuser
INSERT INTO "_superusers"
       ("id", "password", "tokenKey", "email", "emailVisibility", "verified", "created", "updated")
VALUES ($1, $2, $3, $4, false, true, $5, $5);

-- name: set_superuser_password
UPDATE "_superusers" SET "password" = $2, "tokenKey" = $3, "verified" = true, "updated" = $4 WHERE "id" = $1;

-- name: delete_superuser
DELETE FROM "_superusers" WHERE "id" = $1;

-- name: forget_mfas
DELETE FROM "_mfas" WHERE "collectionRef" = $1 AND "recordRef" = $2;

-- name: forget_otps
DELETE FROM "_otps" WHERE "collectionRef" = $1 AND "recordRef" = $2;

-- name: forget_origins
DELETE FROM "_authOrigins" WHERE "collectionRef" = $1 AND "recordRef" = $2;

-- name: forget_externals
DELETE FROM "_externalAuths" WHERE "collectionRef" = $1 AND "recordRef" = $2;
