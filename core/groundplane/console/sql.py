"""Runs statements that administrators type: confined, bounded, and rolled back unless writing was asked for."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec

from groundplane.console.sql_roles import SqlRoles
from groundplane.db.engine import OwnConnection
from groundplane.errors import Invalid, TooManyRequests

TIMEOUT_S = 5.0  # for a statement
MAX_ROWS = 1000
MAX_TEXT = 100_000  # characters of a statement
MAX_CELL = 2000  # characters of a value
MAX_ANSWER = 4_000_000  # characters of all values together
CELLS_AT_ONCE = 4000
AT_ONCE = 2  # statements in one process
MAX_NOTICES = 20
LOGGED = 4000  # characters of a statement in the log

READING = frozenset({"select", "with", "values", "table"})
SAYING = frozenset({"explain", "show"})
WRITING = frozenset({"insert", "update", "delete", "merge"})
LEAD = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|\()*")
WORD = re.compile(r"[A-Za-z]+")

ONLY_READING = "Only SELECT, WITH, VALUES, TABLE, EXPLAIN and SHOW run here; INSERT, UPDATE, DELETE and MERGE where writes are allowed."
ONE_AT_A_TIME = "One statement at a time."
SECRETS_HINT = "Passwords and keys of records cannot be read here: name the columns instead of *."

Log = Callable[[int, str, Mapping[str, Any]], None]


class SqlAnswer(msgspec.Struct, frozen=True):
    """`columns` are pairs of name and type; None in a row is NULL, and values are texts as psql shows them.

    `is_cut` says that there are more rows than these, `tag` what was done, as `UPDATE 2`.
    """

    columns: list[tuple[str, str]]
    rows: list[list[str | None]]
    is_cut: bool
    tag: str
    ms: float
    notices: list[str]


class SqlFailed(Invalid):
    """PostgreSQL refused the statement; `line` and `column` count from 1, and are 0 where nobody knows."""

    def __init__(
        self, message: str, *, line: int = 0, column: int = 0, hint: str = "", state: str = ""
    ) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.hint = hint
        self.state = state


class SqlConsole:
    """Statements run on a connection of their own, signed in as a role that owns nothing: there is no other role
    to go back to, no file, no program and no secret within reach, whatever the text does."""

    def __init__(self, roles: SqlRoles, log: Log) -> None:
        self._roles = roles
        self._log = log
        self._turns = asyncio.Semaphore(AT_ONCE)

    def tables(self) -> list[tuple[str, list[str]]]:
        """What can be read: the tables of collections with the columns that hold no secret."""
        return self._roles.readable()

    async def run(self, text: str, *, who: str, write: bool = False, explain: bool = False) -> SqlAnswer:
        """Run one statement; raises SqlFailed, Invalid for what does not run here, TooManyRequests.

        With `write` it is committed, and the log has it together with `who`; otherwise it cannot change
        anything. `explain` shows its plan and does not run it.
        """
        body, word = checked(text, write=write)
        if explain:
            write = False
            if word not in SAYING:
                body = f"EXPLAIN {body}"
        if self._turns.locked():
            raise TooManyRequests("Other statements are running: wait for them.")
        async with self._turns:
            if not write:
                return await self._run(body, text, word, write=False)
            said = {"type": "sql", "auth": who, "statement": text[:LOGGED]}
            self._log(4, "A statement of the SQL console that may write", said)
            try:
                answer = await self._run(body, text, word, write=True)
            except Invalid as error:
                self._log(4, "A statement of the SQL console was refused", said | {"error": error.message})
                raise
            self._log(4, f"A statement of the SQL console was carried out: {answer.tag}", said)
            return answer

    async def _run(self, body: str, text: str, word: str, *, write: bool) -> SqlAnswer:
        milliseconds = str(int(TIMEOUT_S * 1000))
        settings = {
            "statement_timeout": milliseconds,
            "lock_timeout": "2000",
            "idle_in_transaction_session_timeout": milliseconds,
            "default_transaction_read_only": "off" if write else "on",
            "application_name": "groundplane sql",
        }
        notices: list[str] = []
        # A role's connection is for one statement: what it sets, locks or prepares is gone with it.
        connection = await self._roles.connect("write" if write else "read", settings)
        try:
            connection.add_log_listener(lambda _, message: notices.append(str(message)))
            async with asyncio.timeout(TIMEOUT_S + 5):
                return await one_statement(connection, body, text, word, write=write, notices=notices)
        except TimeoutError:
            raise SqlFailed(f"It took longer than {TIMEOUT_S:g} s and was stopped.") from None
        finally:
            connection.terminate()


def checked(text: str, *, write: bool) -> tuple[str, str]:
    """The statement without its end mark, and its first word; raises Invalid for what does not run here."""
    if len(text) > MAX_TEXT or "\x00" in text:
        raise Invalid("The statement is too long, or no text.")
    body = text.rstrip().rstrip(";").rstrip()
    found = WORD.match(body, LEAD.match(body).end())  # type: ignore[union-attr]  # it matches everywhere
    word = found[0].lower() if found is not None else ""
    if not body.strip():
        raise Invalid("There is nothing to run.")
    if word not in READING | SAYING and not (write and word in WRITING):
        raise Invalid(ONLY_READING)
    return body, word


async def one_statement(
    connection: OwnConnection, body: str, text: str, word: str, *, write: bool, notices: list[str]
) -> SqlAnswer:
    offset = len(body) - len(text.rstrip().rstrip(";").rstrip())  # of what was put before
    transaction = connection.transaction(readonly=not write)
    try:
        await transaction.start()
        # From the first snapshot on, nothing makes the transaction one that writes.
        await connection.execute("SELECT 1")
        began = time.monotonic()
        statement = await connection.prepare(body)
        columns = [(each.name, each.type.name) for each in statement.get_attributes()]
        if word in READING and not write and not offset and columns:
            before, after = as_texts(columns)
            statement = await connection.prepare(f"{before}{body}{after}")
            offset = len(before)
        if columns:
            rows, is_cut = await fetched(statement, len(columns))
            tag = f"{word.upper()} {len(rows)}{'+' if is_cut else ''}"
        else:
            rows, is_cut = [], False
            await statement.fetch()
            tag = statement.get_statusmsg() or word.upper()
        took = (time.monotonic() - began) * 1000
        if write:
            await transaction.commit()
        return SqlAnswer(columns, rows, is_cut, tag, took, notices[:MAX_NOTICES])
    except asyncpg.PostgresError as error:
        raise failure(error, text, offset) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError, OSError) as error:
        raise SqlFailed(f"The answer cannot be shown: {error}") from error


def as_texts(columns: list[tuple[str, str]]) -> tuple[str, str]:
    """What goes around a query so that PostgreSQL itself makes texts of its values, and short ones."""
    names = [f"c{number}" for number in range(len(columns))]
    texts = [
        "''" if kind == "void" else f"left({name}::text, {MAX_CELL})"
        for name, (_, kind) in zip(names, columns, strict=True)
    ]
    return f"SELECT {', '.join(texts)} FROM (", f"\n) AS q({', '.join(names)})"  # noqa: S608  # our own names


async def fetched(statement: Any, width: int) -> tuple[list[list[str | None]], bool]:
    """The rows up to what one answer may hold, and whether there are more."""
    cursor = await statement.cursor()
    step = max(1, min(MAX_ROWS + 1, CELLS_AT_ONCE // max(1, width)))
    rows: list[list[str | None]] = []
    size = 0
    while len(rows) <= MAX_ROWS:
        found = await cursor.fetch(min(step, MAX_ROWS + 1 - len(rows)))
        if not found:
            return rows, False
        for each in found:
            row = [None if value is None else str(value)[:MAX_CELL] for value in tuple(each)]
            rows.append(row)
            size += sum(len(value) for value in row if value)
        if size > MAX_ANSWER:
            return rows[:MAX_ROWS], True
    return rows[:MAX_ROWS], True


def failure(error: asyncpg.PostgresError, text: str, offset: int) -> SqlFailed:
    """PostgreSQL's sentence, at its place in the text that was typed."""
    state = error.sqlstate or ""
    message = str(getattr(error, "message", None) or error)
    hint = str(getattr(error, "hint", None) or "")
    if state == "57014":
        message = f"It took longer than {TIMEOUT_S:g} s and was stopped."
    elif "multiple commands" in message:
        message = ONE_AT_A_TIME
    elif state == "42501":
        hint = hint or SECRETS_HINT
    line = column = 0
    with suppress(TypeError, ValueError):
        at = int(str(getattr(error, "position", None))) - 1 - offset
        if 0 <= at <= len(text):
            line = text.count("\n", 0, at) + 1
            column = at - text.rfind("\n", 0, at)
    return SqlFailed(message, line=line, column=column, hint=hint, state=state)
