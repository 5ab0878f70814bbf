"""Which stored file a file URL means, and whether it may be sent (contract, files §5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.errors import Forbidden, NotFound
from groundplane.query.effective import rule_of
from groundplane.query.restricted import restrictions
from groundplane.records.attachments import names_of
from groundplane.records.plan import plan_of
from groundplane.records.queries import owners_of_file, select_one
from groundplane.records.service import Records, is_possible_id
from groundplane.records.visible import withheld
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.file import FileField

MAX_VIEW_DEPTH = 8  # views over views


class NamedFile(NamedTuple):
    """A file of a record; `collection_id` and `record_id` say where it is stored."""

    collection_id: str
    record_id: str
    name: str
    field: FileField


class Found(NamedTuple):
    collection: Collection
    record_id: str
    name: str
    field: FileField


async def find_file(db: Database, schema: Schema, collection: Collection, record_id: str, name: str) -> Found:
    """Find the file field of a record that holds this name; raises NotFound."""
    plan = plan_of(schema, collection)
    if not is_possible_id(record_id) or not name or not plan.file_fields:
        raise NotFound()
    if plan.files_shape is not None and record_id.isascii():
        found = await db.rows.row(plan.files_shape, (record_id,))
        stored: Sequence[Any] = tuple(found) if found is not None else ()
    else:
        args = Args()
        statement = select_one(plan, record_id, args)
        row = await db.fetchrow(statement.text, *statement.args)
        values = plan.row(row).values if row is not None else {}
        stored = [values[field.name] for field in plan.file_fields] if values else ()
    for field, value in zip(plan.file_fields, stored, strict=False):
        if name in names_of(value):
            return Found(collection, record_id, name, field)
    raise NotFound()


def is_protected(schema: Schema, found: Found) -> bool:
    """Whether not everybody who knows a file's address gets it: by its field, or because a plugin keeps that."""
    return found.field.protected or found.field.name in restrictions(schema, found.collection)


async def check_protected(records: Records, schema: Schema, found: Found, info: RequestInfo) -> None:
    """Evaluate the view rule for a protected file, and what plugins say of its field; raises NotFound."""
    rule = rule_of(schema, found.collection, "view")
    try:
        row = await records.find_allowed(schema, found.collection, found.record_id, rule, info)
    except Forbidden:
        raise NotFound() from None
    kept = await withheld(records.db, schema, [(plan_of(schema, found.collection), row)], info)
    if found.field.name in kept.get(0, ()):
        raise NotFound()


async def locate(db: Database, schema: Schema, found: Found) -> NamedFile:
    """Say where the file is stored: a view's file belongs to a record of a collection under it."""
    collection, record_id, name, field = found
    if not collection.is_view:
        return NamedFile(collection.id, record_id, name, field)
    sources = [(each, plan_of(schema, each).file_fields) for each in sources_of(schema, collection)]
    sources = [(each, fields) for each, fields in sources if fields]
    if not sources:
        raise NotFound()
    statement = owners_of_file(sources, name)
    rows: list[Any] = await db.fetch(statement.text, *statement.args)
    if not rows:
        raise NotFound()
    # A view mostly keeps the id of the record it shows.
    best = next((row for row in rows if row[1] == record_id), rows[0])
    return NamedFile(sources[best[0]][0].id, best[1], name, field)


def sources_of(schema: Schema, view: Collection) -> list[Collection]:
    """The collections with rows of their own that a view's query names, directly or through other views."""
    found: dict[str, Collection] = {}
    seen = {view.id}
    layer = [view]
    for _ in range(MAX_VIEW_DEPTH):
        following: list[Collection] = []
        for each in layer:
            words = {word.lower() for word in re.findall(r"\w+", each.view_query)}
            for collection in schema:
                if collection.id in seen or collection.name.lower() not in words:
                    continue
                seen.add(collection.id)
                if collection.is_view:
                    following.append(collection)
                else:
                    found[collection.id] = collection
        if not following:
            break
        layer = following
    return list(found.values())
