-- What the built-in cron jobs remove.

-- name: expired_mfas
DELETE FROM "_mfas" WHERE "collectionRef" = $1 AND "created" < $2;

-- name: expired_otps
DELETE FROM "_otps" WHERE "collectionRef" = $1 AND "created" < $2;

-- name: orphaned_mfas
DELETE FROM "_mfas" WHERE "collectionRef" <> ALL($1::text[]);

-- name: orphaned_otps
DELETE FROM "_otps" WHERE "collectionRef" <> ALL($1::text[]);

-- name: has_limited
-- Whether somebody was counted since the settings were last saved, which starts all counters anew.
SELECT EXISTS (SELECT 1 FROM "_rate_limits" WHERE "version" = $1);

-- name: old_limits
DELETE FROM "_rate_limits"
 WHERE "version" < $1 OR "started" + "duration_s" < extract(epoch FROM clock_timestamp())::bigint;

-- name: old_idempotency_keys
WITH old AS (
    DELETE FROM "_idempotency" WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM "_idempotency" WHERE "created" < $1 LIMIT 5000 FOR UPDATE SKIP LOCKED))
    RETURNING 1)
SELECT count(*) FROM old;

-- name: tables
SELECT c.relname AS "name" FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname;
