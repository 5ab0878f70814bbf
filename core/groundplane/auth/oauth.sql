-- Statements over the accounts that people have at providers.

-- name: find_link
SELECT "id", "recordRef" FROM "_externalAuths"
 WHERE "collectionRef" = $1 AND "provider" = $2 AND "providerId" = $3;

-- name: has_link
SELECT EXISTS (SELECT 1 FROM "_externalAuths" WHERE "collectionRef" = $1 AND "recordRef" = $2 AND "provider" = $3);

-- name: lock
-- Two first sign-ins of one person at the same time: the second finds what the first has made.
SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key;

-- name: keep_name
INSERT INTO "_oauth_names" ("code", "name", "expires") VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT ("code") DO NOTHING;

-- name: take_name
DELETE FROM "_oauth_names" WHERE "code" = $1 RETURNING CASE WHEN "expires" > now() THEN "name" END;

-- name: forget_names
DELETE FROM "_oauth_names" WHERE "expires" <= now();
