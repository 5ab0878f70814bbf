-- Statements of the metrics.

-- name: jobs
-- Kinds are those of the server and its plugins; jobs of older versions are the rest, so there is a bound.
SELECT "kind", "state", count(*) AS count FROM "_jobs" GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 500;

-- name: deliveries
SELECT "state", count(*) AS count FROM "_webhook_deliveries" GROUP BY 1;

-- name: oldest_due
SELECT extract(epoch FROM statement_timestamp() - min("run_at"))::double precision
  FROM "_jobs" WHERE "state" = 'waiting' AND "run_at" < statement_timestamp();
