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

-- name: day_pages
SELECT c.relname AS "name", pg_relation_size(c.oid) / current_setting('block_size')::bigint AS "pages"
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = '"_logs"'::regclass;

-- name: traffic
-- Requests from $1 to $2 by $4 stretches of $3 seconds, and all together in the row whose part is null.
-- The time is read with a pattern: whatever an entry holds, it is no mistake.
WITH seen AS (
    SELECT least(floor(extract(epoch FROM "created" - $1) / $3::float8)::integer, $4::integer - 1) AS "part",
           "data" LIKE '%"status":5__,%' AS "failed",
           substring("data" FROM '"execTime":([0-9]{1,15}(?:\.[0-9]{1,15})?)')::float8 AS "took"
      FROM "_logs" WHERE "created" >= $1 AND "created" < $2 AND "data" LIKE '%"type":"request"%')
SELECT "part", count(*) AS "requests", count(*) FILTER (WHERE "failed") AS "errors",
       percentile_disc(0.95) WITHIN GROUP (ORDER BY "took") AS "p95"
  FROM seen GROUP BY GROUPING SETS (("part"), ()) HAVING count(*) > 0;

-- name: traffic_sampled
-- As traffic, of $5 percent of all pages.
WITH seen AS (
    SELECT least(floor(extract(epoch FROM "created" - $1) / $3::float8)::integer, $4::integer - 1) AS "part",
           "data" LIKE '%"status":5__,%' AS "failed",
           substring("data" FROM '"execTime":([0-9]{1,15}(?:\.[0-9]{1,15})?)')::float8 AS "took"
      FROM "_logs" TABLESAMPLE SYSTEM ($5)
     WHERE "created" >= $1 AND "created" < $2 AND "data" LIKE '%"type":"request"%')
SELECT "part", count(*) AS "requests", count(*) FILTER (WHERE "failed") AS "errors",
       percentile_disc(0.95) WITHIN GROUP (ORDER BY "took") AS "p95"
  FROM seen GROUP BY GROUPING SETS (("part"), ()) HAVING count(*) > 0;
