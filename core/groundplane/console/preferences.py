"""What the console remembers: for one superuser (columns, drafts of queries), or for all (saved views)."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import Invalid

QUERIES = load_queries("groundplane.console")
EVERYONE = ""  # the owner of what all superusers share
MAX_NAME_LENGTH = 200  # characters
MAX_VALUE_LENGTH = 64 * 1024  # characters of JSON
MAX_PER_OWNER = 2000

T = TypeVar("T")


class Preferences:
    """Small values by owner (the id of a superuser, or EVERYONE) and name (`columns.<collection id>`).

    A value is any struct or plain value that msgspec knows. What cannot be read any more, for it was written
    by another version, is as if it were not there.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def read(self, owner: str, name: str, kind: type[T], default: T) -> T:
        """The value under a name, or the default."""
        return decoded(await self._db.fetchval(QUERIES["read"], owner, name), kind, default)

    async def below(self, owner: str, start: str, kind: type[T]) -> dict[str, T]:
        """All values whose names begin so, by the rest of their names."""
        found: dict[str, T] = {}
        for row in await self._db.fetch(QUERIES["list_below"], owner, start):
            try:
                found[row["name"][len(start) :]] = msgspec.json.decode(row["value"], type=kind)
            except msgspec.DecodeError:
                continue
        return found

    async def keep(self, owner: str, name: str, value: object) -> None:
        """Set a value; raises Invalid for one that is too large, or one too many."""
        text = msgspec.json.encode(value).decode()
        if len(name) > MAX_NAME_LENGTH or "\x00" in name or len(text) > MAX_VALUE_LENGTH:
            raise Invalid("This is too large to be kept.")
        if not await self._db.fetchval(QUERIES["keep"], owner, name, text, now(), MAX_PER_OWNER):
            raise Invalid("Too much is kept already: remove something first.")

    async def forget(self, owner: str, name: str) -> None:
        """Remove a value; one that is not there is no error."""
        await self._db.execute(QUERIES["forget"], owner, name)


def decoded(text: str | None, kind: type[T], default: T) -> T:
    """A value as it was kept, or the default where there is none, or none of this kind."""
    if text is None:
        return default
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return default
