"""Collects entries in memory and writes them in batches, so that no request waits for its own entry."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from groundplane.clock import unix_time
from groundplane.db.engine import Database
from groundplane.db.failures import SchemaChanged
from groundplane.db.sql import ident, load_queries
from groundplane.errors import GroundplaneError, Unavailable
from groundplane.logs.entry import (
    COPY_HEAD,
    COPY_TAIL,
    NO_DATA,
    WARN,
    Common,
    Entry,
    Note,
    Numbers,
    Seen,
    both_clocks,
    plain_row,
    rows_of,
)
from groundplane.logs.shapes import Shapes
from groundplane.settings.service import Settings

log = logging.getLogger(__name__)

QUERIES = load_queries("groundplane.logs")
FLUSH_S = 1.0  # until an entry is written at the latest
AT_ONCE = 1000  # entries that are not waited with
SLICE = 100  # entries that are made ready before requests have their turn
MAX_WAITING = 20_000  # entries in memory; what comes on top is dropped and counted
WRITE_TIMEOUT_S = 10.0
RETRY_S = 1.0
COLUMNS = ("id", "created", "level", "message", "data")


class LogWriter:
    """Keeps what is to be written; `start` it in the event loop that calls `seen`.

    Before `start` and after `close` entries are forgotten.
    """

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings
        self._entries: list[Entry] = []
        self._numbers = Numbers(os.getpid())
        self._own_numbers = Numbers(os.getpid(), 1)  # of entries that are made ready when they come
        self._shapes = Shapes()
        self._days: set[str] = set()  # tables that are known to be there
        self._full = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._closing = False
        self._writing = asyncio.Lock()
        self.dropped = 0

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._closing = False

    async def close(self) -> None:
        """Write what waits, and take no more."""
        self._closing = True
        self._full.set()
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)
        self._loop = None
        self._entries.clear()

    def seen(self, request: Seen) -> None:
        """Note an answered request. On the path of every request: whoever calls it makes a tuple, no more."""
        entries = self._entries
        entries.append(request)
        if self._work is None or len(entries) >= AT_ONCE:
            self._wake()

    def seen_plainly(self, common: Common, path: bytes, took_s: float) -> None:
        """`seen`, just now, for a request that differs from others in path and time only: see `plain_row`.

        To write it down at once is cheaper than to keep what it is made of until it has left the cache.
        """
        created_ms = int(unix_time() * 1000)
        number = self._own_numbers.next(created_ms)
        entries = self._entries
        entries.append(plain_row(common, path, int(took_s * 1_000_000), created_ms, number))
        if self._work is None or len(entries) >= AT_ONCE:
            self._wake()

    def note(self, level: int, message: str, data: Mapping[str, Any] = NO_DATA) -> None:
        """Add an entry of another kind than a request, from any thread."""
        if self._loop is None or level < self._settings.current.logs.min_level:
            return
        self._entries.append(Note(int(unix_time() * 1000), level, message, data))
        if self._thread == threading.get_ident():
            self._wake()
        else:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        """See to it that what waits is written, and that not too much waits."""
        entries = self._entries
        if self._loop is None or len(entries) > MAX_WAITING:
            entries.pop()
            self.dropped += 1
            return
        if self._work is None:
            self._work = self._loop.create_task(self._write_soon(), name="log")
        if len(entries) >= AT_ONCE:
            self._full.set()

    async def flush(self) -> None:
        """Write what waits now; failures are tried again later."""
        async with self._writing:
            await self._write_waiting()

    async def _write_soon(self) -> None:
        try:
            while self._entries:
                if not self._closing:
                    try:
                        async with asyncio.timeout(FLUSH_S):
                            await self._full.wait()
                    except TimeoutError:
                        pass
                self._full.clear()
                async with self._writing:
                    written = await self._write_waiting()
                if not written:
                    if self._closing:
                        return
                    await asyncio.sleep(RETRY_S)
        finally:
            self._work = None

    async def _write_waiting(self) -> bool:
        """Write all that waits; False when the database is away, and they wait on."""
        entries, self._entries = self._entries, []
        if not entries:
            return True
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._write(entries)
        except (Unavailable, TimeoutError, OSError):
            self._entries = entries + self._entries
            if (too_many := len(self._entries) - MAX_WAITING) > 0:
                del self._entries[-too_many:]
                self.dropped += too_many
            return False
        except GroundplaneError as error:
            self.dropped += len(entries)
            log.error("%s log entries were not written: %s", len(entries), error)
        except Exception:
            self.dropped += len(entries)
            log.exception("%s log entries were not written", len(entries))
        return True

    async def _write(self, entries: Sequence[Entry]) -> None:
        if dropped := self.dropped:
            message = f"{dropped} log entries were dropped, because they could not be written in time"
            entries = [*entries, Note(int(unix_time() * 1000), WARN, message, NO_DATA)]
        now_ms, now_counter = both_clocks()
        days: dict[int, list[bytes]] = {}
        for start in range(0, len(entries), SLICE):
            made = rows_of(
                entries[start : start + SLICE],
                self._settings.current.logs,
                self._numbers,
                now_ms=now_ms,
                now_counter=now_counter,
            )
            for day, rows in made.items():
                days.setdefault(day, []).extend(rows)
            await asyncio.sleep(0)
        for day, rows in days.items():
            await self._copy(day, rows)
        if dropped:
            log.warning("%s log entries were dropped, because they could not be written in time", dropped)
            self.dropped -= dropped
        self._shapes.look_at(entries)
        if shapes := self._shapes.taken():
            await self._db.execute(QUERIES["add_shapes"], *shapes)

    async def _copy(self, day: int, rows: Sequence[bytes]) -> None:
        table = await self._table_of(day)
        try:
            await self._copy_into(table, rows)
        except SchemaChanged:
            # The day was forgotten by another process meanwhile.
            self._days.discard(table)
            await self._copy_into(await self._table_of(day), rows)

    async def _copy_into(self, table: str, rows: Sequence[bytes]) -> None:
        async def source() -> AsyncIterator[bytes]:
            yield b"".join((COPY_HEAD, *rows, COPY_TAIL))

        async with self._db.transaction() as connection:
            # An entry is not worth waiting for the disk: after a crash the last half second may be missing.
            await connection.execute("SET LOCAL synchronous_commit = off")
            await connection.copy_to_table(table, source=source(), columns=COLUMNS, format="binary")

    async def _table_of(self, day: int) -> str:
        """The name of the day's table, which is made when it is not there."""
        begins = datetime.fromtimestamp(day * 86_400, UTC)
        name = f"_logs_{begins:%Y%m%d}"
        if name in self._days:
            return name
        ends = begins + timedelta(days=1)
        async with self._db.transaction() as connection:
            await connection.execute(QUERIES["lock_days"])
            # Days are dates that we made ourselves; a partition's bounds take no parameters.
            await connection.execute(
                f'CREATE TABLE IF NOT EXISTS {ident(name)} PARTITION OF "_logs"'
                f" FOR VALUES FROM ('{begins:%Y-%m-%d}') TO ('{ends:%Y-%m-%d}')"
            )
        self._days.add(name)
        return name
