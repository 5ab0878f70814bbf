"""A connection that is kept open with its prepared statements, and opened again after it was lost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import asyncpg

from groundplane.errors import Unavailable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Statement: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"
Connect: TypeAlias = Callable[[], Awaitable[Connection]]

T = TypeVar("T")

MAX_STATEMENTS = 512  # prepared on one connection


class Kept:
    """A place for one connection; whoever has it must be the only one.

    `opening` is for connections through a pooler that lends a session for one transaction only: what begins
    a transaction with our settings. Then each statement has a transaction of its own and nothing is prepared.
    """

    __slots__ = ("_connect", "_connection", "_opening", "_prepared")

    def __init__(self, connect: Connect, opening: str = "") -> None:
        self._connect = connect
        self._opening = opening
        self._connection: Connection | None = None
        self._prepared: OrderedDict[str, Statement] = OrderedDict()

    async def open(self) -> None:
        """Connect unless there is a connection; raises what the driver or the system raises."""
        if self._connection is None or self._connection.is_closed():
            self._prepared.clear()
            self._connection = None
            self._connection = await self._connect()

    @property
    def is_lost(self) -> bool:
        return self._connection is None or self._connection.is_closed()

    async def fetch(self, text: str, args: Iterable[Any]) -> list[asyncpg.Record]:
        """Run a statement by itself, committed when this returns; raises the driver's errors."""
        statement = self._prepared.get(text)
        if statement is None:
            if self._opening:
                return await self._within(lambda connection: connection.fetch(text, *args))
            statement = await self._prepare(text)
        return await statement.fetch(*args)

    async def types(self, text: str) -> tuple[asyncpg.Type, ...]:
        """The types of a statement's parameters."""
        if self._opening:
            return (await self._within(lambda connection: connection.prepare(text))).get_parameters()
        return (self._prepared.get(text) or await self._prepare(text)).get_parameters()

    def forget(self, *texts: str) -> None:
        """Prepare these statements again when they come the next time; everything if the connection is lost."""
        for text in texts:
            self._prepared.pop(text, None)
        if self.is_lost:
            self._connection = None
            self._prepared.clear()

    def close(self) -> None:
        """Cut the connection."""
        self._prepared.clear()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _prepare(self, text: str) -> Statement:
        if self._connection is None:
            raise Unavailable()
        statement = self._prepared[text] = await self._connection.prepare(text)
        if len(self._prepared) > MAX_STATEMENTS:
            self._prepared.popitem(last=False)
        return statement

    async def _within(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        connection = self._connection
        if connection is None:
            raise Unavailable()
        await connection.execute(self._opening)
        try:
            done = await work(connection)
            await connection.execute("COMMIT")
        except BaseException:
            # Nobody may find this transaction open; without a connection the server ends it itself.
            if not connection.is_closed() and connection.is_in_transaction():
                await connection.execute("ROLLBACK")
            raise
        return done
