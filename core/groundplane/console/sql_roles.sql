-- Statements about the roles of the SQL console. $n are placeholders.

-- name: database_number
SELECT oid::bigint FROM pg_database WHERE datname = current_database();

-- name: role
SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1) AS "exists", rolsuper OR rolcreaterole AS "may_create"
  FROM pg_roles WHERE rolname = current_user;

-- name: columns
SELECT c.relname AS "table", a.attname AS "column"
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm');

-- name: column_grants
-- What the role was granted itself, not what everybody may.
WITH role AS (SELECT oid FROM pg_roles WHERE rolname = $1)
SELECT c.relname AS "table", a.attname AS "column", each.privilege_type AS "action"
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  CROSS JOIN LATERAL (
    SELECT acl.privilege_type FROM aclexplode(a.attacl) acl WHERE acl.grantee = (SELECT oid FROM role)
    UNION
    SELECT acl.privilege_type FROM aclexplode(c.relacl) acl
     WHERE acl.grantee = (SELECT oid FROM role) AND acl.privilege_type <> 'DELETE'
  ) each
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm');
