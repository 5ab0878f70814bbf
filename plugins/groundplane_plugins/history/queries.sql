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

-- name: add_entry
INSERT INTO x_history.entries (collection, record, action, caller_collection, caller_id, before, after)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb);

-- name: read_entries
SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS"Z"') AS at,
       action, caller_collection, caller_id, before::text AS before, after::text AS after
  FROM x_history.entries
 WHERE collection = $1 AND record = $2
 ORDER BY id DESC
 LIMIT $3;
