-- Statements of idempotent creates. $n are placeholders.

-- name: take
-- Take a key; one that is taken by an open transaction is waited for, one that has expired is taken over.
INSERT INTO "_idempotency" AS i ("key", "caller", "collection", "body_hash", "status", "response", "created")
VALUES ($1, $2, $3, $4, 0, ''::bytea, $5)
    ON CONFLICT ("key", "caller", "collection") DO UPDATE
   SET "body_hash" = excluded."body_hash", "status" = 0, "response" = excluded."response",
       "created" = excluded."created"
 WHERE i."created" < $6
RETURNING true;

-- name: stored
SELECT "body_hash", "response" FROM "_idempotency" WHERE "key" = $1 AND "caller" = $2 AND "collection" = $3;

-- name: keep
UPDATE "_idempotency" SET "status" = $4, "response" = $5
 WHERE "key" = $1 AND "caller" = $2 AND "collection" = $3;

-- name: sweep
-- Each new key removes a few expired ones, so that the table needs no other cleaning.
DELETE FROM "_idempotency"
 WHERE ctid = ANY(ARRAY(SELECT ctid FROM "_idempotency" WHERE "created" < $1 LIMIT 20 FOR UPDATE SKIP LOCKED));
