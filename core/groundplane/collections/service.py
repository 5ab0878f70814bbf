"""Collections: read them, change them, and let every process know before the answer goes out."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from groundplane.collections import importing, queries, rows, views
from groundplane.collections.change import BadIndexes, SchemaChange
from groundplane.collections.listing import Page, PageRequest, list_collections
from groundplane.collections.submitted import find_errors, prepared
from groundplane.collections.views import BadView
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import Busy
from groundplane.errors import (
    REQUIRED,
    Conflict,
    FieldError,
    Forbidden,
    GroundplaneError,
    Invalid,
    NotFound,
    Unavailable,
)
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import CollectionSaving, SchemaApplied
from groundplane.hooks.implementation import PluginFailed
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.errors import BadShape
from groundplane.schema.wire import collection_from_json, collection_to_json, scaffold, system_collections
from groundplane.security.ids import random_text

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Announce = Callable[[int], Awaitable[None]]
DeleteRecord = Callable[[Collection, str], Awaitable[None]]
Renamed = Callable[[str, str], Awaitable[None]]
Deleted = Callable[[Collection], Awaitable[None]]

ATTEMPTS = 3  # at a change, when other transactions are in the way
# A change waits in front of the table's readers, who then wait behind it; so it must not wait long.
LOCK_TIMEOUT_S = 4
TURN_TIMEOUT_S = 60  # for other schema changes to end
CHANGE_TIMEOUT_S = 1800  # for one statement; a big table may have to be rewritten
TRUNCATE_CHUNK = 500  # records
MAX_QUERY_BYTES = 5000
VALIDATION_FAILED = "An error occurred while validating the submitted data."
LOADING_FAILED = "An error occurred while loading the submitted data."
BAD_TYPE_SHAPE = "Failed to load the collection type data due to invalid formatting."
BAD_SHAPE = "Failed to load the submitted data due to invalid formatting."


async def nobody(version: int) -> None:
    """An announcement when this is the only process."""


class Collections:
    """The verbs of the collections API, for every caller that may change the schema.

    `announce` returns when every live process has loaded the version it is given (they call `refresh`).
    `delete_record` deletes one record with its cascades, inside the open transaction.
    `renamed` runs inside the transaction with the old and the new name, `deleted` with the collection.
    Client secrets of OAuth2 providers are stored sealed when there is an `encryption_key` (32 bytes).
    """

    def __init__(
        self,
        db: Database,
        cache: SchemaCache,
        announce: Announce = nobody,
        *,
        delete_record: DeleteRecord | None = None,
        renamed: Renamed | None = None,
        deleted: Deleted | None = None,
        hooks: Hooks | None = None,
        encryption_key: str = "",
    ) -> None:
        self.db = db
        self.vault = rows.vault_for(encryption_key)
        self.cache = cache
        self.announce = announce
        self.delete_record = delete_record
        self.renamed = renamed
        self.deleted = deleted
        self.hooks = hooks or Hooks()

    # The snapshot

    async def load(self) -> Schema:
        """Read the schema into the cache; on the first start, make the system collections and `users`."""
        schema = await self._read()
        names = {collection.name for collection in schema}
        if any(each.system and each.name not in names for each in system_collections()):
            await self.change(self._install)
            schema = await self._read()
        self.cache.replace(schema)
        return self.cache.current

    async def refresh(self, version: int = 0) -> None:
        """Take over what another process announced; version 0 means "whatever is there now"."""
        if version == 0 or version > self.cache.current.version:
            self.cache.replace(await self._read())

    async def _read(self) -> Schema:
        return rows.to_schema([dict(row) for row in await self.db.fetch(queries.LOAD)], self.vault)

    async def _install(self, change: SchemaChange) -> None:
        is_fresh = not change.schema.collections
        for collection in system_collections():
            if change.schema.get(collection.name) is None and (collection.system or is_fresh):
                await change.put(collection, None)

    # Changing

    async def change(self, work: Callable[[SchemaChange], Awaitable[Answer]]) -> Answer:
        """Run `work` as one change of the schema: one transaction, one lock, one new version.

        It may run more than once when other transactions are in the way. Inside an open transaction it
        joins that, and the new version is announced when that commits.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._change_once(work)
            except Busy:
                if attempt == ATTEMPTS or self.db.in_transaction:
                    raise
                log.info("A schema change met other transactions and starts again")
        raise RuntimeError("unreachable")

    async def _change_once(self, work: Callable[[SchemaChange], Awaitable[Answer]]) -> Answer:
        async with self.db.transaction():
            await self.db.execute(queries.limits(TURN_TIMEOUT_S, CHANGE_TIMEOUT_S))
            await self.db.execute(queries.LOCK)
            await self.db.execute(queries.limits(LOCK_TIMEOUT_S, CHANGE_TIMEOUT_S))
            before = await self._current()
            change = SchemaChange(self.db, before, self.vault)
            answer = await work(change)
            await change.finish()
            if change.changed:
                if self.hooks.collection_saving:
                    await self._show_plugins(before, change.schema)
                version = int(await self.db.fetchval(queries.BUMP_VERSION))
                await self.db.after_commit(partial(self._publish, Schema(change.schema.collections, version)))
            # What follows in a transaction around this one has the usual limits again.
            await self.db.execute(queries.USUAL_LIMITS)
            return answer

    async def _current(self) -> Schema:
        """The schema as this transaction sees it: the cached one when its version is still the newest."""
        version = int(await self.db.fetchval(queries.VERSION) or 0)
        cached = self.cache.current
        return cached if version and version == cached.version else await self._read()

    async def _publish(self, schema: Schema) -> None:
        self.cache.replace(schema)
        await self.announce(schema.version)
        if self.hooks.schema_applied:
            self.hooks.schema_applied(event=SchemaApplied(schema))

    async def _show_plugins(self, before: Schema, after: Schema) -> None:
        """Let plugins refuse a change that is made but not committed."""
        for old in before:
            new = after.by_id.get(old.id)
            if new is not old:
                await self.hooks.collection_saving(new or old, event=CollectionSaving(old, new))
        for new in after:
            if new.id not in before.by_id:
                await self.hooks.collection_saving(new, event=CollectionSaving(None, new))

    async def save(self, new: Collection, old: Collection | None) -> Collection:
        """Create a collection or turn `old` into `new` without any check; for importers."""
        return await self.change(lambda change: change.put(new, old))

    # The API's verbs

    def view(self, name: str) -> Collection:
        """Find a collection; raises NotFound with the default message."""
        collection = self.cache.current.get(name)
        if collection is None:
            raise NotFound()
        return collection

    async def page(self, request: PageRequest, info: RequestInfo) -> Page:
        """List collections; `listing.PageRequest` says what may be asked."""
        return await list_collections(self.db, self.cache.current, request, info)

    async def create(self, raw: Any) -> Collection:
        """Create a collection from its JSON form; raises Invalid."""
        if not isinstance(raw, Mapping):
            raise Invalid(BAD_TYPE_SHAPE)
        if not isinstance(raw.get("type") or "", str):
            raise Invalid(BAD_TYPE_SHAPE)

        async def work(change: SchemaChange) -> Collection:
            try:
                new = collection_from_json(raw, base=None, schema=change.schema)
            except BadShape:
                raise Invalid(BAD_SHAPE) from None
            return await self.put_checked(change, new, None, "Failed to create collection.")

        async with raw_errors("Failed to create collection."):
            return await self.change(work)

    async def update(self, name: str, raw: Any) -> Collection:
        """Merge a partial JSON form over a stored collection; raises NotFound and Invalid."""
        self.view(name)

        async def work(change: SchemaChange) -> Collection:
            old = change.schema.get(name)
            if old is None:
                raise NotFound()
            if not isinstance(raw, Mapping):
                raise Invalid(BAD_SHAPE)
            try:
                new = collection_from_json(raw, base=old, schema=change.schema)
            except BadShape:
                raise Invalid(BAD_SHAPE) from None
            if new.id != old.id:
                raise Invalid("Failed to update collection. Raw error: \nthe collection id cannot be changed")
            return await self.put_checked(change, new, old, "Failed to update collection.")

        async with raw_errors("Failed to update collection."):
            return await self.change(work)

    async def put_checked(
        self, change: SchemaChange, new: Collection, old: Collection | None, failed: str
    ) -> Collection:
        """Create a collection or turn `old` into `new` in an open change; raises Invalid with the message."""
        # The dates are the server's, whatever was submitted.
        new, derived = prepared(change.schema, new.replaced(created=None), old)
        errors = await find_errors(self.db, change.schema, new, old, derived)
        if errors:
            raise Invalid(failed, errors)
        refuse_reserved(new, old, failed)
        try:
            saved = await change.put(new, old)
            # Views that do not fit any more are told as a failure of this change, not as one of indexes.
            await change.finish()
        except BadIndexes as error:
            raise Invalid(failed, {"indexes": error.errors}) from error
        if old is not None and old.name != saved.name and self.renamed is not None:
            await self.renamed(old.name, saved.name)
        return saved

    async def delete(self, name: str) -> None:
        """Delete a collection with its records and files; raises NotFound and Invalid."""
        self.view(name)

        async def work(change: SchemaChange) -> Collection:
            collection = change.schema.get(name)
            if collection is None:
                raise NotFound()
            referring = referring_collections(change.schema, collection)
            failed = Invalid(
                f"Failed to delete collection probably due to existing reference in {', '.join(referring)}."
                if referring
                else "Failed to delete collection."
            )
            if collection.system or referring:
                raise failed
            try:
                await change.remove(collection)
                await change.finish()
            except Busy:
                raise
            except (BadView, GroundplaneError) as error:
                raise failed from error
            await self.forget_files(collection)
            return collection

        await self.change(work)

    async def forget_files(self, collection: Collection) -> None:
        """Have the files of a deleted collection removed, with the commit."""
        if self.deleted is not None:
            await self.deleted(collection)

    async def truncate(self, name: str) -> None:
        """Delete every record one by one, with cascades and events, all or none; raises NotFound and Invalid."""
        collection = self.view(name)
        if collection.is_view:
            raise Invalid("View collections cannot be truncated since they don't store their own records.")
        if self.delete_record is None:
            raise RuntimeError("Collections.delete_record is not connected")
        try:
            async with self.db.transaction():
                await self._delete_all(collection, self.delete_record)
        except Unavailable:
            raise
        except GroundplaneError as error:
            raise Invalid(
                "Failed to truncate collection (most likely due to required cascade delete record references)."
            ) from error

    async def _delete_all(self, collection: Collection, delete: DeleteRecord) -> None:
        statement = queries.first_ids(collection.table)
        while ids := [row["id"] for row in await self.db.fetch(statement, TRUNCATE_CHUNK)]:
            for id in ids:
                try:
                    await delete(collection, id)
                except NotFound:
                    # A cascade of an earlier one took it.
                    continue
            if {row["id"] for row in await self.db.fetch(statement, 1)} & set(ids):
                raise Invalid()

    async def import_all(self, entries: Any, delete_missing: bool) -> None:
        """Replace or add many collections in one transaction (contract, collections §6.6); raises Invalid."""
        if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) for entry in entries):
            raise Invalid(LOADING_FAILED)
        if not entries:
            raise Invalid(VALIDATION_FAILED, {"collections": REQUIRED})
        await self.change(partial(importing.import_all, self, entries, delete_missing))

    def scaffolds(self) -> dict[str, Any]:
        """Blank collections of each type, as forms start with."""
        return {kind: collection_to_json(scaffold(kind)) for kind in ("auth", "base", "view")}

    async def dry_run_view(self, query: Any) -> dict[str, Any]:
        """The fields of a view query and up to ten of its records; raises Invalid."""
        if not isinstance(query, str):
            raise Invalid(LOADING_FAILED)
        if not query.strip():
            raise Invalid(VALIDATION_FAILED, {"query": REQUIRED})
        if len(query.encode()) > MAX_QUERY_BYTES:
            limits = {"max": MAX_QUERY_BYTES, "min": 0}
            message = f"The length must be no more than {MAX_QUERY_BYTES}."
            raise Invalid(
                VALIDATION_FAILED, {"query": FieldError("validation_length_too_long", message, limits)}
            )
        name = "temp_view_" + random_text(5)
        schema = self.cache.current
        view = Collection(id=name, name=name, type="view", view_query=query)
        derived = views.derive(schema, query, name)
        view = view.replaced(fields=derived.fields)
        try:
            if derived.problem is not None:
                raise BadView(derived.problem)
            sampled = await views.read_sample(self.db, views.translated(schema, view))
        except BadView as error:
            raise Invalid(f"Invalid view query. Raw error: \n{error}") from error
        return {
            "fields": [field.to_json() for field in view.fields],
            "sample": [views.sample_record(view, row) for row in sampled],
        }


def refuse_reserved(new: Collection, old: Collection | None, failed: str) -> None:
    """Refuse names that SQLite keeps for itself, as clients of it expect."""
    if new.name.lower().startswith("sqlite_") and (old is None or old.name != new.name):
        raise Invalid(f"{failed} Raw error: \nobject name reserved for internal use: {new.name}")


def referring_collections(schema: Schema, collection: Collection) -> list[str]:
    """Names of other collections with a relation field to this one."""
    return [
        other.name
        for other in schema
        if other.id != collection.id
        and any(getattr(field, "collection_id", None) == collection.id for field in other.fields)
    ]


@asynccontextmanager
async def raw_errors(failed: str) -> AsyncIterator[None]:
    """Show what the database said about a change as the contract's raw error."""
    try:
        yield
    except BadView as error:
        raise Invalid(f"{failed} Raw error: \n{error}") from error
    except GroundplaneError as error:
        # Subclasses of these are what the database said about a statement.
        if type(error) in (Invalid, NotFound, Unavailable, Busy, Conflict, Forbidden, PluginFailed):
            raise
        raise Invalid(f"{failed} Raw error: \n{views.database_text(error)}") from error
