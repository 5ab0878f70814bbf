-- Statements of the log. A day is a partition `_logs_YYYYMMDD`.

-- name: lock_days
-- Whoever makes or drops a day's table goes alone.
SELECT pg_advisory_xact_lock(0x67706c6f67);

-- name: days
SELECT c.relname AS "name" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = '"_logs"'::regclass ORDER BY c.relname;

-- name: forget_old
DELETE FROM "_logs" WHERE "created" < $1;

-- name: forget_low
DELETE FROM "_logs" WHERE "level" < $1;

-- name: forget_all
TRUNCATE "_logs";

-- name: view
SELECT "id", "created", "level", "message", "data" FROM "_logs"
 WHERE "id" = $1 AND "created" >= $2 AND "created" < $3;

-- name: add_shapes
INSERT INTO "_query_shapes" ("collection", "filter", "sort", "counted", "used", "last_used")
SELECT s.c, s.f, s.s, s.t, s.n, now()
  FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::bigint[]) AS s(c, f, s, t, n)
 ORDER BY 1, 2, 3, 4
    ON CONFLICT ("collection", "filter", "sort", "counted")
    DO UPDATE SET "used" = "_query_shapes"."used" + excluded."used", "last_used" = excluded."last_used";

-- name: forget_shapes
-- Those that nobody used for 30 days, and beyond $1 those used least.
DELETE FROM "_query_shapes" WHERE "last_used" < now() - interval '30 days'
    OR ("collection", "filter", "sort", "counted") IN (
        SELECT "collection", "filter", "sort", "counted" FROM "_query_shapes"
         ORDER BY "used" DESC, "last_used" DESC OFFSET $1);
