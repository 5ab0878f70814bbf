"""Does work on the current schema, and anew when a deadlock or a change of the schema undid it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from groundplane.db.engine import Database
from groundplane.db.failures import BadValue, Busy, LimitExceeded, SchemaChanged, StatementRefused
from groundplane.errors import GroundplaneError, Unavailable
from groundplane.query.errors import QueryError
from groundplane.records import queries
from groundplane.schema.cache import Schema, SchemaCache

T = TypeVar("T")

ATTEMPTS = 3  # at work that other transactions got in the way of
ATTEMPTS_AT_ANOTHER_SCHEMA = 20  # each at a newer one; more changes than that in one request are not use
SCHEMA_WAIT_S = 2.0  # for this process to hear of a new schema that the database already has
SCHEMA_POLL_S = 0.02

# What a statement made of a rule or a client's words may fail with, besides not compiling.
STALE = (StatementRefused, BadValue)
REFUSED = (QueryError, LimitExceeded, *STALE)


class Attempts:
    """Tries the work of a request until it is neither in the way of others nor behind the schema."""

    def __init__(self, db: Database, cache: SchemaCache) -> None:
        self.db = db
        self.cache = cache

    async def again(self, work: Callable[[Schema], Awaitable[T]]) -> T:
        """Do the work on the current schema, and anew when a deadlock or a change of the schema undid it.

        Inside an open transaction there is only one attempt: the outer work has to start anew.
        """
        for attempt in range(1, ATTEMPTS_AT_ANOTHER_SCHEMA + 1):
            schema = self.cache.current
            try:
                return await work(schema)
            except GroundplaneError as error:
                if self.db.in_transaction:
                    raise
                if isinstance(error, Busy | SchemaChanged):
                    moved = isinstance(error, SchemaChanged) and await self._moved_on(schema)
                    if not moved and attempt >= ATTEMPTS:
                        raise
                elif not (is_stale(error) and await self._moved_on(schema)):
                    raise
        raise Unavailable()

    async def _moved_on(self, schema: Schema) -> bool:
        """Whether the database has another schema by now; waits a moment for this process to know it."""
        version = int(await self.db.fetchval(queries.SCHEMA_VERSION) or 0)
        waited = 0.0
        while self.cache.current.version < version and waited < SCHEMA_WAIT_S:
            await asyncio.sleep(SCHEMA_POLL_S)
            waited += SCHEMA_POLL_S
        return self.cache.current is not schema


def is_stale(error: GroundplaneError) -> bool:
    """Whether a failure may come from SQL for a column that has another type by now, a list perhaps.

    PostgreSQL refuses it like SQL that never was right, and the answer is made from that refusal.
    """
    return isinstance(error, STALE) or isinstance(error.__context__, STALE)
