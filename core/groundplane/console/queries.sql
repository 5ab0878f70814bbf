-- Statements of what the console keeps. $n are placeholders.

-- name: read
SELECT "value" FROM "_console_preferences" WHERE "owner" = $1 AND "name" = $2;

-- name: list_below
SELECT "name", "value" FROM "_console_preferences" WHERE "owner" = $1 AND starts_with("name", $2) ORDER BY "name";

-- name: keep
-- A full owner may still change what there is.
INSERT INTO "_console_preferences" ("owner", "name", "value", "updated")
SELECT $1, $2, $3, $4
 WHERE (SELECT count(*) FROM "_console_preferences" WHERE "owner" = $1) < $5
    OR EXISTS (SELECT 1 FROM "_console_preferences" WHERE "owner" = $1 AND "name" = $2)
ON CONFLICT ("owner", "name") DO UPDATE SET "value" = EXCLUDED."value", "updated" = EXCLUDED."updated"
RETURNING 1;

-- name: forget
DELETE FROM "_console_preferences" WHERE "owner" = $1 AND "name" = $2;
