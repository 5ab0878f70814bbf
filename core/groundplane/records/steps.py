"""The steps that the verbs on records share: attempts, hooks around a request, writing a row, the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import SchemaChanged, UniqueViolation
from groundplane.db.sql import Args
from groundplane.errors import GroundplaneError, Invalid
from groundplane.events.changes import Changes
from groundplane.files.service import Files
from groundplane.files.storage import StorageFailed
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import PasswordCheck, RecordRequest, RecordWriteFailed
from groundplane.query.effective import Action
from groundplane.query.errors import QueryError
from groundplane.query.rules import rule_condition
from groundplane.records import queries
from groundplane.records.admission import shown_to_plugins
from groundplane.records.answers import Answer, etag_of
from groundplane.records.attachments import store_new, take_staged
from groundplane.records.attempts import Attempts
from groundplane.records.checks import unique_errors
from groundplane.records.expand import Node, shown
from groundplane.records.plan import Plan, Row
from groundplane.records.staged import with_staged
from groundplane.records.values import Resolved, Submitted, resolve
from groundplane.records.watchers import Watchers, enrich_all
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection
from groundplane.security.passwords import hash_password

log = logging.getLogger(__name__)

T = TypeVar("T")

WRITES = ("create", "update", "delete")


class Steps:
    """What the verbs work with, and what they have in common."""

    def __init__(
        self, db: Database, cache: SchemaCache, files: Files, hooks: Hooks, changes: Changes
    ) -> None:
        self.db = db
        self.cache = cache
        self.files = files
        self.hooks = hooks
        self.attempts = Attempts(db, cache)
        self.watchers = Watchers(db, cache, hooks, changes)

    async def asked(
        self,
        action: Action,
        name: str,
        record_id: str,
        info: RequestInfo,
        work: Callable[[Schema], Awaitable[T]],
    ) -> T:
        """Do the work of one request, with the hooks around requests and for failed writes."""
        around, failed = self.hooks.record_request, self.hooks.record_write_failed
        if not around and not failed:
            return await self.attempts.again(work)
        collection = self.cache.current.find(name)
        try:
            event = RecordRequest(action, collection, record_id, info)
            async with around(collection, event=event):
                return await self.attempts.again(work)
        except Exception as error:
            if failed and action in WRITES:
                failure = RecordWriteFailed(action, collection, record_id, error, info.caller)
                failed(collection, event=failure)
            raise

    async def with_staged(self, plan: Plan, sent: Submitted, info: RequestInfo) -> Submitted:
        """The body with the uploads that it names as files that came with it."""
        return (
            await with_staged(self.files.uploads, plan.collection, sent, info) if plan.file_fields else sent
        )

    async def resolved(
        self, collection: Collection, sent: Submitted, current: Mapping[str, Any], info: RequestInfo
    ) -> Resolved:
        """Apply a body to the current record (the empty one on create)."""
        work = partial(resolve, collection, sent, current, see_hidden=info.is_superuser)
        # Telling what an upload is may mean to read an archive's directory from the disk.
        return await asyncio.to_thread(work) if sent.uploads else work()

    async def hash(
        self, collection: Collection, record: dict[str, Any], passwords: Mapping[str, str], *, is_new: bool
    ) -> None:
        """Put the hashes of new passwords into the record, once plugins have agreed to them."""
        for name, plain in passwords.items():
            if self.hooks.password_check:
                check = PasswordCheck(collection, name, plain, record, is_new)
                await self.hooks.password_check(collection, event=check)
            record[name] = await hash_password(plain)

    def showing(
        self, plan: Plan, record: dict[str, Any], info: RequestInfo, failed: str
    ) -> AbstractAsyncContextManager[None]:
        """Plugins agree to new files, around what writes the record; raises Invalid."""
        hook = self.hooks.file_upload
        if not plan.file_fields or not hook.concerns(plan.collection):
            return nullcontext()
        return shown_to_plugins(hook, plan, record, info, failed)

    async def write(
        self,
        plan: Plan,
        record: dict[str, Any],
        statement_of: Callable[[Plan, Mapping[str, Any]], Any],
        failed: str,
    ) -> int:
        """Store the new files, then run the insert or update; returns the row's version."""
        if plan.file_fields and (lost := await take_staged(self.files, plan, record)):
            raise Invalid(failed, lost)
        try:
            stored = await store_new(self.files, plan, record) if plan.file_fields else ()
            statement = statement_of(plan, record)
            version: int = await self.db.fetchval(statement.text, *statement.args)
            if stored:
                await self.files.removals.outbox.forget(stored)
        except UniqueViolation as error:
            raise Invalid(failed, unique_errors(plan, error)) from error
        except StorageFailed as error:
            log.error("An upload could not be stored: %s", error)
            raise Invalid(failed) from error
        except SchemaChanged:
            raise
        except GroundplaneError as error:
            if error.status >= 500:
                raise
            raise Invalid(failed) from error
        for field in plan.file_fields:
            # From here on the new files are stored ones, with nothing left of their uploads.
            record[field.name] = queries.column_value(field, record[field.name])
        return version

    async def answer(
        self, schema: Schema, plan: Plan, row: Row, query: Mapping[str, str], info: RequestInfo
    ) -> Answer:
        """The record as the response shows it."""
        records = await self.shown(schema, [Node(plan, row)], info, query.get("expand", ""))
        return Answer(records[0], etag_of(row))

    async def shown(
        self, schema: Schema, nodes: Sequence[Node], info: RequestInfo, expand: str, *, given: bool = False
    ) -> list[dict[str, Any]]:
        """Records with what they bring along, as this caller may see them; `given` as `records.expand.shown`."""
        items = await shown(self.db, schema, nodes, info, expand, given=given)
        if self.hooks.record_enrich:
            await enrich_all(self.hooks.record_enrich, schema, items, info)
        return items


def manage_condition(
    schema: Schema,
    collection: Collection,
    rule: str,
    info: RequestInfo,
    args: Args,
    virtual: str | None = None,
) -> str:
    """The manage rule as a condition; one that does not compile grants nothing."""
    try:
        return rule_condition(schema, collection, rule, info, args, virtual=virtual)
    except QueryError:
        return ""
