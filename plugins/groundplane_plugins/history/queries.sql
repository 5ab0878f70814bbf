-- Statements of the history. $n are placeholders.

-- name: make_entries
-- Run in the plugin's own schema.
CREATE TABLE entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz(3) NOT NULL DEFAULT now(),
    collection text COLLATE "C" NOT NULL,
    record text COLLATE "C" NOT NULL,
    action text NOT NULL,
    caller_collection text NOT NULL,
    caller_id text NOT NULL,
    before jsonb NOT NULL,
    after jsonb NOT NULL
);
CREATE INDEX entries_of_a_record ON entries (collection, record, id);

-- name: add_secrets
-- json and not jsonb: it keeps every number and text as it was.
ALTER TABLE entries
    ALTER before TYPE json USING before::json,
    ALTER after TYPE json USING after::json,
    ADD cascade boolean NOT NULL DEFAULT false,
    ADD secrets text[] NOT NULL DEFAULT '{}';
CREATE INDEX entries_of_a_collection ON entries (collection, id);
CREATE INDEX entries_by_age ON entries (at);

-- name: add_entry
INSERT INTO x_history.entries
       (at, collection, record, action, caller_collection, caller_id, before, after, cascade, secrets)
VALUES ($1, $2, $3, $4, $5, $6, $7::json, $8::json, $9, $10);

-- name: page
-- Empty texts stand for every record and action.
SELECT id, record, at, action, caller_collection, caller_id, before::text, after::text, cascade, secrets
  FROM x_history.entries
 WHERE collection = $1 AND ($2 = '' OR record = $2) AND ($3 = '' OR action = $3)
 ORDER BY id DESC LIMIT $4 OFFSET $5;

-- name: recent
SELECT id, collection, record, at, action, caller_collection, caller_id
  FROM x_history.entries WHERE collection = ANY($1::text[]) ORDER BY id DESC LIMIT $2;

-- name: count
SELECT count(*) FROM x_history.entries
 WHERE collection = $1 AND ($2 = '' OR record = $2) AND ($3 = '' OR action = $3);

-- name: entry
SELECT action, before::text FROM x_history.entries WHERE collection = $1 AND record = $2 AND id = $3;

-- name: last_deletion
SELECT max(id) FROM x_history.entries WHERE collection = $1 AND record = $2 AND action = 'delete';

-- name: later
-- What came after entry $3 and before entry $4, newest first.
SELECT id, action, before::text FROM x_history.entries
 WHERE collection = $1 AND record = $2 AND id > $3 AND id < $4
 ORDER BY id DESC LIMIT $5;

-- name: forget_record
WITH gone AS (DELETE FROM x_history.entries WHERE collection = $1 AND record = $2 RETURNING 1)
SELECT count(*) FROM gone;

-- name: forget_old
WITH gone AS (
    DELETE FROM x_history.entries
     WHERE id IN (SELECT id FROM x_history.entries WHERE at < $1 ORDER BY at LIMIT $2) RETURNING 1)
SELECT count(*) FROM gone;
