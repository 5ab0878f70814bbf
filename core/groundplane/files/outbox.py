"""What is to be removed from the store, written down in the transaction that wants it: no crash forgets it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.db.write_lanes import WriteShape
from groundplane.security.ids import record_id

QUERIES = load_queries("groundplane.files")
EXPECT = WriteShape(QUERIES["expect"])
# Whoever stores an upload is done with it long before, one way or the other.
UPLOAD_LIFETIME = timedelta(hours=1)
# Whoever commits a removal tries it at once; nobody else is to do the same at that time.
FIRST_TRY = timedelta(minutes=1)
CLAIMED_FOR = timedelta(minutes=10)
LONGEST_WAIT_S = 3600.0
AT_ONCE = 20  # rows that one sweep takes at a time
MAX_ERROR = 500  # characters


class Doomed(NamedTuple):
    """Files of a record by their names; those of a whole collection when `record` is ""."""

    collection: str
    record: str = ""
    names: tuple[str, ...] = ()


class Removal(NamedTuple):
    """A row of the table.

    `is_upload` says that the file was to be stored for a record that is not known to have been written.
    """

    id: str
    doomed: Doomed
    is_upload: bool
    attempts: int
    created: datetime


class Late(NamedTuple):
    """How many removals were tried in vain; `oldest` and `error` (of one of them) when there are any."""

    removals: int
    oldest: datetime | None
    error: str


class Outbox:
    """The table of removals."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def expect(self, collection: str, record: str, name: str) -> str:
        """Write down an upload before it is stored, whatever transaction is open; returns the row's id.

        `forget` it in the transaction that writes the record. If that never commits, the file is swept away.
        """
        moment = now()
        values = (record_id(), collection, record, name, moment + UPLOAD_LIFETIME, moment)
        if await self._db.writes.row(EXPECT, values) is None:
            # A task has no part in the transaction of the one that starts it.
            columns = [[value] for value in values]
            await asyncio.create_task(self._db.execute(QUERIES["expect"], *columns))
        return values[0]

    async def add(self, doomed: Sequence[Doomed]) -> list[Removal]:
        """Write down removals, in the open transaction if there is one."""
        moment = now()
        removals = [Removal(record_id(), each, False, 0, moment) for each in doomed]
        rows = [{"id": each.id, **each.doomed._asdict()} for each in removals]
        await self._db.execute(QUERIES["add"], msgspec.json.encode(rows).decode(), moment + FIRST_TRY, moment)
        return removals

    async def forget(self, ids: Sequence[str]) -> None:
        """Strike off what is done, or what a record names now."""
        await self._db.execute(QUERIES["forget"], list(ids))

    async def claim(self) -> list[Removal]:
        """Take some of what is due; nobody else gets it for a while."""
        moment = now()
        rows = await self._db.fetch(QUERIES["claim"], moment, moment + CLAIMED_FOR, AT_ONCE)
        return [
            Removal(
                row["id"],
                Doomed(row["collection"], row["record"], tuple(row["names"])),
                row["is_upload"],
                row["attempts"],
                row["created"],
            )
            for row in rows
        ]

    async def failed(self, removal: Removal, error: str) -> None:
        """Have it tried again: after a minute, then after twice as long each time, up to an hour."""
        wait_s = min(60.0 * 2 ** min(removal.attempts, 10), LONGEST_WAIT_S)
        due = now() + timedelta(seconds=wait_s)
        await self._db.execute(QUERIES["failed"], removal.id, due, error.replace("\x00", "")[:MAX_ERROR])

    async def is_due(self) -> bool:
        return bool(await self._db.fetchval(QUERIES["is_due"], now()))

    async def late(self) -> Late:
        """What could not be removed so far, for those who look after the server."""
        row = await self._db.fetchrow(QUERIES["late"])
        if row is None or not row["count"]:
            return Late(0, None, "")
        return Late(int(row["count"]), row["oldest"], row["error"])
