"""Deleting records: what refers to them goes, is trimmed, or forbids it (contract, records §7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.clock import now
from groundplane.context import Caller
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.errors import Invalid
from groundplane.events.changes import Change, Changes
from groundplane.files.outbox import Doomed
from groundplane.files.service import Files
from groundplane.hooks.calls import Hooks, Notify
from groundplane.hooks.events import RecordDeleted, RecordDeleting, RecordSaved, RecordSaving
from groundplane.records.accounts import REF_COLLECTIONS
from groundplane.records.attachments import names_of
from groundplane.records.plan import Plan, plan_of
from groundplane.records.queries import (
    SUPERUSERS_LOCK,
    advisory_lock,
    delete_refs,
    delete_rows,
    others_exist,
    select_by_ids,
    select_referencing,
    update,
)
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.relation import RelationField

REQUIRED_REFERENCE = (
    "Failed to delete record. Make sure that the record is not part of a required relation reference."
)
LAST_SUPERUSER = "You can't delete the only existing superuser."


class Deletion:
    """One delete with everything that follows from it; used inside one transaction."""

    def __init__(
        self,
        db: Database,
        schema: Schema,
        files: Files,
        hooks: Hooks | None = None,
        caller: Caller | None = None,
        changes: Changes | None = None,
    ) -> None:
        self.db = db
        self.schema = schema
        self.files = files
        self.hooks = hooks or Hooks()
        self.caller = caller
        self.changes = changes or Changes()

    async def delete(self, collection: Collection, ids: Sequence[str]) -> None:
        """Delete the rows, then deal with the rows that refer to them; raises Invalid to refuse.

        The rows go first, so that records that refer to each other do not loop. Row locks do the rest: a
        transaction that is saving a reference holds the referenced row until it commits, so this delete
        waits for it and then sees the reference; one that comes later waits for this delete and finds
        nothing to refer to.
        """
        # A queue instead of recursion: a long chain of references must not meet Python's limit.
        gone = await self.delete_rows(collection, ids)
        waiting = deque([(collection, gone)] if gone else [])
        while waiting:
            current, gone = waiting.popleft()
            for referrer, field in self.schema.references.get(current.id, ()):
                if isinstance(field, RelationField):
                    followers = await self.release(referrer, field, gone)
                    if followers:
                        waiting.append((referrer, followers))

    async def delete_rows(
        self, collection: Collection, ids: Sequence[str], *, is_cascade: bool = False
    ) -> list[str]:
        """Remove rows and what belongs to them alone; returns the ids that were there."""
        plan = plan_of(self.schema, collection)
        if collection.is_superusers:
            await self.refuse_last_superuser(collection, ids)
        doomed = await self.announced(plan, ids, is_cascade=is_cascade)
        statement = delete_rows(plan, ids)
        rows = await self.db.fetch(statement.text, *statement.args)
        gone = [row[0] for row in rows]
        if gone and collection.is_auth:
            for name in REF_COLLECTIONS:
                ref = self.schema.get(name)
                if ref is not None:
                    statement = delete_refs(ref, collection, gone)
                    await self.db.execute(statement.text, *statement.args)
        named = [(row[0], [name for value in row[1:] for name in names_of(value)]) for row in rows]
        if doomed_files := [Doomed(collection.id, id, tuple(names)) for id, names in named if names]:
            await self.files.removals.later(doomed_files)
        for record_id in gone:
            if record_id in doomed:
                await self.changes.tell(
                    Change(
                        action="delete",
                        collection=collection,
                        record=doomed[record_id],
                        caller=self.caller,
                        is_cascade=is_cascade,
                    )
                )
                event = RecordDeleted(collection, doomed[record_id], is_cascade, self.caller)
                await self.db.after_commit(self.telling(self.hooks.record_deleted, collection, event))
        return gone

    async def announced(
        self, plan: Plan, ids: Sequence[str], *, is_cascade: bool
    ) -> dict[str, dict[str, Any]]:
        """Show records to plugins before they go; returns them by id, empty when nobody is interested."""
        collection, deleting = plan.collection, self.hooks.record_deleting
        watched = [hook for hook in (deleting, self.hooks.record_deleted) if hook.concerns(collection)]
        if not watched and not self.changes.concerns(collection, "delete"):
            return {}
        args = Args()
        statement = select_by_ids(plan, ids, args, "")
        rows = [plan.row(row).values for row in await self.db.fetch(statement.text, *statement.args)]
        if deleting in watched:
            for values in rows:
                await deleting(collection, event=RecordDeleting(collection, values, is_cascade, self.caller))
        if self.changes.concerns(collection, "delete"):
            await self.changes.deleting(collection, rows)
        return {values["id"]: values for values in rows}

    def telling(self, hook: Notify, collection: Collection, event: object) -> Any:
        async def tell() -> None:
            hook(collection, event=event)

        return tell

    async def refuse_last_superuser(self, collection: Collection, ids: Sequence[str]) -> None:
        # Two superusers that delete each other at the same time must not both succeed.
        lock = advisory_lock(SUPERUSERS_LOCK)
        await self.db.execute(lock.text)
        statement = others_exist(plan_of(self.schema, collection), ids)
        if not await self.db.fetchval(statement.text, *statement.args):
            raise Invalid(LAST_SUPERUSER)

    async def release(self, referrer: Collection, field: RelationField, gone: Sequence[str]) -> list[str]:
        """Take deleted ids out of one field of the rows that hold them; returns the rows deleted for it."""
        plan = plan_of(self.schema, referrer)
        deleted = frozenset(gone)
        cascade: list[str] = []
        statement = select_referencing(plan, field, gone)
        for record in await self.db.fetch(statement.text, *statement.args):
            values = plan.row(record).values
            stored = values[field.name]
            kept = [each for each in stored if each not in deleted] if field.is_multiple else []
            if kept:
                await self.trim(referrer, values, {field.name: kept})
            elif field.cascade_delete:
                cascade.append(values["id"])
            elif field.required:
                raise Invalid(REQUIRED_REFERENCE)
            else:
                await self.trim(referrer, values, {field.name: field.zero})
        return await self.delete_rows(referrer, cascade, is_cascade=True) if cascade else []

    async def trim(self, collection: Collection, before: Mapping[str, Any], changes: dict[str, Any]) -> None:
        """Save a row without validation; its onUpdate dates do change."""
        plan = plan_of(self.schema, collection)
        moment = now()
        for field in collection.fields:
            if isinstance(field, AutodateField) and field.on_update:
                changes[field.name] = moment
        saving, saved = self.hooks.record_saving, self.hooks.record_saved
        record = dict(before) | changes
        if saving.concerns(collection):
            await saving(collection, event=RecordSaving(collection, record, before, self.caller))
            changes = {name: record[name] for name in before if record[name] != before[name]}
        if not changes:
            return
        statement = update(plan, before["id"], changes)
        await self.db.execute(statement.text, *statement.args)
        if self.changes.concerns(collection, "update"):
            await self.changes.tell(
                Change(
                    action="update", collection=collection, record=record, before=before, caller=self.caller
                )
            )
        if saved.concerns(collection):
            event = RecordSaved(collection, record, before, self.caller)
            await self.db.after_commit(self.telling(saved, collection, event))
