"""Kept connections that answer waiting requests of one shape together, with one statement.

A pooled connection costs a short statement more than the statement itself. A lane keeps a few connections and
their prepared statements. A lone request goes out at the end of this turn of the loop, as it is. What comes while
its shape is being asked for waits for that statement to return, or a moment at most, and then goes together:
`… FROM unnest($1::text[], …) WITH ORDINALITY q CROSS JOIN LATERAL (the statement) r`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, TypeAlias

import asyncpg

from groundplane.db.counts import Joint, scan_of
from groundplane.db.failures import SchemaChanged, StatementTimeout, translated
from groundplane.db.kept import Connect, Kept
from groundplane.db.sql import ident
from groundplane.errors import GroundplaneError, Unavailable

log = logging.getLogger(__name__)

Values: TypeAlias = tuple[Any, ...]
Alone: TypeAlias = Callable[[str, Values], Awaitable["asyncpg.Record | None"]]


class Waiter(Protocol):
    """Who waits for a row: a future, or whoever wants to be told at once. What it does must not raise."""

    def done(self) -> bool: ...
    def set_result(self, row: asyncpg.Record | None, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...


MAX_WAITING = 4096  # requests; more of them would wait longer than their clients do
MAX_TOGETHER = 64  # requests in one statement
PATIENCE_S = 0.002  # how long a request waits for the statement before it, while a connection is idle
SLOW_FOR_S = 30.0  # how long a shape that was too slow for the lane stays out of it
MEMBERS = "gp_members"
# For the benchmark, which compares: every statement by itself on a connection of the pool.
OFF = os.environ.get("GROUNDPLANE_TEST_LANES") == "off"
# Quoted names and texts, which are left as they are, or a placeholder.
PLACEHOLDER = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([0-9]+)""")


class Departed(Unavailable):
    """The client has gone before the statement of its request was sent; nothing was done."""


class Departure:
    """What a request's task waits for in a lane, so that it can be taken back when the client goes.

    What was sent is not taken back: it happens, and what follows from it must happen too.
    """

    __slots__ = ("task", "withdraw")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.withdraw: Callable[[], None] | None = None

    def leave(self) -> None:
        """The client has gone."""
        if self.withdraw is not None:
            self.withdraw()


# Of the request that this task answers, where the HTTP server tells when a client goes.
DEPARTURE: ContextVar[Departure | None] = ContextVar("departure", default=None)


async def unless_departed(
    waiter: asyncio.Future[asyncpg.Record | None], withdraw: Callable[[], None]
) -> asyncpg.Record | None:
    """Await a place in a lane, which `withdraw` gives up; raises Departed then."""
    departure = DEPARTURE.get()
    # A task that a request has started may work for others too.
    if departure is None or departure.task is not asyncio.current_task():
        return await waiter
    departure.withdraw = withdraw
    try:
        return await waiter
    finally:
        departure.withdraw = None


class Shape:
    """A statement that many requests have in common; it gives at most one row for each.

    `text` has the request's own values as $1 … $`slots`, then those of `constants`, the same for all.
    Shapes are compared by identity: make each once.
    """

    __slots__ = ("constants", "joint", "many", "slots", "slow_until", "text", "together")

    def __init__(
        self,
        text: str,
        slots: int,
        constants: Values = (),
        *,
        together: int = MAX_TOGETHER,
    ) -> None:
        self.text = text
        self.slots = slots
        self.constants = constants
        self.together = together
        self.many = ""  # the statement for several requests, once it is needed
        scan = scan_of(text)
        self.joint = Joint(scan, slots) if scan is not None else None
        self.slow_until = 0.0


class Lane:
    """Answers requests for single rows over a few connections of its own.

    `connect` opens a connection. `alone` runs one statement on a connection from elsewhere: what failed as
    part of several is tried again there, and so is what takes longer than the lane's statement timeout, so
    that nothing slow or broken holds up the others.
    """

    def __init__(
        self,
        connect: Connect,
        alone: Alone,
        *,
        size: int = 2,
        patience_s: float = PATIENCE_S,
        opening: str = "",
    ) -> None:
        self._alone = alone
        self._patience_s = patience_s
        self._idle = [Kept(connect, opening) for _ in range(size)]
        self._slots = tuple(self._idle)
        # Requests by shape, oldest shape first; equal values share one place.
        self._waiting: OrderedDict[Shape, dict[Values, list[Waiter]]] = OrderedDict()
        self._busy: dict[Shape, int] = {}
        self._count = 0
        self._is_called = False
        self._is_closed = False
        self._impatience: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection now."""
        return self._count

    async def row(self, shape: Shape, values: Values) -> asyncpg.Record | None:
        """The row of the shape for these values (all hashable); errors are those of `Database`.

        Raises Unavailable when too many wait already. A row may have one more column than the shape.
        """
        waiter = self.ask(shape, values)
        return await unless_departed(waiter, partial(self.withdraw, shape, values, waiter))

    def withdraw(self, shape: Shape, values: Values, waiter: Waiter) -> None:
        """Take a request back if its statement was not sent; who waits gets Departed."""
        members = self._waiting.get(shape, {})
        waiters = members.get(values, [])
        if waiter not in waiters:
            return
        waiters.remove(waiter)
        self._count -= 1
        if not waiters:
            del members[values]
            if not members:
                del self._waiting[shape]
        fail([waiter], Departed())

    def ask(self, shape: Shape, values: Values) -> asyncio.Future[asyncpg.Record | None]:
        """`row`, for who does not await: a future that gets the row or the error."""
        if self.is_slow(shape):
            # Away from the lane, which a statement that takes long would hold up.
            return asyncio.ensure_future(self._alone(shape.text, (*values, *shape.constants)))
        waiter: asyncio.Future[asyncpg.Record | None] = asyncio.get_running_loop().create_future()
        self.put(shape, values, waiter)
        return waiter

    def is_slow(self, shape: Shape) -> bool:
        """Whether the shape stays out of the lane for now."""
        return shape.slow_until != 0.0 and time.monotonic() < shape.slow_until

    def put(self, shape: Shape, values: Values, waiter: Waiter) -> None:
        """`ask`, for who brings along whom to tell; not for a shape that is slow."""
        if self._is_closed or self._count >= MAX_WAITING:
            raise Unavailable()
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
            if shape not in self._busy:
                self._is_called = True
                asyncio.get_running_loop().call_soon(self._send)
            elif self._impatience is None:
                self._impatience = asyncio.get_running_loop().call_later(self._patience_s, self._send)

    async def close(self) -> None:
        """Close the connections; who still waits gets Unavailable."""
        self._is_closed = True
        self._forget_impatience()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for members in self._waiting.values():
            for waiters in members.values():
                fail(waiters, Unavailable())
        self._waiting.clear()
        for slot in self._slots:
            slot.close()

    def _send(self) -> None:
        """Give every idle connection the oldest shape's requests; a shape that is not done goes to the end."""
        self._is_called = False
        self._forget_impatience()
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
                self._busy[shape] = self._busy.get(shape, 0) + 1
                task = asyncio.create_task(self._serve(self._idle.pop(), shape, taken))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _forget_impatience(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    async def _serve(self, slot: Kept, shape: Shape, members: dict[Values, list[Waiter]]) -> None:
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
            if self._busy[shape] == 1:
                del self._busy[shape]
            else:
                self._busy[shape] -= 1
            if self._waiting and not self._is_closed:
                self._send()

    async def _answer(self, slot: Kept, shape: Shape, members: dict[Values, list[Waiter]]) -> None:
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
            self._elsewhere(shape, members, error)
            return
        try:
            if len(members) == 1:
                [(values, waiters)] = members.items()
                found = await slot.fetch(shape.text, (*values, *shape.constants))
                settle(waiters, found[0] if found else None)
                return
            many = await self._many(slot, shape, len(members))
            columns = zip(*members, strict=True) if shape.slots else ()
            rows = {row[-1]: row for row in await slot.fetch(many, (*map(list, columns), *shape.constants))}
            for position, waiters in enumerate(members.values(), 1):
                settle(waiters, rows.get(position))
        except Exception as error:  # noqa: BLE001  # of the driver, or a value that it cannot write
            slot.forget(shape.text, shape.many, *(shape.joint.texts if shape.joint is not None else ()))
            shape.many = ""
            if not slot.is_lost and isinstance(error, asyncpg.QueryCanceledError) and len(members) == 1:
                # Several together may just have met a busy machine.
                shape.slow_until = time.monotonic() + SLOW_FOR_S
            self._retry(shape, members, error)

    async def _many(self, slot: Kept, shape: Shape, count: int) -> str:
        """The statement for several requests."""
        if shape.joint is not None:
            text = await shape.joint.text(slot, await slot.types(shape.text), count)
            if text is not None:
                return text
        if not shape.many:
            shape.many = together(shape, await slot.types(shape.text))
        return shape.many

    def _retry(self, shape: Shape, members: dict[Values, list[Waiter]], error: Exception) -> None:
        """Let each request have its own answer, away from the lane; a statement alone has had its own."""
        known = translated(error)
        if len(members) > 1 or isinstance(known, SchemaChanged | StatementTimeout | Unavailable):
            self._elsewhere(shape, members, error)
            return
        for waiters in members.values():
            fail(waiters, known or error)

    def _elsewhere(self, shape: Shape, members: dict[Values, list[Waiter]], error: Exception) -> None:
        """Ask for each by itself on other connections."""
        log.debug("Requests leave a lane: %s", error)
        for values, waiters in members.items():
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


def together(shape: Shape, types: Sequence[asyncpg.Type]) -> str:
    """The statement for several requests: the values in arrays, the request's number as the last column."""
    arrays = ", ".join(
        f"${position}::{ident(each.schema)}.{ident(each.name)}[]"
        for position, each in enumerate(types[: shape.slots], 1)
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
