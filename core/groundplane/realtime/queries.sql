-- Statements of the log of changes.
--
-- A reader keeps the snapshot of its last reading. What committed since then is what that snapshot does not see
-- and the present one does: nothing is missed and nothing read twice, whatever the order of the commits. Two
-- changes of one record are in the order of "seq", because the second waits for the first one's row lock.

-- name: head
SELECT pg_current_snapshot()::text;

-- name: since
SELECT now.snapshot, e."seq", e."at", e."collection", e."record", e."action", e."verdict"
  FROM (SELECT pg_current_snapshot()::text AS snapshot) now
  LEFT JOIN LATERAL (
    SELECT * FROM "_events"
     WHERE "xid" >= pg_snapshot_xmin($1::text::pg_snapshot)
       AND NOT pg_visible_in_snapshot("xid", $1::text::pg_snapshot)
       AND "collection" = ANY($2)
     ORDER BY "seq" LIMIT $3
  ) e ON true
 ORDER BY e."seq";

-- name: between
-- What a client has missed: not seen by $1 and seen by $2, but of what $3 sees only what comes behind $4.
SELECT $2::text AS snapshot, "seq", "at", "collection", "record", "action", "verdict" FROM "_events"
 WHERE "xid" >= pg_snapshot_xmin($1::text::pg_snapshot)
   AND NOT pg_visible_in_snapshot("xid", $1::text::pg_snapshot)
   AND pg_visible_in_snapshot("xid", $2::text::pg_snapshot)
   AND (NOT pg_visible_in_snapshot("xid", $3::text::pg_snapshot) OR "seq" > $4)
   AND "collection" = ANY($5)
 ORDER BY "seq" LIMIT $6;

-- name: loaded
INSERT INTO "_events" ("collection", "record", "action", "row") VALUES ($1, '', 'load', 'null');

-- name: interest
SELECT "collection", "deep" FROM "_event_interest" WHERE "until" > now();

-- name: want
INSERT INTO "_event_interest" ("collection", "until", "deep")
SELECT collection, now() + make_interval(secs => seconds), deep
  FROM unnest($1::text[], $2::float8[], $3::boolean[]) AS w(collection, seconds, deep)
    ON CONFLICT ("collection") DO UPDATE
   SET "until" = greatest("_event_interest"."until", excluded."until"),
       "deep" = "_event_interest"."deep" AND "_event_interest"."until" > now() OR excluded."deep";

-- name: forget_interest
DELETE FROM "_event_interest" WHERE "until" < now();

-- name: forget
DELETE FROM "_events" WHERE "at" < now() - make_interval(secs => $1)
   AND NOT "collection" = ANY($2);

-- name: forget_of
DELETE FROM "_events" WHERE "at" < now() - make_interval(secs => $1) AND "collection" = $2;
