-- Statements of webhooks. $n are placeholders; times come from the caller, so that a set clock holds here too.
--
-- A delivery is `waiting` as long as its job tries it, then `delivered` or `failed`.

-- name: all
SELECT w.*, to_jsonb(h) AS "health" FROM "_webhooks" w
  LEFT JOIN "_webhook_health" h ON h."webhook" = w."id" ORDER BY w."created", w."id";

-- name: view
SELECT w.*, to_jsonb(h) AS "health" FROM "_webhooks" w
  LEFT JOIN "_webhook_health" h ON h."webhook" = w."id" WHERE w."id" = $1;

-- name: locked
SELECT w.*, to_jsonb(h) AS "health" FROM "_webhooks" w
  LEFT JOIN "_webhook_health" h ON h."webhook" = w."id" WHERE w."id" = $1 FOR UPDATE OF w;

-- name: page
SELECT w.*, to_jsonb(h) AS "health" FROM "_webhooks" w
  LEFT JOIN "_webhook_health" h ON h."webhook" = w."id"
 ORDER BY w."created" DESC, w."id" LIMIT $1 OFFSET $2;

-- name: count
SELECT count(*) FROM "_webhooks";

-- name: add
INSERT INTO "_webhooks" ("id", "created", "name", "url", "collections", "actions", "condition", "fields", "headers",
                         "retries", "timeout_s", "concurrency", "enabled", "updated", "secrets")
VALUES ($1, $13, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: change
UPDATE "_webhooks" SET
       "name" = $2, "url" = $3, "collections" = $4, "actions" = $5, "condition" = $6, "fields" = $7, "headers" = $8,
       "retries" = $9, "timeout_s" = $10, "concurrency" = $11, "enabled" = $12, "updated" = $13
 WHERE "id" = $1;

-- name: change_secrets
UPDATE "_webhooks" SET "secrets" = $2, "updated" = $3 WHERE "id" = $1;

-- name: suspend
UPDATE "_webhooks" SET "suspended" = $2 WHERE "id" = $1 AND "suspended" = '' AND "enabled" RETURNING "name";

-- name: resume
UPDATE "_webhooks" SET "suspended" = '' WHERE "id" = $1;

-- name: delete
DELETE FROM "_webhooks" WHERE "id" = $1 RETURNING "id";

-- name: delete_health
DELETE FROM "_webhook_health" WHERE "webhook" = $1;

-- name: record
-- The event $3 for the webhook $2; the state $8 is `waiting`, with the job $9, or `failed`, with the error $10.
INSERT INTO "_webhook_deliveries" ("id", "webhook", "event", "type", "collection", "record", "body", "state", "job",
                                   "error", "queued", "created", "finished")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::timestamptz, $11,
        CASE WHEN $8::text = 'waiting' THEN NULL ELSE $11 END)
RETURNING *;

-- name: delivery
SELECT * FROM "_webhook_deliveries" WHERE "id" = $1;

-- name: delivery_of
SELECT * FROM "_webhook_deliveries" WHERE "webhook" = $1 AND "id" = $2;

-- name: deliveries
-- Of the webhook $1; empty texts and NULL times stand for every one.
SELECT * FROM "_webhook_deliveries"
 WHERE "webhook" = $1 AND ($2 = '' OR "state" = $2) AND ($3 = '' OR "event" = $3) AND ($4 = '' OR "record" = $4)
       AND ($5::timestamptz IS NULL OR "created" >= $5) AND ($6::timestamptz IS NULL OR "created" < $6)
 ORDER BY "seq" DESC LIMIT $7 OFFSET $8;

-- name: count_deliveries
SELECT count(*) FROM "_webhook_deliveries"
 WHERE "webhook" = $1 AND ($2 = '' OR "state" = $2) AND ($3 = '' OR "event" = $3) AND ($4 = '' OR "record" = $4)
       AND ($5::timestamptz IS NULL OR "created" >= $5) AND ($6::timestamptz IS NULL OR "created" < $6);

-- name: count_waiting
SELECT count(*) FROM (
    SELECT 1 FROM "_webhook_deliveries" WHERE "webhook" = $1 AND "state" = 'waiting' LIMIT $2) AS few;

-- name: attempts
SELECT * FROM "_webhook_attempts" WHERE "delivery" = $1 ORDER BY "number" DESC;

-- name: attempted
-- Attempt $2 of the delivery $1 was made; $3 is the state that follows, $6 when it is tried again.
-- The last $14 attempts of each delivery are kept.
WITH delivery AS (
    UPDATE "_webhook_deliveries" SET
           "attempts" = $2, "tries" = "tries" + 1, "state" = $3, "status" = $4, "error" = $5, "next_attempt" = $6,
           "finished" = CASE WHEN $3::text = 'waiting' THEN NULL ELSE $7::timestamptz END
     WHERE "id" = $1 AND "state" = 'waiting'),
forgotten AS (
    DELETE FROM "_webhook_attempts" WHERE "delivery" = $1 AND "number" <= $2::integer - $14::integer)
INSERT INTO "_webhook_attempts" ("delivery", "number", "started", "duration_ms", "url", "request_headers", "status",
                                 "answer_headers", "answer", "error")
VALUES ($1, $2, $8, $9, $10, $11, $4, $12, $13, $5)
ON CONFLICT DO NOTHING;

-- name: give_up
UPDATE "_webhook_deliveries" SET "state" = 'failed', "error" = $2, "next_attempt" = NULL, "finished" = $3
 WHERE "id" = $1 AND "state" = 'waiting';

-- name: queue_again
UPDATE "_webhook_deliveries" SET
       "state" = 'waiting', "job" = $2, "tries" = 0, "queued" = $3, "next_attempt" = NULL, "finished" = NULL
 WHERE "id" = $1 AND "state" <> 'waiting'
RETURNING "id";

-- name: count_to_replay
SELECT count(*) FROM "_webhook_deliveries"
 WHERE "webhook" = $1 AND "state" <> 'waiting' AND ($2 = '' OR "state" = $2) AND "type" <> 'webhook.test'
       AND ($3::timestamptz IS NULL OR "created" >= $3) AND ($4::timestamptz IS NULL OR "created" < $4)
       AND "queued" < $5;

-- name: to_replay
SELECT * FROM "_webhook_deliveries"
 WHERE "webhook" = $1 AND "state" <> 'waiting' AND ($2 = '' OR "state" = $2) AND "type" <> 'webhook.test'
       AND ($3::timestamptz IS NULL OR "created" >= $3) AND ($4::timestamptz IS NULL OR "created" < $4)
       AND "queued" < $5
 ORDER BY "seq" LIMIT $6;

-- name: hurry
-- What the webhook's pause has put off is due now; what waits for its own next attempt goes on waiting.
UPDATE "_jobs" AS j SET "run_at" = $2
  FROM "_webhook_deliveries" AS d
 WHERE d."webhook" = $1 AND d."state" = 'waiting' AND (d."next_attempt" IS NULL OR d."next_attempt" <= $2)
       AND j."id" = d."job" AND j."state" = 'waiting' AND j."run_at" > $2;

-- name: wake
SELECT pg_notify('groundplane_jobs', '');

-- name: turn
-- The webhook $1, and how many attempts for it were begun before the job $2: those whose order keys begin with $3.
SELECT w.*, to_jsonb(h) AS "health",
       (SELECT count(*) FROM "_jobs" AS j, (SELECT "started", "id" FROM "_jobs" WHERE "id" = $2) AS mine
         WHERE j."state" = 'running' AND starts_with(j."order_key", $3)
               AND (j."started", j."id") < (mine."started", mine."id")) AS "before"
  FROM "_webhooks" w LEFT JOIN "_webhook_health" h ON h."webhook" = w."id" WHERE w."id" = $1;

-- name: probe
-- One of those that find the pause over may try; the others wait until it has had the time for that.
UPDATE "_webhook_health" SET "open_until" = $3
 WHERE "webhook" = $1 AND "open_until" <= $2
RETURNING "webhook";

-- name: succeeded
-- Written at most once in a while when all is well: every delivery would otherwise wait for the same row.
UPDATE "_webhook_health" AS h SET
       "failures" = 0, "failing_since" = NULL, "open_until" = NULL, "last_success" = $2
  FROM (SELECT "failures", "open_until" FROM "_webhook_health" WHERE "webhook" = $1 FOR UPDATE) AS before
 WHERE h."webhook" = $1
RETURNING before."open_until" IS NOT NULL AS "was_open";

-- name: failed
-- Another failed attempt; from $4 failures in a row on nothing is sent for a time that doubles from $5 to $6
-- seconds, and in any case not before $7.
INSERT INTO "_webhook_health" AS h ("webhook", "failures", "failing_since", "last_failure", "error", "open_until")
VALUES ($1, 1, $2::timestamptz, $2, $3,
        CASE WHEN $4::integer <= 1 THEN greatest($2 + make_interval(secs => $5::double precision), $7) ELSE $7::timestamptz END)
ON CONFLICT ("webhook") DO UPDATE SET
       "failures" = h."failures" + 1, "failing_since" = coalesce(h."failing_since", $2), "last_failure" = $2,
       "error" = $3,
       "open_until" = CASE
           WHEN h."failures" + 1 >= $4
           THEN greatest($2 + make_interval(secs => least($5 * power(2.0::double precision, least(h."failures" + 1 - $4, 30)),
                                                       $6::double precision)),
                         $7, h."open_until")
           ELSE greatest($7, h."open_until") END
RETURNING "failures", "failing_since", "open_until";

-- name: reset_health
INSERT INTO "_webhook_health" ("webhook") VALUES ($1)
ON CONFLICT ("webhook") DO UPDATE SET "failures" = 0, "failing_since" = NULL, "open_until" = NULL, "problem" = '';

-- name: set_problem
INSERT INTO "_webhook_health" AS h ("webhook", "problem") VALUES ($1, $2)
ON CONFLICT ("webhook") DO UPDATE SET "problem" = $2 WHERE h."problem" <> $2;

-- name: forget
-- Remove what was finished before $1, or belongs to no webhook, with its attempts; at most $2 at a time.
WITH old AS (
    DELETE FROM "_webhook_deliveries" WHERE "id" IN (
        SELECT d."id" FROM "_webhook_deliveries" AS d
         WHERE d."finished" < $1
            OR NOT EXISTS (SELECT 1 FROM "_webhooks" AS w WHERE w."id" = d."webhook")
         LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING "id"),
attempts AS (
    DELETE FROM "_webhook_attempts" WHERE "delivery" IN (SELECT "id" FROM old))
SELECT count(*) FROM old;

-- name: without_job
-- Deliveries that wait although their job came to an end: somebody cancelled it, or its workers were lost too often.
SELECT d.* FROM "_webhook_deliveries" AS d
 WHERE d."state" = 'waiting' AND d."queued" < $1
       AND NOT EXISTS (SELECT 1 FROM "_jobs" AS j
                        WHERE j."id" = d."job" AND j."state" IN ('waiting', 'held', 'running'))
 ORDER BY d."seq" LIMIT $2;

-- name: summary
SELECT count(*) AS "all",
       (SELECT count(*) FROM (SELECT 1 FROM "_webhook_deliveries" WHERE "state" = 'waiting' LIMIT 100000) AS w)
           AS "waiting"
  FROM "_webhooks";

-- name: schema_version
SELECT "value"::text FROM "_params" WHERE "id" = 'schema_version';
