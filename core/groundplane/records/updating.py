"""Update records: locked, checked against the rule, changed, and written with what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.sql import Args
from groundplane.errors import Forbidden, Invalid, NotFound
from groundplane.query.effective import rule_of
from groundplane.query.rules import rule_condition
from groundplane.records import accounts, queries
from groundplane.records.accounts import Level
from groundplane.records.answers import (
    NO_VIEWS,
    SUPERUSERS_ONLY,
    UPDATE_FAILED,
    Answer,
    check_version,
    is_possible_id,
)
from groundplane.records.attachments import names_of, remove_replaced, undone_on_failure
from groundplane.records.attempts import REFUSED
from groundplane.records.checks import plain_errors, stored_errors
from groundplane.records.plan import Plan, Row, plan_of
from groundplane.records.quick import DECODED, Asker, Body, answer_to
from groundplane.records.quick_change import QuickChanges
from groundplane.records.steps import Steps, manage_condition
from groundplane.records.values import NewFile, Resolved, Submitted
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.autodate import AutodateField


class Updating:
    """The verb that changes a record."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.db = steps.db
        self.cache = steps.cache
        self.files = steps.files
        self.watchers = steps.watchers
        self.quick = QuickChanges(steps.db.writes, steps.watchers)

    async def update(
        self,
        name: str,
        record_id: str,
        sent: Submitted,
        query: Mapping[str, str],
        info: RequestInfo,
        *,
        if_match: str = "",
    ) -> Answer:
        """Change the submitted fields of a record under the update rule; raises Invalid with field errors.

        `if_match` is the request's If-Match header: another version raises PreconditionFailed.
        """
        return await self.steps.asked(
            "update",
            name,
            record_id,
            info,
            lambda schema: self._update(schema, name, record_id, sent, query, info, if_match),
        )

    async def update_quickly(
        self,
        name: str,
        record_id: str,
        sent: Submitted,
        query: Mapping[str, str],
        asker: Asker,
        *,
        if_match: str = "",
    ) -> Body | None:
        """Change a plain record in one statement that also checks the caller's proof; None if that is not to be.

        Then nothing was written, and `update` says why.
        """
        schema = self.cache.current
        collection = schema.get(name)
        if collection is None or sent.uploads or not query.keys().isdisjoint(DECODED):
            return None
        question = self.quick.update(schema, collection, record_id, sent.values, asker, if_match)
        return await answer_to(question) if question is not None else None

    async def _update(
        self,
        schema: Schema,
        name: str,
        record_id: str,
        sent: Submitted,
        query: Mapping[str, str],
        info: RequestInfo,
        if_match: str,
    ) -> Answer:
        collection = schema.find(name)
        if collection.is_view:
            raise Invalid(NO_VIEWS)
        if rule_of(schema, collection, "update") is None and not info.is_superuser:
            raise Forbidden(SUPERUSERS_ONLY)
        if not is_possible_id(record_id):
            raise NotFound()
        plan = plan_of(schema, collection)
        sent = await self.steps.with_staged(plan, sent, info)
        async with AsyncExitStack() as stack:
            if sent.uploads and self.steps.hooks.file_upload.concerns(collection):
                sent = await self._agreed(stack, schema, plan, record_id, sent, info, if_match)
            async with undone_on_failure(self.files) as uploads, self.db.transaction():
                before = await self._locked(plan, record_id)
                resolved = await self.steps.resolved(collection, sent, before.values, info)
                info = msgspec.structs.replace(info, body=resolved.body)
                level = await self._may_update(schema, plan, record_id, info)
                check_version(before, if_match)
                row = await self._change(schema, plan, before, resolved, level, info)
                uploads.keep()
        return await self.steps.answer(schema, plan, row, query, info)

    async def _agreed(
        self,
        stack: AsyncExitStack,
        schema: Schema,
        plan: Plan,
        record_id: str,
        sent: Submitted,
        info: RequestInfo,
        if_match: str,
    ) -> Submitted:
        """Have plugins agree to the uploads before the row is locked, which is not to wait for them.

        What is refused anyway is not shown. All of it is checked again under the lock.
        """
        args = Args()
        statement = queries.select_one(plan, record_id, args)
        found = await self.db.fetchrow(statement.text, *statement.args)
        if found is None:
            raise NotFound()
        before = plan.row(found)
        resolved = await self.steps.resolved(plan.collection, sent, before.values, info)
        record = resolved.record
        info = msgspec.structs.replace(info, body=resolved.body)
        await self._may_update(schema, plan, record_id, info)
        check_version(before, if_match)
        if plain_errors(plan, record, before.values, resolved.passwords):
            return sent
        await stack.enter_async_context(self.steps.showing(plan, record, info, UPDATE_FAILED))
        agreed = {
            id(name.upload): name
            for field in plan.file_fields
            for name in names_of(record[field.name])
            if isinstance(name, NewFile)
        }
        return Submitted(sent.values, [(key, agreed.get(id(each), each)) for key, each in sent.uploads])

    async def _locked(self, plan: Plan, record_id: str) -> Row:
        """Fetch the row and keep others from changing it, so that relative modifiers add up."""
        args = Args()
        # Not FOR UPDATE: others may go on to save references to this record, whose id stays.
        statement = queries.select_one(plan, record_id, args, lock="FOR NO KEY UPDATE")
        record = await self.db.fetchrow(statement.text, *statement.args)
        if record is None:
            raise NotFound()
        return plan.row(record)

    async def _may_update(self, schema: Schema, plan: Plan, record_id: str, info: RequestInfo) -> Level:
        """Evaluate update and manage rule on the stored row; raises NotFound."""
        if info.is_superuser:
            return Level.SUPERUSER
        collection = plan.collection
        options = collection.options
        manage = options.manage_rule if options is not None and info.caller is not None else None
        rule = rule_of(schema, collection, "update")
        if not rule and not manage:
            return Level.DEFAULT
        args = Args()
        try:
            conditions = ["true"]
            if rule:
                conditions[0] = rule_condition(schema, collection, rule, info, args)
            if manage and (manager := manage_condition(schema, collection, manage, info, args)):
                conditions.append(manager)
            statement = queries.stored_check(plan, record_id, conditions, args)
            found = await self.db.fetchrow(statement.text, *statement.args)
        except REFUSED:
            raise NotFound() from None
        if found is None or not found[0]:
            raise NotFound()
        return Level.MANAGER if len(conditions) > 1 and found[1] else Level.DEFAULT

    async def _change(
        self, schema: Schema, plan: Plan, before: Row, resolved: Resolved, level: Level, info: RequestInfo
    ) -> Row:
        """Check the changed record and write it; runs in the transaction that has locked the row."""
        collection = plan.collection
        record, old = resolved.record, before.values
        if collection.is_auth and (form := await accounts.form_errors(resolved, old, level)):
            raise Invalid(UPDATE_FAILED, form)
        if collection.name in accounts.REF_COLLECTIONS and (
            wrong := await accounts.ref_errors(self.db, schema, collection, record)
        ):
            raise Invalid(UPDATE_FAILED, wrong)
        errors = plain_errors(plan, record, old, resolved.passwords)
        errors |= await stored_errors(self.db, schema, plan, record, old, errors)
        if errors:
            raise Invalid(UPDATE_FAILED, errors)
        await self.steps.hash(collection, record, resolved.passwords, is_new=False)
        if collection.is_auth:
            changed = "password" in resolved.passwords
            await accounts.prepare(self.db, schema, plan, record, old, new_password=changed)
        return await self._save(schema, plan, record, before, info)

    async def _save(
        self,
        schema: Schema,
        plan: Plan,
        record: dict[str, Any],
        before: Row,
        info: RequestInfo | None = None,
    ) -> Row:
        """Write what differs from the stored row, with the dates that change on every update."""
        old = before.values
        moment = now()
        for field in plan.fields:
            if isinstance(field, AutodateField) and field.on_update:
                record[field.name] = moment
        await self.watchers.saving(schema, plan, record, old, info, UPDATE_FAILED)
        changes = {name: value for name, value in record.items() if value != old[name]}
        if not changes:
            return Row(record, before.version)
        version = await self.steps.write(
            plan,
            record,
            lambda plan, _: queries.update(plan, old["id"], changes),
            UPDATE_FAILED,
        )
        if plan.collection.is_auth:
            await accounts.settle(self.db, schema, plan, record, old)
        await remove_replaced(self.files, plan, old, record)
        await self.watchers.saved(plan.collection, record, old, info)
        return Row(record, version)

    async def save_fields(
        self, collection: Collection, record_id: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change fields to stored forms (a password is its hash), with dates and what follows for accounts.

        Returns the whole record; raises NotFound.
        """
        schema = self.cache.current
        plan = plan_of(schema, collection)
        async with self.db.transaction():
            before = await self._locked(plan, record_id)
            record = before.values | dict(changes)
            if collection.is_auth:
                changed = "password" in changes
                await accounts.prepare(self.db, schema, plan, record, before.values, new_password=changed)
            return (await self._save(schema, plan, record, before)).values
