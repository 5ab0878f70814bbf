-- Statements of the rate limits. Windows begin with the first request and are counted in whole seconds.

-- name: take
-- Take one from a bucket. The row keeps the limits of the rule that first made it. `used` stops one above
-- the maximum: a refused request takes nothing. The window starts anew in the same statement.
INSERT INTO _rate_limits AS b (version, bucket, ip, started, used, max_requests, duration_s)
VALUES ($1, $2, $3, extract(epoch FROM clock_timestamp())::bigint, 1, $4, $5)
ON CONFLICT (version, bucket, ip) DO UPDATE
   SET started = CASE WHEN EXCLUDED.started - b.started >= b.duration_s THEN EXCLUDED.started ELSE b.started END,
       used = CASE WHEN EXCLUDED.started - b.started >= b.duration_s THEN 1
                   ELSE least(b.used + 1, b.max_requests + 1) END
RETURNING used <= max_requests;

-- name: sweep
-- Forget counters whose window is long over.
DELETE FROM _rate_limits
 WHERE started + duration_s < extract(epoch FROM clock_timestamp())::bigint - $1::bigint;
