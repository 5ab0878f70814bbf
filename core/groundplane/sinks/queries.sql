-- Statements of the event sinks.

-- name: state
-- Of the jobs of kind $1: how many wait, since when the oldest of those that were tried, the newest error,
-- and how many were given up.
SELECT count(*) FILTER (WHERE "state" IN ('waiting', 'held', 'running')) AS "waiting",
       min("created") FILTER (WHERE "state" IN ('waiting', 'running')
                                    AND ("error" <> '' OR "runs" > 1)) AS "failing_since",
       (array_agg("error" ORDER BY "started" DESC)
            FILTER (WHERE "state" = 'waiting' AND "error" <> ''))[1] AS "error",
       count(*) FILTER (WHERE "state" = 'dead') AS "dead"
  FROM "_jobs"
 WHERE "kind" = $1;
