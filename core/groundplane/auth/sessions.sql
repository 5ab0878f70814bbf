-- Statements over sessions. A token's mark tells it from others without being it.

-- name: begin
-- A session with its first token; no row when another session has the same token.
WITH token AS (
    INSERT INTO "_session_tokens" ("mark", "session", "expires") VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING RETURNING "session"
)
INSERT INTO "_sessions"
       ("id", "collection", "record", "signed_by", "method", "ip", "agent", "created", "used", "expires")
SELECT "session", $4, $5, $6, $7, $8, $9, $10, $11, $3 FROM token
RETURNING "id";

-- name: renew
-- Add token $2 to the session of token $1, unless that has ended meanwhile.
WITH known AS (
    UPDATE "_sessions" SET "used" = $3, "ip" = $4, "agent" = $5, "expires" = greatest("expires", $6)
     WHERE "id" = (SELECT "session" FROM "_session_tokens" WHERE "mark" = $1) AND "ended" IS NULL
    RETURNING "id"
), added AS (
    INSERT INTO "_session_tokens" ("mark", "session", "expires") SELECT $2, "id", $6 FROM known
    ON CONFLICT DO NOTHING RETURNING "session"
)
SELECT (SELECT "session" FROM "_session_tokens" WHERE "mark" = $1) AS "session",
       (SELECT "id" FROM known) AS "known",
       coalesce((SELECT "session" FROM added),
                (SELECT "session" FROM "_session_tokens" WHERE "mark" = $2)) AS "owner";

-- name: touch
-- Note when sessions were used, coarsely; returns the marks of tokens that no session has.
WITH seen AS (
    SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS s ("mark", "at")
), used AS (
    SELECT t."session", max(s."at") AS "at"
      FROM seen s JOIN "_session_tokens" t ON t."mark" = s."mark" GROUP BY t."session"
), noted AS (
    UPDATE "_sessions" s SET "used" = u."at" FROM used u
     WHERE s."id" = u."session" AND s."used" < u."at" - interval '1 minute'
)
SELECT s."mark" FROM seen s
 WHERE NOT EXISTS (SELECT 1 FROM "_session_tokens" t WHERE t."mark" = s."mark");

-- name: session_of
SELECT "session" FROM "_session_tokens" WHERE "mark" = $1;

-- name: page
-- What was signed with a key that the record no longer has is over.
SELECT "id", "collection", "record", "method", "ip", "agent", "created", "used", "expires" FROM "_sessions"
 WHERE "collection" = $1 AND "record" = $2 AND "signed_by" = $3 AND "ended" IS NULL AND "expires" > $4
 ORDER BY "used" DESC, "created" DESC, "id" LIMIT $5 OFFSET $6;

-- name: count
SELECT count(*) FROM "_sessions"
 WHERE "collection" = $1 AND "record" = $2 AND "signed_by" = $3 AND "ended" IS NULL AND "expires" > $4;

-- name: view
SELECT "id", "collection", "record", "method", "ip", "agent", "created", "used", "expires" FROM "_sessions"
 WHERE "id" = $1;

-- name: end
UPDATE "_sessions" SET "ended" = $4
 WHERE "id" = $1 AND "collection" = $2 AND "record" = $3 AND "ended" IS NULL AND "expires" > $4
RETURNING "id", "collection", "record", "method", "ip", "agent", "created", "used", "expires";

-- name: refuse_tokens
INSERT INTO "_refused_tokens" ("mark", "until", "expires")
SELECT "mark", 'infinity', "expires" FROM "_session_tokens" WHERE "session" = $1
ON CONFLICT DO NOTHING;

-- name: refuse_mark
INSERT INTO "_refused_tokens" AS r ("mark", "until", "expires") VALUES ($1, $2, $3)
ON CONFLICT ("mark") DO UPDATE
   SET "until" = greatest(r."until", excluded."until"), "expires" = greatest(r."expires", excluded."expires");

-- name: marks_of
SELECT "mark" FROM "_session_tokens" WHERE "session" = $1;

-- name: forget_sessions
DELETE FROM "_sessions" WHERE "id" IN (SELECT "id" FROM "_sessions" WHERE "expires" < $1 LIMIT 5000);

-- name: forget_session_tokens
DELETE FROM "_session_tokens"
 WHERE "mark" IN (SELECT "mark" FROM "_session_tokens" WHERE "expires" < $1 LIMIT 5000);

-- name: forget_refused_tokens
DELETE FROM "_refused_tokens"
 WHERE "mark" IN (SELECT "mark" FROM "_refused_tokens" WHERE "expires" < $1 LIMIT 5000);
