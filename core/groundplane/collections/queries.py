"""Statements on the rows that keep the collections, and on the catalogue of PostgreSQL."""

from __future__ import annotations

from groundplane.db.sql import ident

# One lock for every change of the schema, whoever makes it. The number is "gpschema" read as an integer.
LOCK_KEY = int.from_bytes(b"gpschema", "big")

LOCK = f"SELECT pg_advisory_xact_lock({LOCK_KEY})"

VERSION_KEY = "schema_version"

# The version belongs to the rows only when one statement, hence one snapshot, reads both.
LOAD = """
SELECT c.*, (SELECT value FROM _params WHERE id = 'schema_version') AS version
  FROM _collections c ORDER BY c."_row"
"""

VERSION = "SELECT value FROM _params WHERE id = 'schema_version'"

BUMP_VERSION = """
INSERT INTO _params (id, value) VALUES ('schema_version', '1')
    ON CONFLICT (id) DO UPDATE SET value = (_params.value::text::bigint + 1)::text::json, updated = now()
RETURNING value
"""

COLUMNS = (
    "id",
    "system",
    "type",
    "name",
    "fields",
    "indexes",
    "listRule",
    "viewRule",
    "createRule",
    "updateRule",
    "deleteRule",
    "options",
    "created",
    "updated",
)

INSERT = (
    f"INSERT INTO _collections ({', '.join(map(ident, COLUMNS))}) "
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(COLUMNS) + 1))})"
)
UPDATE = (
    f"UPDATE _collections SET {', '.join(f'{ident(name)} = ${n}' for n, name in enumerate(COLUMNS, 1) if n > 1)} "
    "WHERE id = $1"
)
DELETE = "DELETE FROM _collections WHERE id = $1"

# Tables and views whose names a new collection must not have, in any case.
TABLE_TAKEN = """
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'public' AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
                  AND lower(c.relname) = lower($1))
"""

# Views that read one of the columns $2 of table $1 (all columns when $2 is NULL), and the views on those;
# `depth` puts a view behind everything that it reads.
DEPENDENT_VIEWS = """
WITH RECURSIVE found (view, depth) AS (
    SELECT r.ev_class, 1
      FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
     WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
       AND d.refobjid = to_regclass($1) AND r.ev_class <> d.refobjid
       AND ($2::text[] IS NULL OR d.refobjsubid IN (
             SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = d.refobjid AND a.attname = ANY ($2::text[])))
    UNION
    SELECT r.ev_class, f.depth + 1
      FROM found f JOIN pg_depend d ON d.refobjid = f.view JOIN pg_rewrite r ON r.oid = d.objid
     WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
       AND r.ev_class <> d.refobjid
)
SELECT v.relname AS name, max(f.depth) AS depth, pg_get_viewdef(v.oid) AS definition
  FROM found f JOIN pg_class v ON v.oid = f.view
 WHERE v.relkind = 'v'
 GROUP BY v.oid, v.relname ORDER BY max(f.depth), v.relname
"""

# Columns of every table and view of ours, as PostgreSQL has them.
TABLE_COLUMNS = """
SELECT c.relname AS table, c.relkind::text AS kind, a.attname AS column, a.attnotnull AS not_null,
       format_type(a.atttypid, a.atttypmod) AS type, coalesce(co.collname, '') AS collation
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_collation co ON co.oid = a.attcollation
 WHERE c.relkind IN ('r', 'v') AND c.relname = ANY ($1::text[])
 ORDER BY c.relname, a.attnum
"""

TABLE_INDEXES = """
SELECT t.relname AS table, i.relname AS index
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = 'public'
 WHERE t.relname = ANY ($1::text[]) AND x.indisvalid
"""

OWNED_REFERENCES = ("_externalAuths", "_mfas", "_otps", "_authOrigins")


def delete_owned(table: str) -> str:
    """Remove the rows of a system collection that belong to records of the collection $1."""
    return f"DELETE FROM {ident(table)} WHERE {ident('collectionRef')} = $1"


def count_rows(table: str, condition: str | None = None) -> str:
    """Count the rows of a table for which a condition over its quoted columns holds."""
    where = "" if condition is None else f" WHERE {condition}"
    return f"SELECT count(*) FROM {ident(table)}{where}"


USUAL_LIMITS = "SET LOCAL lock_timeout TO DEFAULT; SET LOCAL statement_timeout TO DEFAULT"


def limits(lock_s: int, statement_s: int) -> str:
    """How long this transaction's statements may wait for a lock, and run at all, in seconds."""
    return f"SET LOCAL lock_timeout = '{lock_s}s'; SET LOCAL statement_timeout = '{statement_s}s'"


def lock_table(table: str) -> str:
    return f"LOCK TABLE {ident(table)} IN ACCESS EXCLUSIVE MODE"


def sample(query: str, limit: int) -> str:
    """The first rows of a SELECT; `query` is one that `translate_view` wrote."""
    return f"SELECT * FROM ({query}) sample LIMIT {limit}"


def page_of_ids(table: str, where: str, order: str, limit: str, offset: str) -> str:
    return f"SELECT r.id FROM {ident(table)} r WHERE {where} ORDER BY {order} LIMIT {limit} OFFSET {offset}"


def total(table: str, where: str) -> str:
    return f"SELECT count(*) FROM {ident(table)} r WHERE {where}"


def first_ids(table: str) -> str:
    """Ids of the oldest $1 records."""
    return f"SELECT id FROM {ident(table)} ORDER BY {ident('_row')} LIMIT $1"
