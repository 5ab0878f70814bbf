"""Lets SQLite itself say whether a view query is valid, on empty tables with the columns of our collections.

Our parser is lenient and accepts some statements that are none; SQLite's messages are also those people know.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from groundplane.db.sql import ident
from groundplane.schema.collection import Collection
from groundplane.schema.sqlite_values import Untranslatable

# Older ones do not know the operators -> and ->>.
OLDEST_USEFUL = (3, 38, 0)
# What an older SQLite may not know although we do, and what a newer one may allow.
NOT_DECISIVE = (
    "no such function",
    "wrong number of arguments",
    "too many",
    "too much",
    "parser stack",
    "out of memory",
)


def check_syntax(query: str, collections: Iterable[Collection]) -> None:
    """Raise Untranslatable with SQLite's message if the query is not valid; it is prepared, not executed."""
    if sqlite3.sqlite_version_info < OLDEST_USEFUL:
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        for collection in collections:
            columns = ", ".join(ident(field.name) for field in collection.fields)
            connection.execute(f"CREATE TABLE {ident(collection.name)} ({columns})")
        try:
            connection.execute(f"EXPLAIN SELECT * FROM (\n{query.strip().rstrip(';')}\n)").close()  # noqa: S608  # in memory
        except (sqlite3.Error, sqlite3.Warning) as error:
            if not any(part in str(error) for part in NOT_DECISIVE):
                raise Untranslatable(str(error)) from None
