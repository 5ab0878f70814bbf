-- Statements about uploads that may be interrupted.
--
-- Whoever writes to an upload holds it: nobody else may until `held_until`, and `offset` moves on only in the
-- holder's hands. Leases are by the database's clock, so that those of nodes need not agree.

-- name: lock
-- Who counts uploads before adding one waits for others who do.
SELECT pg_advisory_xact_lock(28814841);

-- name: open
SELECT count(*) FILTER (WHERE "payer" = $1) AS "count",
       coalesce(sum("length") FILTER (WHERE "payer" = $1), 0)::bigint AS "bytes",
       coalesce(sum("length"), 0)::bigint AS "total"
  FROM "_uploads";

-- name: add
INSERT INTO "_uploads" ("id", "secret", "owner", "payer", "collection", "field", "filename", "filetype",
                        "metadata", "length", "store", "created", "expires")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: find
SELECT * FROM "_uploads" WHERE "id" = $1;

-- name: hold
UPDATE "_uploads"
   SET "holder" = $2, "held_until" = statement_timestamp() + make_interval(secs => $4), "contested" = '-infinity'
 WHERE "id" = $1 AND "offset" = $3 AND "held_until" < statement_timestamp()
RETURNING "segments";

-- name: contest
-- Ask the holder to let go if nothing arrives any more.
UPDATE "_uploads" SET "contested" = statement_timestamp()
 WHERE "id" = $1 AND "held_until" >= statement_timestamp();

-- name: advance
-- Note what is safe in the store; no row when somebody else holds the upload, or it is gone.
UPDATE "_uploads"
   SET "offset" = $4, "segments" = $5, "expires" = $6,
       "held_until" = statement_timestamp() + make_interval(secs => $7)
 WHERE "id" = $1 AND "holder" = $2 AND "offset" = $3
RETURNING "contested" > statement_timestamp() - make_interval(secs => $8) AS "contested";

-- name: release
UPDATE "_uploads" SET "holder" = '', "held_until" = '-infinity' WHERE "id" = $1 AND "holder" = $2;

-- name: take
-- In the transaction that writes the record: another one waits here for its end.
DELETE FROM "_uploads" WHERE "id" = $1 AND "offset" = "length" AND "expires" > $2 RETURNING "id";

-- name: patience
-- An object store takes its time to join what is large, and the transaction of the record waits for it.
SET LOCAL idle_in_transaction_session_timeout = '20min';

-- name: remove
DELETE FROM "_uploads" WHERE "id" = $1;

-- name: expired
DELETE FROM "_uploads" WHERE "id" IN (
    SELECT "id" FROM "_uploads" WHERE "expires" <= $1 AND "held_until" < statement_timestamp()
     ORDER BY "expires" LIMIT 200 FOR UPDATE SKIP LOCKED)
RETURNING "id", "store";

-- name: known
SELECT "id" FROM "_uploads" WHERE "id" = ANY($1::text[]);
