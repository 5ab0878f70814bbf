"""How often somebody may try codes and passwords for one account, counted for all processes together."""

from __future__ import annotations

from datetime import timedelta

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import TooManyRequests

QUERIES = load_queries("groundplane.auth", "own_factors.sql")
MAX_ATTEMPTS = 5
WINDOW = timedelta(minutes=15)
TOO_MANY = "Too many attempts, please try again later."


class Attempts:
    """Counts tries by account, not by address: an attacker has many of these.

    With three codes valid at a time, 5 tries in 15 minutes find one of a million in two years on average.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def take(self, collection_id: str, record_id: str) -> None:
        """Count a try before it is looked at; raises TooManyRequests."""
        moment = now()
        used = await self._db.fetchval(QUERIES["attempt"], collection_id, record_id, moment, moment - WINDOW)
        if used > MAX_ATTEMPTS:
            raise TooManyRequests(TOO_MANY)

    async def forget_old(self) -> None:
        """Remove what belongs to windows that are over; nothing depends on it."""
        await self._db.execute(QUERIES["forget_attempts"], now() - WINDOW)

    async def clear(self, collection_id: str, record_id: str) -> None:
        """Forget the tries of somebody who got it right."""
        await self._db.execute(QUERIES["clear_attempts"], collection_id, record_id)
