-- Statements about files that are to be removed, and about how many there are. $n are placeholders.

-- name: expect
-- One row for each upload that is about to be stored; the values are arrays.
INSERT INTO "_file_removals" ("id", "collection", "record", "names", "is_upload", "due", "created")
SELECT n.id, n.collection, n.record, ARRAY[n.name], true, n.due, n.created
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
       n (id, collection, record, name, due, created)
RETURNING "id";

-- name: add
INSERT INTO "_file_removals" ("id", "collection", "record", "names", "is_upload", "due", "created")
SELECT n.id, n.collection, n.record, ARRAY(SELECT json_array_elements_text(n.names)), false, $2, $3
  FROM json_to_recordset($1::json) n (id text, collection text, record text, names json);

-- name: forget
DELETE FROM "_file_removals" WHERE "id" = ANY($1::text[]);

-- name: claim
-- Take what is due, and leave it alone until $2: who dies over it leaves it to the next one.
UPDATE "_file_removals" SET "due" = $2, "attempts" = "attempts" + 1
 WHERE "id" IN (SELECT "id" FROM "_file_removals" WHERE "due" <= $1
                 ORDER BY "due" FOR UPDATE SKIP LOCKED LIMIT $3)
RETURNING "id", "collection", "record", "names", "is_upload", "attempts", "created";

-- name: failed
UPDATE "_file_removals" SET "due" = $2, "error" = $3 WHERE "id" = $1;

-- name: is_due
SELECT EXISTS (SELECT 1 FROM "_file_removals" WHERE "due" <= $1);

-- name: late
-- What could not be removed although it was tried.
SELECT count(*) AS "count", min("created") AS "oldest", max("error") AS "error"
  FROM "_file_removals" WHERE "error" <> '';

-- name: usage
-- The row without a collection comes first: it says when all of them were counted.
SELECT "collection", "files", "bytes", "thumbs", "thumb_bytes", "measured"
  FROM "_file_usage" ORDER BY "collection" <> '', "bytes" + "thumb_bytes" DESC, "collection";

-- name: last_count
SELECT "measured", "took_s" FROM "_file_usage" WHERE "collection" = '';

-- name: clear_usage
DELETE FROM "_file_usage";

-- name: keep_usage
INSERT INTO "_file_usage" ("collection", "files", "bytes", "thumbs", "thumb_bytes", "measured", "took_s")
SELECT n.*, $6, $7
  FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) n;
