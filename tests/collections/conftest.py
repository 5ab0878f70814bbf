"""A collections service on a database of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from groundplane.collections.service import Collections
from groundplane.db.engine import Database
from groundplane.schema.cache import SchemaCache


@pytest.fixture
async def collections(db: Database) -> Collections:
    """The service after a first start: the system collections and `users` are there."""
    service = Collections(db, SchemaCache())
    await service.load()
    return service


@pytest.fixture
async def other_process(database_url: str) -> AsyncIterator[Collections]:
    """A second service with its own connections and cache, as another process has them."""
    database = await Database.connect(database_url, max_size=4)
    yield Collections(database, SchemaCache())
    await database.close()
