"""How often something was tried or mailed lately, counted for all processes together and across restarts."""

from __future__ import annotations

from datetime import timedelta

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries

QUERIES = load_queries("groundplane.auth", "mails.sql")


class Counters:
    """Counts in windows that begin with the first count; a key says what is counted and for whom."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def count(self, key: str, window: timedelta) -> int:
        """Count once more; returns how often it was since the window began, this time included."""
        return int(await self._db.fetchval(QUERIES["count"], key, now(), window))

    async def has(self, key: str) -> bool:
        """Whether something was counted in a window that is not over."""
        return bool(await self._db.fetchval(QUERIES["is_counted"], key, now()))

    async def clear(self, key: str) -> None:
        await self._db.execute(QUERIES["clear_count"], key)

    async def forget_old(self) -> None:
        """Remove what belongs to windows that are over; nothing depends on it."""
        await self._db.execute(QUERIES["old_counters"], now())
