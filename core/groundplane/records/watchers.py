"""Where plugins and listeners take part in reads and writes; each place costs a look at a flag while there is none."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.errors import Invalid
from groundplane.events.changes import Change, ChangeAction, Changes
from groundplane.hooks.calls import Before, Hooks
from groundplane.hooks.events import RecordEnrich, RecordSaved, RecordSaving
from groundplane.hooks.implementation import PluginFailed
from groundplane.query.effective import has_say
from groundplane.query.restricted import restrictions
from groundplane.records.checks import plain_errors, stored_errors
from groundplane.records.plan import Plan
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)


class Watchers:
    """The plugins' hooks around records, and the listeners to their changes."""

    def __init__(self, db: Database, cache: SchemaCache, hooks: Hooks, changes: Changes) -> None:
        self.db = db
        self.cache = cache
        self.hooks = hooks
        self.changes = changes

    @property
    def reads_are_plain(self) -> bool:
        """Whether no plugin wants to see what is read, so that PostgreSQL may write the answer."""
        hooks = self.hooks
        return not (hooks.record_request or hooks.list_query or hooks.record_enrich) and not has_say(
            self.cache.current
        )

    def create_is_plain(self, schema: Schema, collection: Collection) -> bool:
        """Whether nobody wants to see a new record of this collection before it is committed."""
        return self._answer_is_plain(schema, collection) and not self.take_part(collection)

    def update_is_plain(self, schema: Schema, collection: Collection) -> bool:
        """Whether nobody wants to see a changed record of this collection, before or after."""
        hooks = self.hooks
        return (
            self._answer_is_plain(schema, collection)
            and not (hooks.record_saving and hooks.record_saving.concerns(collection))
            and not (hooks.record_saved and hooks.record_saved.concerns(collection))
            and not self.changes.concerns(collection, "update")
        )

    def delete_is_plain(self, schema: Schema, collection: Collection) -> bool:
        """Whether nobody wants to see a deleted record of this collection, before or after."""
        hooks = self.hooks
        return (
            self._answer_is_plain(schema, collection)
            and not (hooks.record_deleting and hooks.record_deleting.concerns(collection))
            and not (hooks.record_deleted and hooks.record_deleted.concerns(collection))
            and not self.changes.concerns(collection, "delete")
        )

    def _answer_is_plain(self, schema: Schema, collection: Collection) -> bool:
        """Whether no plugin stands around requests, changes answers or has a say in who may see what."""
        hooks = self.hooks
        return not (
            (hooks.record_request and hooks.record_request.concerns(collection))
            or (hooks.record_enrich and hooks.record_enrich.concerns(collection))
            or has_say(schema)
            or restrictions(schema, collection)
        )

    def take_part(self, collection: Collection) -> bool:
        """Whether somebody takes part in the creation of this collection's records, before the commit."""
        hook = self.hooks.record_saving
        return (bool(hook) and hook.concerns(collection)) or self.changes.concerns(collection, "create")

    async def saving(
        self,
        schema: Schema,
        plan: Plan,
        record: dict[str, Any],
        before: Mapping[str, Any] | None,
        info: RequestInfo | None,
        failed: str,
    ) -> None:
        """Show a record to plugins before it is written, and check again what they have changed."""
        hook = self.hooks.record_saving
        if not hook or not hook.concerns(plan.collection):
            return
        was = {name: value.copy() if isinstance(value, list) else value for name, value in record.items()}
        caller = info.caller if info is not None else None
        event = RecordSaving(plan.collection, record, before, caller, info)
        await hook(plan.collection, event=event)
        if event.record == was and event.record is record:
            return
        try:
            refuse_other_fields(was, event.record, before)
            record.update(event.record)
            errors = plain_errors(plan, record, before, {})
            errors |= await stored_errors(self.db, schema, plan, record, before, errors)
        except (AttributeError, TypeError, ValueError) as error:
            plugins = ", ".join(each.plugin for each in hook.implementations)
            log.error("A plugin (one of %s) left an impossible value in a record: %s", plugins, error)
            raise PluginFailed(plugins, hook.name, "it left an impossible value") from error
        if errors:
            raise Invalid(failed, errors)

    async def saved(
        self,
        collection: Collection,
        record: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        info: RequestInfo | None,
    ) -> None:
        """Tell listeners of a written record now, and plugins once it is committed."""
        action: ChangeAction = "create" if before is None else "update"
        if self.changes.concerns(collection, action):
            caller = info.caller if info is not None else None
            await self.changes.tell(
                Change(
                    action=action, collection=collection, record=dict(record), before=before, caller=caller
                )
            )
        hook = self.hooks.record_saved
        if hook and hook.concerns(collection):
            caller = info.caller if info is not None else None
            event = RecordSaved(collection, dict(record), before, caller)

            async def tell() -> None:
                hook(collection, event=event)

            await self.db.after_commit(tell)


def refuse_other_fields(
    was: Mapping[str, Any], now: Mapping[str, Any], before: Mapping[str, Any] | None
) -> None:
    """Raise ValueError for a record with other fields than its collection's, or with another id."""
    if now.keys() != was.keys():
        raise ValueError(f"fields {sorted(now.keys() ^ was.keys())}")
    if before is not None and now["id"] != before["id"]:
        raise ValueError("the id of a stored record cannot change")


async def enrich_all(
    hook: Before, schema: Schema, items: Sequence[dict[str, Any]], info: RequestInfo
) -> None:
    """Show finished records to plugins, all of one collection at once, those that an expand brought too."""
    by_collection: dict[str, list[dict[str, Any]]] = {}
    waiting = list(items)
    while waiting:
        item = waiting.pop(0)
        by_collection.setdefault(item["collectionId"], []).append(item)
        for related in item.get("expand", {}).values():
            waiting.extend(related if isinstance(related, list) else [related])
    for collection_id, group in by_collection.items():
        collection = schema.by_id.get(collection_id)
        if collection is not None and hook.concerns(collection):
            await hook(collection, event=RecordEnrich(collection, group, info))
