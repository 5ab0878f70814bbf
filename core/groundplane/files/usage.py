"""How many files each collection has and how large they are, counted now and then and kept."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import NamedTuple

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.files.orphans import place_of
from groundplane.files.outbox import QUERIES
from groundplane.files.storage import FileStorage

# A count may take this share of the time at most; it looks at every file of a folder.
SHARE = 200
LOCK = 0x67707573  # "gpus"; one count at a time


class Usage(NamedTuple):
    """The files of a collection, by its id; sizes in bytes. Thumbs are counted apart."""

    collection: str
    files: int
    bytes: int
    thumbs: int
    thumb_bytes: int


class Counted(NamedTuple):
    """What the last count has found, the largest first; `measured` is None before the first one."""

    measured: datetime | None
    collections: list[Usage]


class FileUsage:
    """`last` is one statement, however many files there are; `count` looks at all of them."""

    def __init__(self, db: Database, storage: FileStorage) -> None:
        self._db = db
        self._storage = storage

    async def last(self) -> Counted:
        """What the last count has found."""
        rows = await self._db.fetch(QUERIES["usage"])
        found = [Usage(*(row[name] for name in Usage._fields)) for row in rows if row["collection"]]
        return Counted(rows[0]["measured"] if rows else None, found)

    async def count(self) -> Counted:
        """Count anew, and keep it; raises StorageFailed."""
        began, moment = time.monotonic(), now()
        sums: dict[str, list[int]] = {}
        async for key, size in self._storage.sizes():
            place = place_of(key)
            if place is None:
                continue
            found = sums.setdefault(place.collection_id, [0, 0, 0, 0])
            at = 0 if key.count("/") == 2 else 2
            found[at] += 1
            found[at + 1] += size
        # A row without a collection says when it was, and how long it took, also when there is no file.
        rows = [("", 0, 0, 0, 0), *((name, *each) for name, each in sums.items())]
        columns = [list(column) for column in zip(*rows, strict=True)]
        async with self._db.transaction():
            await self._db.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            await self._db.execute(QUERIES["clear_usage"])
            await self._db.execute(QUERIES["keep_usage"], *columns, moment, time.monotonic() - began)
        return await self.last()

    async def count_if_due(self) -> None:
        """Count, unless the last one took so long that it is too early."""
        row = await self._db.fetchrow(QUERIES["last_count"])
        if row is None or row["measured"] + timedelta(seconds=row["took_s"] * SHARE) <= now():
            await self.count()
