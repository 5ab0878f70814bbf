"""Kept connections that answer waiting requests of one shape together, with one statement.

A pooled connection costs a short statement more than the statement itself. A lane keeps a few connections and
their prepared statements. A lone request goes out at the end of this turn of the loop, as it is. While every
connection is busy requests wait, and the next free connection takes all that wait for the same shape:
`… FROM unnest($1::text[], …) WITH ORDINALITY q CROSS JOIN LATERAL (the statement) r`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg

from groundplane.db.failures import SchemaChanged, StatementTimeout, translated
from groundplane.db.sql import ident
from groundplane.errors import GroundplaneError, Unavailable

log = logging.getLogger(__name__)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Statement: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"
Values: TypeAlias = tuple[Any, ...]
Alone: TypeAlias = Callable[[str, Values], Awaitable["asyncpg.Record | None"]]
Waiter: TypeAlias = "asyncio.Future[asyncpg.Record | None]"

MAX_WAITING = 4096  # requests; more of them would wait longer than their clients do
MAX_TOGETHER = 64  # requests in one statement
MAX_STATEMENTS = 512  # prepared on one connection
SLOW_FOR_S = 30.0  # how long a shape that was too slow for the lane stays out of it
MEMBERS = "gp_members"
# Quoted names and texts, which are left as they are, or a placeholder.
PLACEHOLDER = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([0-9]+)""")


class Shape:
    """A statement that many requests have in common; it gives at most one row for each.

    `text` has the request's own values as $1 … $`slots`, then those of `constants`, the same for all.
    Shapes are compared by identity: make each once.

    With `inserts` the slots are arrays already, of any length, and the statement returns for each row that it
    wrote the first of its values (unique among all requests). Who gets no row, or shares the statement with
    one that fails, has written nothing: nobody is tried again here, because that would not be a reading.
    """

    __slots__ = ("constants", "inserts", "slots", "slow_until", "text", "together")

    def __init__(
        self,
        text: str,
        slots: int,
        constants: Values = (),
        *,
        together: int = MAX_TOGETHER,
        inserts: bool = False,
    ) -> None:
        self.text = text
        self.slots = slots
        self.constants = constants
        self.together = together
        self.inserts = inserts
        self.slow_until = 0.0


class Prepared:
    """One shape on one connection: the plain statement, and the one for several requests once it is needed."""

    __slots__ = ("many", "single")

    def __init__(self, single: Statement) -> None:
        self.single = single
        self.many: Statement | None = None


class Slot:
    """A place for a connection, opened when it is first needed and again after it was lost."""

    __slots__ = ("connection", "prepared")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.prepared: OrderedDict[Shape, Prepared] = OrderedDict()


class Lane:
    """Answers requests for single rows over a few connections of its own.

    `connect` opens a connection. `alone` runs one statement on a connection from elsewhere: what failed as
    part of several is tried again there, and so is what takes longer than the lane's statement timeout, so
    that nothing slow or broken holds up the others.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], alone: Alone, *, size: int = 2) -> None:
        self._connect = connect
        self._alone = alone
        self._idle = [Slot() for _ in range(size)]
        self._slots = tuple(self._idle)
        # Requests by shape, oldest shape first; equal values share one place.
        self._waiting: OrderedDict[Shape, dict[Values, list[Waiter]]] = OrderedDict()
        self._count = 0
        self._is_called = False
        self._is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def row(self, shape: Shape, values: Values) -> asyncpg.Record | None:
        """The row of the shape for these values (all hashable); errors are those of `Database`.

        Raises Unavailable when too many wait already. A row may have one more column than the shape.
        """
        if shape.slow_until and time.monotonic() < shape.slow_until:
            if shape.inserts:
                return None
            return await self._alone(shape.text, (*values, *shape.constants))
        if self._is_closed or self._count >= MAX_WAITING:
            raise Unavailable()
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        members = self._waiting.get(shape)
        if members is None:
            members = self._waiting[shape] = {}
        sharing = members.get(values)
        if sharing is None:
            members[values] = [waiter]
        else:
            sharing.append(waiter)
        self._count += 1
        if self._idle and not self._is_called:
            self._is_called = True
            loop.call_soon(self._send)
        return await waiter

    async def close(self) -> None:
        """Close the connections; who still waits gets Unavailable."""
        self._is_closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for members in self._waiting.values():
            for waiters in members.values():
                fail(waiters, Unavailable())
        self._waiting.clear()
        for slot in self._slots:
            if slot.connection is not None:
                slot.prepared.clear()
                slot.connection.terminate()
                slot.connection = None

    def _send(self) -> None:
        """Give every idle connection the oldest shape's requests; a shape that is not done goes to the end."""
        self._is_called = False
        while self._idle and self._waiting:
            shape, members = self._waiting.popitem(last=False)
            taken: dict[Values, list[Waiter]] = {}
            while members and len(taken) < shape.together:
                values = next(iter(members))
                waiters = members.pop(values)
                self._count -= len(waiters)
                # Whose client has gone is not asked for.
                if wanted := [waiter for waiter in waiters if not waiter.done()]:
                    taken[values] = wanted
            if members:
                self._waiting[shape] = members
            if taken:
                task = asyncio.create_task(self._serve(self._idle.pop(), shape, taken))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, slot: Slot, shape: Shape, members: dict[Values, list[Waiter]]) -> None:
        try:
            await self._answer(slot, shape, members)
        except BaseException as error:
            for waiters in members.values():
                fail(waiters, Unavailable())
            if isinstance(error, asyncio.CancelledError):
                raise
            log.exception("A lane failed")
        finally:
            self._idle.append(slot)
            if self._waiting and not self._is_closed:
                self._send()

    async def _answer(self, slot: Slot, shape: Shape, members: dict[Values, list[Waiter]]) -> None:
        try:
            await self._connected(slot)
        except (
            GroundplaneError,
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
        ) as error:
            # There may be a connection elsewhere, and if not, that is where one hears why.
            self._elsewhere(shape, members, error)
            return
        try:
            prepared = await self._prepared(slot, shape)
            if shape.inserts:
                arrays = map(list, zip(*members, strict=True))
                written = {row[0]: row for row in await prepared.single.fetch(*arrays, *shape.constants)}
                for values, waiters in members.items():
                    settle(waiters, written.get(values[0]))
                return
            if len(members) == 1:
                [(values, waiters)] = members.items()
                found = await prepared.single.fetch(*values, *shape.constants)
                settle(waiters, found[0] if found else None)
                return
            columns = zip(*members, strict=True) if shape.slots else ()
            if prepared.many is None:
                connection = slot.connection
                if connection is None:
                    raise Unavailable()
                prepared.many = await connection.prepare(together(shape, prepared.single))
            rows = {row[-1]: row for row in await prepared.many.fetch(*map(list, columns), *shape.constants)}
            for position, waiters in enumerate(members.values(), 1):
                settle(waiters, rows.get(position))
        except Exception as error:  # noqa: BLE001  # of the driver, or a value that it cannot write
            slot.prepared.pop(shape, None)
            if slot.connection is None or slot.connection.is_closed():
                # Whether the database is away or only this connection, the next one tells.
                slot.connection = None
                slot.prepared.clear()
            elif isinstance(error, asyncpg.QueryCanceledError) and len(members) == 1:
                # Several together may just have met a busy machine.
                shape.slow_until = time.monotonic() + SLOW_FOR_S
            self._retry(shape, members, error)

    def _retry(self, shape: Shape, members: dict[Values, list[Waiter]], error: Exception) -> None:
        """Let each request have its own answer, away from the lane; a statement alone has had its own."""
        known = translated(error)
        if shape.inserts and (known is None or type(known) is Unavailable):
            # Without an answer nobody knows whether the rows are there; a refused statement wrote none.
            is_final = True
        else:
            is_final = (
                len(members) == 1
                and not shape.inserts
                and not isinstance(known, SchemaChanged | StatementTimeout | Unavailable)
            )
        if not is_final:
            self._elsewhere(shape, members, error)
            return
        for waiters in members.values():
            fail(waiters, known or error)

    def _elsewhere(self, shape: Shape, members: dict[Values, list[Waiter]], error: Exception) -> None:
        """Ask for each by itself on other connections; who wanted to insert hears that nothing was written."""
        log.debug("Requests leave a lane: %s", error)
        for values, waiters in members.items():
            if shape.inserts:
                settle(waiters, None)
                continue
            task = asyncio.create_task(self._by_itself(shape, values, waiters))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _by_itself(self, shape: Shape, values: Values, waiters: list[Waiter]) -> None:
        try:
            settle(waiters, await self._alone(shape.text, (*values, *shape.constants)))
        except asyncio.CancelledError:
            fail(waiters, Unavailable())
            raise
        except Exception as error:  # noqa: BLE001  # it belongs to those who wait
            fail(waiters, error)

    async def _connected(self, slot: Slot) -> None:
        if slot.connection is None or slot.connection.is_closed():
            slot.prepared.clear()
            slot.connection = None
            slot.connection = await self._connect()

    async def _prepared(self, slot: Slot, shape: Shape) -> Prepared:
        prepared = slot.prepared.get(shape)
        if prepared is None:
            if slot.connection is None:
                raise Unavailable()
            prepared = slot.prepared[shape] = Prepared(await slot.connection.prepare(shape.text))
            if len(slot.prepared) > MAX_STATEMENTS:
                slot.prepared.popitem(last=False)
        return prepared


def together(shape: Shape, single: Statement) -> str:
    """The statement for several requests: the values in arrays, the request's number as the last column."""
    types = single.get_parameters()[: shape.slots]
    arrays = ", ".join(
        f"${position}::{ident(each.schema)}.{ident(each.name)}[]" for position, each in enumerate(types, 1)
    )
    names = ", ".join([*(f"a{position}" for position in range(1, shape.slots + 1)), "number"])

    def mark(match: re.Match[str]) -> str:
        position = int(match[1] or 0)
        return f"{MEMBERS}.a{position}" if 0 < position <= shape.slots else match[0]

    statement = PLACEHOLDER.sub(mark, shape.text)
    return (
        f"SELECT found.*, {MEMBERS}.number FROM unnest({arrays}) WITH ORDINALITY {MEMBERS}({names})"  # noqa: S608
        f" CROSS JOIN LATERAL ({statement}) found"
    )


def settle(waiters: list[Waiter], row: asyncpg.Record | None) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(row)


def fail(waiters: list[Waiter], error: BaseException) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
