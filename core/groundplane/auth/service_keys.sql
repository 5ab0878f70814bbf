-- Statements over service keys; a key itself is stored nowhere.

-- name: all
SELECT * FROM "_service_keys" ORDER BY "created" DESC, "id";

-- name: view
SELECT * FROM "_service_keys" WHERE "id" = $1;

-- name: add
INSERT INTO "_service_keys"
       ("id", "name", "hash", "hint", "collection", "record", "access", "scopes", "expires", "created", "updated")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10);

-- name: rotate
UPDATE "_service_keys"
   SET "previous" = CASE WHEN $4::timestamptz > $5 THEN "hash" ELSE '' END, "previous_until" = $4,
       "hash" = $2, "hint" = $3, "updated" = $5
 WHERE "id" = $1 RETURNING "id";

-- name: revoke
DELETE FROM "_service_keys" WHERE "id" = $1 RETURNING "id";

-- name: used
UPDATE "_service_keys" SET "used" = greatest("used", $2) WHERE "id" = $1;
