-- Statements of the job queue.
--
-- A job is `waiting` (runs when `run_at` has come), `held` (behind an earlier one of its order key), `running`
-- (somebody's until `lease_until`), and then finished: `done`, `dead` or `cancelled`.
-- Of an order key at most one job is waiting or running; a unique index sees to that. Whoever adds to a key
-- or takes its first away holds the key's lock, so `seq` is the order of commits.
-- Time is the database's, so that clocks of nodes need not agree; $1 is another time for tests.

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended($1, 1785688691));

-- name: add
WITH added AS (
    INSERT INTO "_jobs" ("id", "kind", "payload", "state", "priority", "order_key", "unique_key", "run_at",
                         "max_attempts", "created")
    VALUES ($2, $3, $4,
            -- Two questions in the words of two partial indexes; one about three states would read the table.
            CASE WHEN EXISTS (SELECT 1 FROM "_jobs" WHERE "order_key" = $6::text AND "order_key" <> ''
                                     AND "state" IN ('waiting', 'running'))
                   OR EXISTS (SELECT 1 FROM "_jobs" WHERE "order_key" = $6 AND "order_key" <> ''
                                     AND "state" = 'held')
                 THEN 'held' ELSE 'waiting' END,
            $5, $6, $7,
            coalesce($8, coalesce($1, statement_timestamp()) + make_interval(secs => $9)),
            $10, coalesce($1, statement_timestamp()))
    ON CONFLICT ("kind", "unique_key")
          WHERE "unique_key" <> '' AND "state" IN ('waiting', 'held', 'running') DO NOTHING
    RETURNING "id")
SELECT "id", pg_notify('groundplane_jobs', '') FROM added;

-- name: same
SELECT "id" FROM "_jobs"
 WHERE "kind" = $1 AND "unique_key" = $2 AND "unique_key" <> '' AND "state" IN ('waiting', 'held', 'running');

-- name: claim
-- Take up to $3 due jobs of the kinds $2 for the worker $4, for $5 seconds.
WITH due AS MATERIALIZED (
    SELECT "id" FROM "_jobs"
     WHERE "state" = 'waiting' AND "run_at" <= coalesce($1, statement_timestamp()) AND "kind" = ANY($2::text[])
     ORDER BY "priority" DESC, "run_at", "seq"
     LIMIT $3
       FOR UPDATE SKIP LOCKED)
UPDATE "_jobs" AS j
   SET "state" = 'running', "attempts" = "attempts" + 1, "runs" = "runs" + 1, "worker" = $4, "error" = '',
       "started" = coalesce($1, statement_timestamp()),
       "lease_until" = coalesce($1, statement_timestamp()) + make_interval(secs => $5)
  FROM due
 WHERE j."id" = due."id"
RETURNING j.*;

-- name: claim_past_others
-- As `claim`, for when very many jobs of other kinds may be due that nobody is to run now: each kind is looked
-- at for itself.
WITH due AS MATERIALIZED (
    SELECT of_kind."id" FROM unnest($2::text[]) AS name
     CROSS JOIN LATERAL (
        SELECT "id", "priority", "run_at", "seq" FROM "_jobs"
         WHERE "state" = 'waiting' AND "run_at" <= coalesce($1, statement_timestamp()) AND "kind" = name
         ORDER BY "priority" DESC, "run_at", "seq"
         LIMIT $3
           FOR UPDATE SKIP LOCKED) AS of_kind
     ORDER BY of_kind."priority" DESC, of_kind."run_at", of_kind."seq"
     LIMIT $3)
UPDATE "_jobs" AS j
   SET "state" = 'running', "attempts" = "attempts" + 1, "runs" = "runs" + 1, "worker" = $4, "error" = '',
       "started" = coalesce($1, statement_timestamp()),
       "lease_until" = coalesce($1, statement_timestamp()) + make_interval(secs => $5)
  FROM due
 WHERE j."id" = due."id"
RETURNING j.*;

-- name: due_kinds
SELECT DISTINCT "kind" FROM "_jobs"
 WHERE "state" = 'waiting' AND "run_at" <= coalesce($1, statement_timestamp()) AND "kind" = ANY($2::text[]);

-- name: count_running
SELECT count(*) FROM "_jobs" WHERE "state" = 'running' AND "kind" = $1;

-- name: next_due_s
-- Seconds until something is to be done: a job of the kinds $2 becomes due, or a lease of any ends.
-- What is due already is claimed after this was asked, or waits for room.
SELECT extract(epoch FROM least(
           (SELECT min("run_at") FROM "_jobs" WHERE "state" = 'waiting' AND "kind" = ANY($2::text[])
                   AND "run_at" > coalesce($1, statement_timestamp())),
           (SELECT min("lease_until") FROM "_jobs" WHERE "state" = 'running'
                   AND "lease_until" > coalesce($1, statement_timestamp())))
       - coalesce($1, statement_timestamp()))::double precision;

-- name: renew
UPDATE "_jobs" SET "lease_until" = coalesce($1, statement_timestamp()) + make_interval(secs => $4)
 WHERE "id" = ANY($2::text[]) AND "state" = 'running' AND "worker" = $3
RETURNING "id", "runs", "cancel_asked";

-- name: expired
SELECT * FROM "_jobs"
 WHERE "state" = 'running' AND "lease_until" < coalesce($1, statement_timestamp())
 ORDER BY "lease_until" LIMIT 100;

-- name: conclude
-- End run $4 of job $2 by worker $3, unless it is no longer theirs. $5 is the state that follows, in which
-- it is due again after $6 seconds; $7 the attempts that count; $8 the outcome of the run and $9 the error.
-- $10 says that only an expired lease may be ended. Old runs beyond $11 are forgotten.
WITH concluded AS (
    UPDATE "_jobs" SET
           "state" = CASE WHEN "cancel_asked" AND $5 IN ('waiting', 'dead') THEN 'cancelled' ELSE $5 END,
           "run_at" = CASE WHEN $5 = 'waiting'
                           THEN coalesce($1, statement_timestamp()) + make_interval(secs => $6) ELSE "run_at" END,
           "attempts" = $7, "error" = $9, "worker" = '', "lease_until" = NULL,
           "finished" = CASE WHEN $5 = 'waiting' AND NOT "cancel_asked" THEN NULL
                             ELSE coalesce($1, statement_timestamp()) END
     WHERE "id" = $2 AND "worker" = $3 AND "runs" = $4 AND "state" = 'running'
           AND (NOT $10 OR "lease_until" < coalesce($1, statement_timestamp()))
    RETURNING "id", "state", "runs", "started"),
run AS (
    INSERT INTO "_job_runs" ("job", "number", "worker", "outcome", "error", "started", "finished")
    SELECT "id", "runs", $3, $8, $9, "started", coalesce($1, statement_timestamp()) FROM concluded),
forgotten AS (
    DELETE FROM "_job_runs" WHERE "job" = (SELECT "id" FROM concluded) AND "number" <= $4 - $11)
SELECT "state" FROM concluded;

-- name: promote
-- The first job of a key is finished: the next one may run.
WITH next AS (
    UPDATE "_jobs" SET "state" = 'waiting'
     WHERE "id" = (SELECT "id" FROM "_jobs" WHERE "order_key" = $1 AND "state" = 'held' ORDER BY "seq" LIMIT 1)
    RETURNING "id")
SELECT "id", pg_notify('groundplane_jobs', '') FROM next;

-- name: lock_free
-- Those of the keys $1 that nobody holds, held from now on.
SELECT k FROM unnest($1::text[]) AS k WHERE pg_try_advisory_xact_lock(hashtextextended(k, 1785688691));

-- name: finish_many
-- End the runs $3 of the jobs $2 by worker $4, which succeeded.
WITH concluded AS (
    UPDATE "_jobs" AS j SET
           "state" = 'done', "error" = '', "worker" = '', "lease_until" = NULL,
           "finished" = coalesce($1, statement_timestamp())
      FROM unnest($2::text[], $3::integer[]) AS given("id", "runs")
     WHERE j."id" = given."id" AND j."runs" = given."runs" AND j."worker" = $4 AND j."state" = 'running'
    RETURNING j."id", j."runs", j."started"),
run AS (
    INSERT INTO "_job_runs" ("job", "number", "worker", "outcome", "error", "started", "finished")
    SELECT "id", "runs", $4, 'done', '', "started", coalesce($1, statement_timestamp()) FROM concluded)
SELECT count(*) FROM concluded;

-- name: promote_many
WITH next AS (
    UPDATE "_jobs" SET "state" = 'waiting'
     WHERE "id" IN (
        SELECT behind."id" FROM unnest($1::text[]) AS key
         CROSS JOIN LATERAL (SELECT "id" FROM "_jobs" WHERE "order_key" = key AND "state" = 'held'
                              ORDER BY "seq" LIMIT 1) AS behind)
    RETURNING "id")
SELECT count(*) FROM next;

-- name: order_key
SELECT "order_key" FROM "_jobs" WHERE "id" = $1;

-- name: cancel
UPDATE "_jobs" AS j SET "state" = 'cancelled', "finished" = coalesce($1, statement_timestamp())
  FROM (SELECT "id", "state" FROM "_jobs" WHERE "id" = $2 FOR UPDATE) AS before
 WHERE j."id" = before."id" AND before."state" IN ('waiting', 'held')
RETURNING before."state";

-- name: ask_to_cancel
WITH asked AS (
    UPDATE "_jobs" SET "cancel_asked" = true WHERE "id" = $1 AND "state" = 'running' RETURNING "id")
SELECT "id", pg_notify('groundplane_jobs', 'cancel') FROM asked;

-- name: retry
-- A finished job runs again, behind the others of its key, for the index allows one first only.
UPDATE "_jobs" SET
       "seq" = DEFAULT, "attempts" = 0, "cancel_asked" = false, "finished" = NULL,
       "run_at" = coalesce($1, statement_timestamp()),
       "state" = CASE WHEN EXISTS (SELECT 1 FROM "_jobs" AS o WHERE o."order_key" = "_jobs"."order_key"
                                     AND o."order_key" <> '' AND o."state" IN ('waiting', 'running'))
                        OR EXISTS (SELECT 1 FROM "_jobs" AS o WHERE o."order_key" = "_jobs"."order_key"
                                     AND o."order_key" <> '' AND o."state" = 'held')
                      THEN 'held' ELSE 'waiting' END
 WHERE "id" = $2 AND "state" IN ('done', 'dead', 'cancelled')
RETURNING "id";

-- name: hurry
UPDATE "_jobs" SET "run_at" = least("run_at", coalesce($1, statement_timestamp()))
 WHERE "id" = $2 AND "state" = 'waiting'
RETURNING "id";

-- name: hurry_kind
WITH hurried AS (
    UPDATE "_jobs" SET "run_at" = coalesce($1, statement_timestamp())
     WHERE "kind" = $2 AND "state" = 'waiting' AND "run_at" > coalesce($1, statement_timestamp())
           AND "runs" > 0
    RETURNING "id")
SELECT count(*) FROM hurried;

-- name: wake
SELECT pg_notify('groundplane_jobs', '');

-- name: view
SELECT * FROM "_jobs" WHERE "id" = $1;

-- name: runs
SELECT * FROM "_job_runs" WHERE "job" = $1 ORDER BY "number" DESC;

-- name: page
-- Empty texts stand for every state and kind.
SELECT * FROM "_jobs" WHERE ($1 = '' OR "state" = $1) AND ($2 = '' OR "kind" = $2)
 ORDER BY "seq" DESC LIMIT $3 OFFSET $4;

-- name: count
SELECT count(*) FROM "_jobs" WHERE ($1 = '' OR "state" = $1) AND ($2 = '' OR "kind" = $2);

-- name: counts
SELECT "state", count(*) AS "total" FROM "_jobs" GROUP BY "state";

-- name: behind
SELECT count(*) FROM "_jobs" WHERE "state" = 'waiting' AND "run_at" < now() - interval '1 minute';

-- name: latest
SELECT j.* FROM unnest($1::text[]) AS k("kind")
 CROSS JOIN LATERAL (SELECT * FROM "_jobs" WHERE "kind" = k."kind" ORDER BY "seq" DESC LIMIT 1) AS j;

-- name: forget
-- Remove finished jobs with their runs: those older than $2 seconds, dead ones after $3, and what is beyond
-- the newest $4. At most $5 at a time.
WITH kept AS (
    SELECT "finished" FROM "_jobs" WHERE "finished" IS NOT NULL ORDER BY "finished" DESC OFFSET $4 LIMIT 1),
old AS (
    DELETE FROM "_jobs" WHERE "id" IN (
        SELECT "id" FROM "_jobs"
         WHERE "finished" IS NOT NULL
               AND ("finished" < coalesce($1, statement_timestamp())
                                 - make_interval(secs => CASE WHEN "state" = 'dead' THEN $3::double precision
                                                               ELSE $2::double precision END)
                    OR "finished" <= (SELECT "finished" FROM kept))
         ORDER BY "finished" LIMIT $5 FOR UPDATE SKIP LOCKED)
    RETURNING "id"),
runs AS (
    DELETE FROM "_job_runs" WHERE "job" IN (SELECT "id" FROM old))
SELECT count(*) FROM old;

-- name: take_slot
-- Of all processes that see a tick, one gets it.
INSERT INTO "_cron_slots" ("cron", "slot", "job") VALUES ($1, $2, '')
ON CONFLICT DO NOTHING RETURNING "cron";

-- name: fill_slot
UPDATE "_cron_slots" SET "job" = $3 WHERE "cron" = $1 AND "slot" = $2;

-- name: forget_slots
DELETE FROM "_cron_slots" WHERE "slot" < $1;
