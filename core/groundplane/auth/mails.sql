-- Statements of the sign-in flows that send mails.

-- name: count
-- One more since the window began; a window that is over begins anew.
INSERT INTO "_sign_in_counters" AS c ("key", "times", "expires") VALUES ($1, 1, $2::timestamptz + $3::interval)
    ON CONFLICT ("key") DO UPDATE
       SET "times" = CASE WHEN c."expires" <= $2 THEN 1 ELSE c."times" + 1 END,
           "expires" = CASE WHEN c."expires" <= $2 THEN excluded."expires" ELSE c."expires" END
RETURNING "times";

-- name: is_counted
SELECT EXISTS (SELECT 1 FROM "_sign_in_counters" WHERE "key" = $1 AND "expires" > $2);

-- name: clear_count
DELETE FROM "_sign_in_counters" WHERE "key" = $1;

-- name: old_counters
DELETE FROM "_sign_in_counters" WHERE "expires" <= $1;

-- name: newest_otp
-- The newest of a record's unexpired codes, when there are at least $4.
SELECT "id" FROM "_otps" AS o
 WHERE "collectionRef" = $1 AND "recordRef" = $2 AND "created" >= $3
   AND $4 <= (SELECT count(*) FROM "_otps" WHERE "collectionRef" = $1 AND "recordRef" = $2 AND "created" >= $3)
 ORDER BY "created" DESC, "_row" DESC LIMIT 1;

-- name: set_otp
UPDATE "_otps" SET "password" = $2, "created" = $3, "updated" = $3 WHERE "id" = $1 RETURNING "id";

-- name: find_otp
SELECT "collectionRef", "recordRef", "password", "sentTo", "created" FROM "_otps" WHERE "id" = $1;

-- name: sent_otp
UPDATE "_otps" SET "sentTo" = $2, "updated" = $3 WHERE "id" = $1 AND "sentTo" = '' RETURNING "id";

-- name: take_otp
-- Two requests with the same code must not both go through: who deletes the row, wins.
DELETE FROM "_otps" WHERE "id" = $1 RETURNING "id";
