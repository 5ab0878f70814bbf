-- Statements of the rate limits. Windows begin with the first request and are counted in whole seconds.

-- name: take
-- Take for all requests that wait together, so many from each bucket. A row keeps the limits of the rule that
-- first made it. `used` ends as far above the maximum as there are requests to refuse: they take nothing. The
-- window starts anew in the same statement. In one order everywhere, so that no two statements block each other.
INSERT INTO _rate_limits AS b (version, bucket, ip, started, used, max_requests, duration_s)
SELECT t.version, t.bucket, t.ip, extract(epoch FROM coalesce($7, clock_timestamp()))::bigint,
       t.count, t.max_requests, t.duration_s
  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::integer[], $6::integer[])
       AS t(version, bucket, ip, count, max_requests, duration_s)
 ORDER BY t.version, t.bucket, t.ip
ON CONFLICT (version, bucket, ip) DO UPDATE
   SET started = CASE WHEN EXCLUDED.started - b.started >= b.duration_s THEN EXCLUDED.started ELSE b.started END,
       used = CASE WHEN EXCLUDED.started - b.started >= b.duration_s THEN EXCLUDED.used
                   ELSE least(b.used, b.max_requests) + EXCLUDED.used END
RETURNING version, bucket, ip, used - max_requests AS refused;

-- name: sweep
-- Forget counters whose window is long over.
DELETE FROM _rate_limits
 WHERE started + duration_s < extract(epoch FROM clock_timestamp())::bigint - $1::bigint;
