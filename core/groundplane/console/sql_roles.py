"""The roles that the SQL console signs in to PostgreSQL with: they see records and no secrets, and own nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from typing import Literal, NamedTuple

import asyncpg

from groundplane.db.engine import Connection, Database, OwnConnection
from groundplane.db.sql import ident, load_queries
from groundplane.errors import Invalid
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection

QUERIES = load_queries("groundplane.console", "sql_roles.sql")

Access = Literal["read", "write"]
LOCK = 0x67707371  # "gpsq"; one process at a time changes the roles
ROUNDS = 4096  # of SCRAM; the password is random
TRIES = 3  # another process may set a password of its own in between
LOGS = "_logs"
LOG_COLUMNS = ("id", "created", "level", "message", "data")
INSERTED = "_row"
SECRETS = frozenset({"tokenKey"})

NO_ROLES = (
    "The database's user may not make roles, and statements of the console run as a role that sees no secrets. "
    "Let it, with ALTER ROLE … CREATEROLE, or use psql."
)
NOT_LET_IN = "PostgreSQL does not let the role {role} in, as which statements of the console run: allow it in pg_hba.conf."


class Grant(NamedTuple):
    """What a role may do with one column; `action` is SELECT, INSERT or UPDATE."""

    table: str
    column: str
    action: str


class SqlRoles:
    """Keeps the two roles of this database, and connects as one of them."""

    def __init__(self, db: Database, schema: SchemaCache) -> None:
        self._db = db
        self._schema = schema
        self._passwords: dict[str, str] = {}

    def readable(self) -> list[tuple[str, list[str]]]:
        """Each collection's table with its open columns, those of the system and the log last."""
        found = sorted(self._schema.current, key=lambda each: (each.system, each.name))
        return [*((each.table, open_columns(each)) for each in found), (LOGS, list(LOG_COLUMNS))]

    async def connect(self, access: Access, settings: dict[str, str]) -> OwnConnection:
        """Open a connection of its own; raises Invalid where the database does not allow such roles."""
        role = await self._ready(access)
        for _ in range(TRIES):
            password = self._passwords.get(role)
            if password is None:
                password = self._passwords[role] = await self._set_password(role)
            try:
                return await self._db.connect_as(role, password, settings)
            except asyncpg.InvalidPasswordError:
                del self._passwords[role]
            except asyncpg.InvalidAuthorizationSpecificationError as error:
                raise Invalid(NOT_LET_IN.format(role=role)) from error
        raise Invalid(NOT_LET_IN.format(role=role))

    async def _ready(self, access: Access) -> str:
        """Make the role if need be, and let it do what the schema of this moment says and nothing else."""
        schema = self._schema.current
        wanted = wanted_grants(schema, access)
        async with self._db.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            number = await connection.fetchval(QUERIES["database_number"])
            role = f"gp_sql_{access}_{number}"
            found = await connection.fetchrow(QUERIES["role"], role)
            if found is None or not found["exists"]:
                if found is None or not found["may_create"]:
                    raise Invalid(NO_ROLES)
                await connection.execute(
                    f"CREATE ROLE {ident(role)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOINHERIT"
                )
            await self._grant(connection, role, wanted, schema)
        return role

    async def _grant(self, connection: Connection, role: str, wanted: set[Grant], schema: Schema) -> None:
        home = await connection.fetchval("SELECT current_schema()")
        name = ident(role)
        rows = await connection.fetch(QUERIES["column_grants"], role)
        now = {Grant(row["table"], row["column"], row["action"]) for row in rows}
        # Columns that the schema names and the table has: a change of it may be on its way.
        there = {(row["table"], row["column"]) for row in await connection.fetch(QUERIES["columns"])}
        wanted = {each for each in wanted if (each.table, each.column) in there}
        if not await connection.fetchval("SELECT has_schema_privilege($1, $2, 'USAGE')", role, home):
            await connection.execute(f"GRANT USAGE ON SCHEMA {ident(home)} TO {name}")
        for table in sorted({each.table for each in now ^ wanted}):
            on = f"{ident(home)}.{ident(table)}"
            await connection.execute(f"REVOKE ALL ON {on} FROM {name}")
            may_delete = False
            for action in ("SELECT", "INSERT", "UPDATE"):
                columns = sorted(
                    each.column for each in wanted if (each.table, each.action) == (table, action)
                )
                if columns:
                    listed = ", ".join(map(ident, columns))
                    await connection.execute(f"GRANT {action} ({listed}) ON {on} TO {name}")
                    may_delete = action != "SELECT"
            if may_delete:
                await connection.execute(f"GRANT DELETE ON {on} TO {name}")

    async def _set_password(self, role: str) -> str:
        password = secrets.token_urlsafe(32)
        # Hashed here, so that no log of statements has it.
        await self._db.execute(f"ALTER ROLE {ident(role)} PASSWORD '{scram_secret(password)}'")
        return password


def scram_secret(password: str) -> str:
    """The password as PostgreSQL stores it (RFC 5802, RFC 7677)."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    shown = [base64.b64encode(each).decode() for each in (salt, stored, server)]
    return f"SCRAM-SHA-256${ROUNDS}:{shown[0]}${shown[1]}:{shown[2]}"


def wanted_grants(schema: Schema, access: Access) -> set[Grant]:
    """Reading records and the log without secrets; for "write", changing those of collections that are not ours."""
    found = {Grant(LOGS, column, "SELECT") for column in LOG_COLUMNS}
    for collection in schema:
        columns = open_columns(collection)
        # What is behind `*` has the order of insertion, too.
        found |= {Grant(collection.table, column, "SELECT") for column in (*columns, INSERTED)}
        if access == "write" and not collection.system and not collection.is_view:
            found |= {
                Grant(collection.table, column, each) for column in columns for each in ("INSERT", "UPDATE")
            }
    return found


def open_columns(collection: Collection) -> list[str]:
    """The columns of a collection that hold no secret: what signs somebody in is none of a statement's business."""
    return [
        field.column
        for field in collection.fields
        if field.type_name != "password" and field.name not in SECRETS
    ]
