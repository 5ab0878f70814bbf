"""Kept connections that write waiting rows of one shape together: one statement, one commit.

A lone request goes out at the end of this turn of the loop. What comes while its shape is being written waits
for that statement to return, or a moment at most, and then goes together: fewer and larger statements cost a
fraction of the CPU and of the waiting for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from functools import partial
from typing import Any, TypeAlias

import asyncpg

from groundplane.db.failures import Busy, SchemaChanged, StatementTimeout, translated
from groundplane.db.kept import Connect, Kept
from groundplane.db.lanes import Departed, Values, Waiter, unless_departed
from groundplane.errors import GroundplaneError, Unavailable

log = logging.getLogger(__name__)

Members: TypeAlias = "dict[Any, tuple[Values, Waiter]]"

MAX_WAITING = 4096  # requests; more of them would wait longer than their clients do
MAX_TOGETHER = 128  # rows in one statement
PATIENCE_S = 0.005  # how long a request waits for the statement before it, while a connection is idle
SLOW_FOR_S = 30.0  # how long a shape that was too slow for the lane stays out of it


class WriteShape:
    """A statement that writes any number of rows, each by the first of its values.

    `text` has arrays as its parameters, one for each of a row's values, then `constants`, the same for all.
    It returns, for each row that it wrote, a record that begins with the row's first value. Who gets no record
    has written nothing.

    `why` is a statement with the same parameters that only reads. It is asked about the rows that were not
    written, and what it returns, records of its own that begin with the row's first value, is their answer.

    Shapes are compared by identity: make each once.
    """

    __slots__ = ("constants", "slow_until", "text", "together", "why")

    def __init__(
        self, text: str, constants: Values = (), *, together: int = MAX_TOGETHER, why: str = ""
    ) -> None:
        self.text = text
        self.why = why
        self.constants = constants
        self.together = together
        self.slow_until = 0.0


class WriteLane:
    """Writes rows over a few connections of its own.

    An answer of None means that nothing was written and that another way may know why. Nobody is tried again
    here unless it is certain that nothing was written: a refused statement is split, so that one bad row does
    not send all the others another way.
    """

    def __init__(
        self, connect: Connect, *, size: int = 2, patience_s: float = PATIENCE_S, opening: str = ""
    ) -> None:
        self._idle = [Kept(connect, opening) for _ in range(size)]
        self._slots = tuple(self._idle)
        self._patience_s = patience_s
        # By shape, oldest first, and then by key: two writes to one row never share a statement.
        self._waiting: OrderedDict[WriteShape, Members] = OrderedDict()
        self._behind: list[tuple[WriteShape, Values, Waiter]] = []
        self._halves: list[tuple[WriteShape, Members]] = []
        self._busy: dict[WriteShape, int] = {}
        self._count = 0
        self._is_called = False
        self._is_closed = False
        self._impatience: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many requests wait for their rows to be written."""
        return self._count

    def ask(self, shape: WriteShape, values: Values) -> asyncio.Future[asyncpg.Record | None]:
        """Write a row; the future gets the record, None when nothing was written, or an error of `Database`.

        Unavailable there means that nobody knows. It is raised at once when too many wait already.
        """
        waiter: asyncio.Future[asyncpg.Record | None] = asyncio.get_running_loop().create_future()
        if self.is_slow(shape):
            waiter.set_result(None)
        else:
            self.put(shape, values, waiter)
        return waiter

    def is_slow(self, shape: WriteShape) -> bool:
        """Whether the shape stays out of the lane for now."""
        return shape.slow_until != 0.0 and time.monotonic() < shape.slow_until

    def put(self, shape: WriteShape, values: Values, waiter: Waiter) -> None:
        """`ask`, for who brings along whom to tell; not for a shape that is slow."""
        if self._is_closed or self._count >= MAX_WAITING:
            raise Unavailable()
        self._count += 1
        self._queue(shape, values, waiter)
        if self._idle and not self._is_called:
            if shape not in self._busy:
                self._is_called = True
                asyncio.get_running_loop().call_soon(self._send)
            elif self._impatience is None:
                self._impatience = asyncio.get_running_loop().call_later(self._patience_s, self._send)

    async def row(self, shape: WriteShape, values: Values) -> asyncpg.Record | None:
        """`ask`, awaited."""
        waiter = self.ask(shape, values)
        return await unless_departed(waiter, partial(self.withdraw, shape, values, waiter))

    def withdraw(self, shape: WriteShape, values: Values, waiter: Waiter) -> None:
        """Take a write back if its statement was not sent; who waits gets Departed."""
        members = self._waiting.get(shape, {})
        first = members.get(values[0])
        if first is not None and first[1] is waiter:
            del members[values[0]]
            if not members:
                del self._waiting[shape]
            self._move_up()
        elif any(each is waiter for _, _, each in self._behind):
            self._behind = [each for each in self._behind if each[2] is not waiter]
        else:
            return
        self._count -= 1
        fail(waiter, Departed())

    async def close(self) -> None:
        """Close the connections; who still waits gets Unavailable."""
        self._is_closed = True
        self._forget_impatience()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        left = [waiter for members in self._waiting.values() for _, waiter in members.values()]
        left += [waiter for _, members in self._halves for _, waiter in members.values()]
        left += [waiter for _, _, waiter in self._behind]
        self._waiting.clear()
        self._halves.clear()
        self._behind.clear()
        for waiter in left:
            fail(waiter, Unavailable())
        for slot in self._slots:
            slot.close()

    def _queue(self, shape: WriteShape, values: Values, waiter: Waiter) -> None:
        members = self._waiting.get(shape)
        if members is None:
            members = self._waiting[shape] = {}
        if values[0] in members:
            self._behind.append((shape, values, waiter))
        else:
            members[values[0]] = values, waiter

    def _send(self) -> None:
        """Give every idle connection the oldest shape's rows; a shape that is not done goes to the end."""
        self._is_called = False
        self._forget_impatience()
        while self._idle and (self._halves or self._waiting):
            if self._halves:
                shape, members = self._halves.pop()
                taken = {key: member for key, member in members.items() if not member[1].done()}
            else:
                shape, members = self._waiting.popitem(last=False)
                taken = self._taken(shape, members)
            if taken:
                self._busy[shape] = self._busy.get(shape, 0) + 1
                task = asyncio.create_task(self._serve(self._idle.pop(), shape, taken))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _taken(self, shape: WriteShape, members: Members) -> Members:
        """Take as many as go together; the rest stays, and those behind them move up."""
        if len(members) <= shape.together:
            taken, rest = members, {}
        else:
            keys = list(members)
            taken = {key: members[key] for key in keys[: shape.together]}
            rest = {key: members[key] for key in keys[shape.together :]}
        self._count -= len(taken)
        # Whose client has gone is not written for.
        taken = {key: member for key, member in taken.items() if not member[1].done()}
        if rest:
            self._waiting[shape] = rest
        self._move_up()
        return taken

    def _move_up(self) -> None:
        """Queue those who waited behind another write to their row."""
        behind, self._behind = self._behind, []
        for each in behind:
            self._queue(*each)

    def _forget_impatience(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    async def _serve(self, slot: Kept, shape: WriteShape, members: Members) -> None:
        try:
            await self._write(slot, shape, members)
        except BaseException as error:
            for _, waiter in members.values():
                fail(waiter, Unavailable())
            if isinstance(error, asyncio.CancelledError):
                raise
            log.exception("A lane failed")
        finally:
            self._idle.append(slot)
            if self._busy[shape] == 1:
                del self._busy[shape]
            else:
                self._busy[shape] -= 1
            if not self._is_closed:
                self._send()

    async def _write(self, slot: Kept, shape: WriteShape, members: Members) -> None:
        try:
            await slot.open()
        except (
            GroundplaneError,
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
        ) as error:
            # There may be a connection elsewhere, and if not, that is where one hears why.
            self._refuse(members, error)
            return
        try:
            written = await fetched(slot, shape.text, shape, members)
        except Exception as error:  # noqa: BLE001  # of the driver, or a value that it cannot write
            slot.forget(shape.text)
            self._failed(shape, members, error)
            return
        left = {}
        for key, member in members.items():
            if key in written:
                settle(member[1], written[key])
            else:
                left[key] = member
        reasons = await self._reasons(slot, shape, left) if left and shape.why else {}
        for key, (_, waiter) in left.items():
            settle(waiter, reasons.get(key))

    async def _reasons(self, slot: Kept, shape: WriteShape, members: Members) -> dict[Any, asyncpg.Record]:
        """What is known of rows that were not written; the other way tells more, and what we cannot find out."""
        try:
            return await fetched(slot, shape.why, shape, members)
        except Exception as error:  # noqa: BLE001  # as in `_write`; here nothing hangs on it
            slot.forget(shape.why)
            if isinstance(translated(error), StatementTimeout):
                shape.why = ""
            log.debug("Nobody knows why rows were not written: %s", error)
            return {}

    def _failed(self, shape: WriteShape, members: Members, error: Exception) -> None:
        known = translated(error)
        if known is None or type(known) is Unavailable:
            # Without an answer nobody knows whether the rows are there.
            for _, waiter in members.values():
                fail(waiter, known or error)
        elif len(members) == 1 or isinstance(known, Busy | SchemaChanged | StatementTimeout):
            if isinstance(known, StatementTimeout) and len(members) == 1:
                # Several together may just have met a busy machine.
                shape.slow_until = time.monotonic() + SLOW_FOR_S
            self._refuse(members, error)
        else:
            # The statement was refused for one of its rows.
            items = list(members.items())
            middle = len(items) // 2
            self._halves += (shape, dict(items[:middle])), (shape, dict(items[middle:]))

    def _refuse(self, members: Members, error: Exception) -> None:
        log.debug("Rows leave a lane unwritten: %s", error)
        for _, waiter in members.values():
            settle(waiter, None)


async def fetched(slot: Kept, text: str, shape: WriteShape, members: Members) -> dict[Any, asyncpg.Record]:
    """Run a statement for the values of all members; its records by the first value of each."""
    columns = map(list, zip(*[values for values, _ in members.values()], strict=True))
    return {row[0]: row for row in await slot.fetch(text, (*columns, *shape.constants))}


def settle(waiter: Waiter, row: asyncpg.Record | None) -> None:
    if not waiter.done():
        waiter.set_result(row)


def fail(waiter: Waiter, error: BaseException) -> None:
    if not waiter.done():
        waiter.set_exception(error)
