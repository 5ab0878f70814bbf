"""The driver's errors as ours, decided in one table by SQLSTATE."""

from __future__ import annotations

import logging

import asyncpg

from groundplane.errors import GroundplaneError, Invalid, Unavailable

log = logging.getLogger(__name__)


class UniqueViolation(GroundplaneError):
    """A row with the same values in a unique index exists; names are the physical ones."""

    def __init__(self, constraint: str, table: str) -> None:
        super().__init__()
        self.constraint = constraint
        self.table = table


class ConstraintViolation(GroundplaneError):
    """A constraint other than a unique one refused the row (not null, check, foreign key)."""

    def __init__(self, constraint: str, table: str, column: str) -> None:
        super().__init__()
        self.constraint = constraint
        self.table = table
        self.column = column


class BadValue(Invalid):
    """A value does not fit its column's type: out of range, a NUL byte, not a date."""


class LimitExceeded(Invalid):
    """A limit of PostgreSQL was passed: an index entry too big, too many columns, an expression too deep."""


class StatementTimeout(GroundplaneError):
    """The statement ran longer than `database.statement_timeout_s`, or its request was cancelled."""

    message = "The request took too long and was stopped."


class StatementRefused(GroundplaneError):
    """PostgreSQL refused the statement itself: a missing function, an operator without these types.

    Behind a client's own expression that is a bad request, anywhere else a mistake of ours, so it is logged.
    `sqlstate` and `detail` (PostgreSQL's sentence) are for superusers and logs, never for clients.
    """

    def __init__(self, sqlstate: str, detail: str) -> None:
        super().__init__()
        self.sqlstate = sqlstate
        self.detail = detail


class SchemaChanged(Unavailable):
    """A table or column the statement names is gone or has another type: the collection changed meanwhile.

    `detail` is PostgreSQL's sentence. The same request succeeds or fails for good when tried again.
    """

    def __init__(self, detail: str = "") -> None:
        super().__init__()
        self.detail = detail


class Busy(Unavailable):
    """Another transaction was in the way (deadlock, serialisation, lock timeout); trying again helps."""


# A SQLSTATE of a class says "this code"; two characters say the whole class.
REFUSED_CLASSES = frozenset({"0A", "2B", "42", "44"})
UNAVAILABLE_CLASSES = frozenset({"08", "28", "3D", "53", "57", "58", "F0", "XX"})
BUSY_STATES = frozenset({"40001", "40P01", "55P03", "55006", "40003"})
SCHEMA_STATES = frozenset({"42P01", "42703", "3F000"})
QUERY_CANCELED = "57014"
# A statement's plan outlived the table's shape; asyncpg retries outside of transactions only.
STALE_PLAN = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)


def translated(error: BaseException) -> GroundplaneError | None:
    """Return our error for one that came out of asyncpg, None for one that is not the database's."""
    if isinstance(error, STALE_PLAN):
        return SchemaChanged(str(error))
    if isinstance(error, asyncpg.PostgresError):
        return by_sqlstate(error)
    if isinstance(error, asyncpg.DataError):
        # asyncpg could not encode an argument; the value came from outside.
        return BadValue()
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError):
        # A closed connection, a closing pool, nobody listening, no free connection in time.
        return Unavailable()
    return None


def by_sqlstate(error: asyncpg.PostgresError) -> GroundplaneError:
    state = error.sqlstate or ""
    family = state[:2]
    # The attributes come from the server's answer and are absent when it sent none.
    constraint = getattr(error, "constraint_name", None) or ""
    table = getattr(error, "table_name", None) or ""
    if state in ("23505", "23P01"):
        return UniqueViolation(constraint, table)
    if family == "23":
        return ConstraintViolation(constraint, table, getattr(error, "column_name", None) or "")
    if state == QUERY_CANCELED:
        return StatementTimeout()
    if state in BUSY_STATES:
        return Busy()
    if state in SCHEMA_STATES:
        return SchemaChanged(str(error))
    if family in ("22", "21"):
        return BadValue()
    if family == "54":
        return LimitExceeded()
    if family in UNAVAILABLE_CLASSES:
        log.warning("The database refused work: %s (%s)", error, state)
        return Unavailable()
    if family not in REFUSED_CLASSES:
        log.warning("A statement failed for an unexpected reason: %s (%s)", error, state)
        return StatementRefused(state, str(error))
    log.info("A statement was refused: %s (%s)", error, state)
    return StatementRefused(state, str(error))
