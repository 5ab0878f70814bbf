-- Statements of the settings, which are one row of the parameters.

-- name: read
SELECT value::text AS value, updated FROM _params WHERE id = 'settings';

-- name: read_locked
-- Two changes at once must not lose each other: the second merges into what the first has written.
SELECT value::text AS value, updated FROM _params WHERE id = 'settings' FOR UPDATE;

-- name: add_defaults
INSERT INTO _params (id, value) VALUES ('settings', $1) ON CONFLICT (id) DO NOTHING;

-- name: store
-- `updated` is the version of the settings, so it moves on even within one millisecond.
INSERT INTO _params (id, value) VALUES ('settings', $1)
    ON CONFLICT (id) DO UPDATE
       SET value = EXCLUDED.value,
           updated = greatest(clock_timestamp(), _params.updated + interval '1 millisecond')
RETURNING updated;
