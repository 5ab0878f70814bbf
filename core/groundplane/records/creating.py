"""Create records: the rule sees the row as it would be, then it is checked and written with its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.sql import Args
from groundplane.errors import FieldError, Forbidden, Invalid
from groundplane.query.effective import rule_of
from groundplane.query.rules import rule_condition
from groundplane.records import accounts, idempotency, queries
from groundplane.records.accounts import Level
from groundplane.records.answers import CREATE_FAILED, NO_VIEWS, SUPERUSERS_ONLY, Answer
from groundplane.records.attachments import undone_on_failure
from groundplane.records.attempts import REFUSED
from groundplane.records.checks import plain_errors, stored_errors
from groundplane.records.deleting import Deleting
from groundplane.records.plan import Plan, Row, plan_of
from groundplane.records.quick import DECODED, Asker, Body, Question, answer_to
from groundplane.records.quick_create import QuickCreates
from groundplane.records.reading import Reading
from groundplane.records.steps import Steps, manage_condition
from groundplane.records.values import Resolved, Submitted, empty_record
from groundplane.records.wire import encode_ready
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.text import TextField
from groundplane.security.ids import secret
from groundplane.security.passwords import MAX_PASSWORD_BYTES, hash_password

INSTALLER_EMAIL = "__pbinstaller@example.com"


class Creating:
    """The verb that adds a record."""

    def __init__(self, steps: Steps, reading: Reading, deleting: Deleting) -> None:
        self.steps = steps
        self.db = steps.db
        self.cache = steps.cache
        self.files = steps.files
        self.watchers = steps.watchers
        self.reading = reading
        self.deleting = deleting
        self.quick = QuickCreates(steps.db.writes, steps.watchers)

    async def create(
        self,
        name: str,
        sent: Submitted,
        query: Mapping[str, str],
        info: RequestInfo,
        *,
        idempotency_key: str = "",
    ) -> Answer:
        """Create a record under the create rule; raises Invalid with field errors.

        With a key, a repetition within a day gets the first answer again (Conflict for another body).
        """
        if not idempotency_key:
            return await self.steps.asked(
                "create", name, "", info, lambda schema: self._create(schema, name, sent, query, info)
            )
        collection = self.cache.current.find(name)
        claim = await idempotency.claim_of(idempotency_key, collection, info, sent, query)

        async def once(schema: Schema) -> Answer:
            async with undone_on_failure(self.files) as uploads, self.db.transaction():
                stored = await idempotency.take(self.db, claim)
                if stored is not None:
                    etag, _, body = stored.partition(b"\n")
                    return Answer(msgspec.Raw(body), etag.decode())
                answer = await self._create(schema, name, sent, query, info)
                body = answer.etag.encode() + b"\n" + encode_ready(answer.record).rstrip(b"\n")
                await idempotency.keep(self.db, claim, 200, body)
                uploads.keep()
            return answer

        return await self.steps.asked("create", name, "", info, once)

    async def create_quickly(
        self, name: str, sent: Submitted, query: Mapping[str, str], asker: Asker
    ) -> Body | None:
        """Create a plain record in one statement that also checks the caller's proof; None if that is not to be.

        Then nothing was written, and `create` says why. Raises Invalid for a value that is taken.
        """
        if sent.uploads or not query.keys().isdisjoint(DECODED):
            return None
        question = self.creation(name, sent.values, asker)
        return await answer_to(question) if question is not None else None

    def creation(self, name: str, sent: Mapping[str, Any], asker: Asker) -> Question | None:
        """The statement of `create_quickly`, and what makes its answer."""
        schema = self.cache.current
        collection = schema.get(name)
        return self.quick.create(schema, collection, sent, asker) if collection is not None else None

    async def _create(
        self, schema: Schema, name: str, sent: Submitted, query: Mapping[str, str], info: RequestInfo
    ) -> Answer:
        collection = schema.find(name)
        if collection.is_view:
            raise Invalid(NO_VIEWS)
        if rule_of(schema, collection, "create") is None and not info.is_superuser:
            raise Forbidden(SUPERUSERS_ONLY)
        plan = plan_of(schema, collection)
        sent = await self.steps.with_staged(plan, sent, info)
        empty = empty_record(collection)
        resolved = await self.steps.resolved(collection, sent, empty, info)
        info = msgspec.structs.replace(info, body=resolved.body)
        level = Level.SUPERUSER if info.is_superuser else await self._may_create(schema, plan, resolved, info)
        # Who signs up through another service has no password to send; nobody gets to know this one.
        generated = collection.is_auth and info.context == "oauth2" and "password" not in resolved.passwords
        if collection.is_auth and (
            form := await accounts.form_errors(resolved, None, level, needs_password=not generated)
        ):
            raise Invalid(CREATE_FAILED, form)
        record = resolved.record
        if generated:
            record["password"] = await hash_password(secret())
        complete_new(plan, record)
        errors = plain_errors(plan, record, None, resolved.passwords)
        if not errors:
            # Before the transaction: a hash takes longer than everything else together.
            await self.steps.hash(collection, record, resolved.passwords, is_new=True)
        if errors or not plan.file_fields:
            row = await self._insert(schema, plan, record, errors, info)
        else:
            async with self.steps.showing(plan, record, info, CREATE_FAILED):
                row = await self._insert(schema, plan, record, errors, info)
        if collection.is_superusers and record["email"] != INSTALLER_EMAIL:
            await self._remove_installer(collection)
        return await self.steps.answer(schema, plan, row, query, info)

    async def _may_create(self, schema: Schema, plan: Plan, resolved: Resolved, info: RequestInfo) -> Level:
        """Evaluate create and manage rule on the row as it would be written; raises Invalid."""
        collection = plan.collection
        if any(
            len(plain.encode("utf-8", "replace")) > MAX_PASSWORD_BYTES
            for plain in resolved.passwords.values()
        ):
            raise Invalid(CREATE_FAILED)
        rule = rule_of(schema, collection, "create")
        options = collection.options
        manage = options.manage_rule if options is not None and info.caller is not None else None
        if not rule and not manage:
            return Level.DEFAULT
        args = Args()
        row = queries.virtual_row(plan, virtual_values(plan, resolved), args)
        try:
            conditions = ["true"]
            if rule:
                conditions[0] = rule_condition(schema, collection, rule, info, args, virtual=queries.VIRTUAL)
            if manage:
                manager = manage_condition(schema, collection, manage, info, args, queries.VIRTUAL)
                if manager:
                    conditions.append(manager)
            statement = args.bind(queries.virtual_check(row, conditions))
            found = await self.db.fetchrow(statement.text, *statement.args)
        except REFUSED:
            raise Invalid(CREATE_FAILED) from None
        if found is None or not found[0]:
            raise Invalid(CREATE_FAILED)
        return Level.MANAGER if len(conditions) > 1 and found[1] else Level.DEFAULT

    async def _insert(
        self,
        schema: Schema,
        plan: Plan,
        record: dict[str, Any],
        errors: dict[str, FieldError],
        info: RequestInfo,
    ) -> Row:
        """Check against what is stored and write the row with its files, all or nothing."""
        collection = plan.collection
        if plan.stands_alone and not self.watchers.take_part(collection):
            if errors:
                raise Invalid(CREATE_FAILED, errors)
            version = await self.steps.write(plan, record, queries.insert, CREATE_FAILED)
            await self.watchers.saved(collection, record, None, info)
            return Row(record, version)
        async with undone_on_failure(self.files) as uploads, self.db.transaction():
            if collection.name in accounts.REF_COLLECTIONS and (
                wrong := await accounts.ref_errors(self.db, schema, collection, record)
            ):
                raise Invalid(CREATE_FAILED, wrong)
            errors = errors | await stored_errors(self.db, schema, plan, record, None, errors)
            if errors:
                raise Invalid(CREATE_FAILED, errors)
            if collection.is_auth:
                await accounts.prepare(self.db, schema, plan, record, None, new_password=True)
            await self.watchers.saving(schema, plan, record, None, info, CREATE_FAILED)
            version = await self.steps.write(plan, record, queries.insert, CREATE_FAILED)
            await self.watchers.saved(collection, record, None, info)
            uploads.keep()
        return Row(record, version)

    async def create_internal(self, collection: Collection, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write a new record from stored forms; absent fields are generated or empty. Returns it whole."""
        plan = plan_of(self.cache.current, collection)
        record = empty_record(collection) | dict(values)
        complete_new(plan, record)
        if not self.watchers.take_part(collection):
            await self.steps.write(plan, record, queries.insert, CREATE_FAILED)
            await self.watchers.saved(collection, record, None, None)
            return record
        async with self.db.transaction():
            await self.watchers.saving(self.cache.current, plan, record, None, None, CREATE_FAILED)
            await self.steps.write(plan, record, queries.insert, CREATE_FAILED)
            await self.watchers.saved(collection, record, None, None)
        return record

    async def _remove_installer(self, collection: Collection) -> None:
        """The account of the set-up page has done its work with the first real superuser."""
        installer = await self.reading.find_one(collection, 'r."email" = $1', INSTALLER_EMAIL)
        if installer is not None:
            await self.deleting.delete_internal(collection, installer["id"])


def complete_new(plan: Plan, record: dict[str, Any]) -> None:
    """Fill in what a new record gets by itself: generated texts and the dates of its creation."""
    moment = now()
    for field in plan.fields:
        if isinstance(field, TextField):
            if not record[field.name] and field.autogenerate_pattern:
                record[field.name] = field.generate()
        elif isinstance(field, AutodateField) and field.on_create:
            record[field.name] = moment
    if plan.collection.is_auth and not record["tokenKey"]:
        record["tokenKey"] = secret()


def virtual_values(plan: Plan, resolved: Resolved) -> dict[str, Any]:
    """The row that a create rule sees: nothing generated yet, no account verified, no password readable."""
    values = dict(resolved.record)
    for name in resolved.passwords:
        values[name] = "$argon2id$" + secret()
    # Unpredictable and non-empty, so that a rule can neither match it nor take it for missing.
    values["id"] = values["id"] or secret()
    if isinstance(values.get("verified"), bool):
        values["verified"] = False
    return values
