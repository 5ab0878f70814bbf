"""Stored files that no record names: what a crash between storing a file and writing its record leaves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import NamedTuple

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.db.sql import ident
from groundplane.files.storage import FileMissing, FileStorage
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.file import FileField

AT_ONCE = 500  # records in one statement
THUMBS = "thumbs_"
# The ids that collections are given. In a bucket with other things in it, the first part of a key that is
# none of a collection says nothing, unless it looks like this.
GIVEN_ID = re.compile(r"pbc_[0-9]{1,10}|[a-z0-9]{15}|_pb_users_auth_")

NO_COLLECTION, NO_RECORD, NOT_NAMED = "no such collection", "no such record", "its record does not name it"


class Place(NamedTuple):
    """A key taken apart; `name` is the original's, also for a thumb."""

    key: str
    collection_id: str
    record_id: str
    name: str


class Orphan(NamedTuple):
    """A file that nobody can reach any more; `size` in bytes."""

    key: str
    size: int
    reason: str


async def find_orphans(
    storage: FileStorage, db: Database, schema: Schema, min_age: timedelta
) -> AsyncIterator[Orphan]:
    """Yield what no record names, by key; raises StorageFailed.

    A file is stored before its record is written, so what is younger than `min_age` is left alone.
    """
    limit = now() - min_age
    async for places in batches(storage):
        for place, reason in await unnamed(db, schema, places):
            try:
                info = await storage.stat(place.key)
            except FileMissing:
                continue
            if info.modified <= limit:
                yield Orphan(place.key, info.size, reason)


async def batches(storage: FileStorage, prefix: str = "") -> AsyncIterator[list[Place]]:
    """Yield the files of records, of one collection and not too many records at a time."""
    places: list[Place] = []
    records: set[str] = set()
    async for key in storage.keys(prefix):
        place = place_of(key)
        if place is None:
            continue
        is_full = len(records) == AT_ONCE and place.record_id not in records
        if places and (is_full or places[0].collection_id != place.collection_id):
            yield places
            places, records = [], set()
        places.append(place)
        records.add(place.record_id)
    if places:
        yield places


def place_of(key: str) -> Place | None:
    """Take a key apart; None for one that is no record's file."""
    match key.split("/"):
        case [collection_id, record_id, name]:
            return Place(key, collection_id, record_id, name)
        case [collection_id, record_id, folder, _] if folder.startswith(THUMBS):
            return Place(key, collection_id, record_id, folder.removeprefix(THUMBS))
    return None


async def unnamed(db: Database, schema: Schema, places: list[Place]) -> list[tuple[Place, str]]:
    """Those of one collection's files that no record names, each with the reason."""
    collection = schema.by_id.get(places[0].collection_id)
    if collection is None:
        return [(place, NO_COLLECTION) for place in places if GIVEN_ID.fullmatch(place.collection_id)]
    if collection.is_view:
        return [(place, NO_RECORD) for place in places]
    named = await names_of_records(db, collection, {place.record_id for place in places})
    return [
        (place, NO_RECORD if place.record_id not in named else NOT_NAMED)
        for place in places
        if place.name not in named.get(place.record_id, ())
    ]


async def names_of_records(db: Database, collection: Collection, record_ids: set[str]) -> dict[str, set[str]]:
    """The file names of these records; a record that is not there is left out."""
    fields = [field for field in collection.fields if isinstance(field, FileField)]
    columns = ", ".join(["id", *(ident(field.name) for field in fields)])
    rows = await db.fetch(
        f"SELECT {columns} FROM {ident(collection.table)} WHERE id = ANY($1::text[])",  # noqa: S608  # names
        list(record_ids),
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        names = found[row["id"]] = set()
        for field in fields:
            value = row[field.name]
            names.update(value if field.is_multiple else [value])
    return found
