"""List, view, create, update and delete records: what every request for data goes through."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec

from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import (
    BadValue,
    Busy,
    LimitExceeded,
    SchemaChanged,
    StatementRefused,
    UniqueViolation,
)
from groundplane.db.sql import Args
from groundplane.errors import (
    FieldError,
    Forbidden,
    GroundplaneError,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from groundplane.events.changes import Change, ChangeAction, Changes
from groundplane.files.service import Files
from groundplane.files.storage import StorageFailed
from groundplane.hooks.calls import Before, Hooks, PluginFailed
from groundplane.hooks.events import (
    ListQuery,
    PasswordCheck,
    RecordEnrich,
    RecordRequest,
    RecordSaved,
    RecordSaving,
    RecordWriteFailed,
)
from groundplane.query.effective import Action, Rule, has_say, rule_of
from groundplane.query.errors import QueryError
from groundplane.query.filters import filter_condition, refuse_request_identifiers
from groundplane.query.rules import rule_condition
from groundplane.query.sort import order_by, sort_condition
from groundplane.records import accounts, idempotency, queries
from groundplane.records.accounts import Level
from groundplane.records.attachments import remove_replaced, store_new, undone_on_failure
from groundplane.records.checks import plain_errors, stored_errors, unique_errors
from groundplane.records.deleting import REQUIRED_REFERENCE, Deletion
from groundplane.records.expand import Node, shown
from groundplane.records.paging import ListRequest, list_request, page_of
from groundplane.records.plan import Plan, Row, plan_of
from groundplane.records.quick import Asker, Body, QuickReads
from groundplane.records.quick_create import insert_quickly, is_id_sent, suits
from groundplane.records.values import Resolved, Submitted, empty_record, resolve
from groundplane.records.wire import encode_ready
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.text import TextField
from groundplane.security.ids import secret
from groundplane.security.passwords import MAX_PASSWORD_BYTES, hash_password

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 3  # at work that other transactions got in the way of
ATTEMPTS_AT_ANOTHER_SCHEMA = 20  # each at a newer one; more changes than that in one request are not use
SCHEMA_WAIT_S = 2.0  # for this process to hear of a new schema that the database already has
SCHEMA_POLL_S = 0.02

WRITES = ("create", "update", "delete")
SUPERUSERS_ONLY = "Only superusers can perform this action."
NO_VIEWS = "Unsupported collection type."
CREATE_FAILED = "Failed to create record."
UPDATE_FAILED = "Failed to update record."
INSTALLER_EMAIL = "__pbinstaller@example.com"

# What a statement made of a rule or a client's words may fail with, besides not compiling.
STALE = (StatementRefused, BadValue)
REFUSED = (QueryError, LimitExceeded, *STALE)


class Answer(NamedTuple):
    """A record as the caller may see it, and its version for `ETag` ("" for records of views)."""

    record: Any
    etag: str = ""


def is_stale(error: GroundplaneError) -> bool:
    """Whether a failure may come from SQL for a column that has another type by now, a list perhaps.

    PostgreSQL refuses it like SQL that never was right, and the answer is made from that refusal.
    """
    return isinstance(error, STALE) or isinstance(error.__context__, STALE)


class Records:
    """The verbs on records, for the API, for batches and for other parts of the server.

    Every method works on the schema that is current when it is called. `create` and `update` take a body
    as it was decoded, `query` is the request's parameters (`expand` is read here, `fields` by the edge).
    """

    def __init__(
        self,
        db: Database,
        cache: SchemaCache,
        files: Files,
        hooks: Hooks | None = None,
        changes: Changes | None = None,
    ) -> None:
        self.db = db
        self.cache = cache
        self.files = files
        self.hooks = hooks or Hooks()
        self.changes = changes or Changes()
        self.quick = QuickReads(db, cache)

    # Reading

    async def page(self, name: str, query: Mapping[str, str], info: RequestInfo) -> dict[str, Any]:
        """One page of the records that list rule and filter let through."""
        return await self._asked("list", name, "", info, lambda schema: self._page(schema, name, query, info))

    async def _page(
        self, schema: Schema, name: str, query: Mapping[str, str], info: RequestInfo
    ) -> dict[str, Any]:
        collection = schema.find(name)
        rule = rule_of(schema, collection, "list")
        if not info.is_superuser:
            if rule is None:
                raise Forbidden(SUPERUSERS_ONLY)
            refuse_request_identifiers(query.get("filter", ""), query.get("sort", ""), info)
        bounds: list[str] = []
        if self.hooks.list_query:
            event = ListQuery(collection, dict(query), info)
            await self.hooks.list_query(collection, event=event)
            query, bounds = event.query, event.restrict
        ask = list_request(query)
        plan = plan_of(schema, collection)
        args = Args()
        conditions: list[str] = []
        try:
            for bound in bounds:
                conditions.append(rule_condition(schema, collection, bound, info, args))
            if rule and not info.is_superuser:
                conditions.append(rule_condition(schema, collection, rule, info, args))
            if ask.filter:
                conditions.append(filter_condition(schema, collection, ask.filter, info, args))
            if ask.sort and not info.is_superuser:
                conditions.append(sort_condition(schema, collection, ask.sort, info, args))
            order = order_by(schema, collection, ask.sort, info, args)
        except QueryError:
            raise Invalid() from None
        condition = queries.all_of(*conditions)
        rows, total = await self._fetch_page(plan, condition, order, ask, args)
        items = await self._shown(schema, [Node(plan, row) for row in rows], info, ask.expand)
        return page_of(items, ask, total)

    async def _fetch_page(
        self, plan: Plan, condition: str, order: str, ask: ListRequest, args: Args
    ) -> tuple[list[Row], int]:
        counted = not ask.skip_total
        statement = queries.select_page(
            plan, condition, order, ask.per_page, ask.offset, args, counted=counted
        )
        found = await self.db.fetch(statement.text, *statement.args)
        if not counted:
            return [plan.row(record) for record in found], -1
        total: int = found[0][0]
        # The one row of an empty page has nothing but the count.
        found = [] if len(found) == 1 and found[0]["id"] is None else found
        return [plan.row(record[1:]) for record in found], total

    async def view(self, name: str, record_id: str, query: Mapping[str, str], info: RequestInfo) -> Answer:
        """One record that the view rule lets through; raises NotFound."""
        return await self._asked(
            "view", name, record_id, info, lambda schema: self._view(schema, name, record_id, query, info)
        )

    async def _view(
        self, schema: Schema, name: str, record_id: str, query: Mapping[str, str], info: RequestInfo
    ) -> Answer:
        collection = schema.find(name)
        rule = rule_of(schema, collection, "view")
        row = await self.find_allowed(schema, collection, record_id, rule, info)
        return await self._answer(schema, plan_of(schema, collection), row, query, info)

    async def find_allowed(
        self,
        schema: Schema,
        collection: Collection,
        record_id: str,
        rule: Rule,
        info: RequestInfo,
        lock: str = "",
    ) -> Row:
        """Fetch a record by its id and a rule in one statement; raises Forbidden and NotFound."""
        if rule is None and not info.is_superuser:
            raise Forbidden(SUPERUSERS_ONLY)
        plan = plan_of(schema, collection)
        args = Args()
        if not is_possible_id(record_id):
            raise NotFound()
        try:
            allowed = (
                rule_condition(schema, collection, rule, info, args) if rule and not info.is_superuser else ""
            )
            statement = queries.select_one(plan, record_id, args, allowed, lock)
            record = await self.db.fetchrow(statement.text, *statement.args)
        except REFUSED:
            raise NotFound() from None
        if record is None:
            raise NotFound()
        return plan.row(record)

    # Creating

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
            return await self._asked(
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

        return await self._asked("create", name, "", info, once)

    async def create_quickly(
        self, name: str, sent: Submitted, query: Mapping[str, str], asker: Asker
    ) -> Body | None:
        """Create a plain record in one statement that also checks the caller's proof; None if that is not to be.

        Then nothing was written, and `create` says why.
        """
        schema = self.cache.current
        collection = schema.get(name)
        if collection is None or not suits(schema, collection) or is_id_sent(sent.values):
            return None
        if not self.reads_are_plain or self._watched(collection):
            return None
        superuser = asker.caller is not None and asker.caller.is_superuser
        if sent.uploads or "expand" in query or "fields" in query:
            return None
        if collection.create_rule is None and not superuser:
            return None
        resolved = resolve(collection, sent, empty_record(collection), see_hidden=superuser)
        complete_new(plan_of(schema, collection), resolved.record)
        return await insert_quickly(self.db, schema, collection, resolved, asker)

    async def _create(
        self, schema: Schema, name: str, sent: Submitted, query: Mapping[str, str], info: RequestInfo
    ) -> Answer:
        collection = schema.find(name)
        if collection.is_view:
            raise Invalid(NO_VIEWS)
        if rule_of(schema, collection, "create") is None and not info.is_superuser:
            raise Forbidden(SUPERUSERS_ONLY)
        plan = plan_of(schema, collection)
        empty = empty_record(collection)
        resolved = await self._resolved(collection, sent, empty, info)
        info = msgspec.structs.replace(info, body=resolved.body)
        level = Level.SUPERUSER if info.is_superuser else await self._may_create(schema, plan, resolved, info)
        if collection.is_auth and (form := await accounts.form_errors(resolved, None, level)):
            raise Invalid(CREATE_FAILED, form)
        record = resolved.record
        complete_new(plan, record)
        errors = plain_errors(plan, record, None, resolved.passwords)
        if not errors:
            # Before the transaction: a hash takes longer than everything else together.
            await self._hash(collection, record, resolved.passwords, is_new=True)
        row = await self._insert(schema, plan, record, errors, info)
        if collection.is_superusers and record["email"] != INSTALLER_EMAIL:
            await self._remove_installer(schema, collection)
        return await self._answer(schema, plan, row, query, info)

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
        if plan.stands_alone and not self._needs_transaction(collection):
            if errors:
                raise Invalid(CREATE_FAILED, errors)
            version = await self._write(plan, record, queries.insert, CREATE_FAILED)
            await self._saved(collection, record, None, info)
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
            await self._saving(schema, plan, record, None, info, CREATE_FAILED)
            version = await self._write(plan, record, queries.insert, CREATE_FAILED)
            await self._saved(collection, record, None, info)
            uploads.keep()
        return Row(record, version)

    # Updating

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
        return await self._asked(
            "update",
            name,
            record_id,
            info,
            lambda schema: self._update(schema, name, record_id, sent, query, info, if_match),
        )

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
        async with undone_on_failure(self.files) as uploads, self.db.transaction():
            before = await self._locked(plan, record_id)
            resolved = await self._resolved(collection, sent, before.values, info)
            info = msgspec.structs.replace(info, body=resolved.body)
            level = await self._may_update(schema, plan, record_id, info)
            check_version(before, if_match)
            row = await self._change(schema, plan, before, resolved, level, info)
            uploads.keep()
        return await self._answer(schema, plan, row, query, info)

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
        await self._hash(collection, record, resolved.passwords, is_new=False)
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
        await self._saving(schema, plan, record, old, info, UPDATE_FAILED)
        changes = {name: value for name, value in record.items() if value != old[name]}
        if not changes:
            return Row(record, before.version)
        version = await self._write(
            plan,
            record,
            lambda plan, _: queries.update(plan, old["id"], changes),
            UPDATE_FAILED,
        )
        if plan.collection.is_auth:
            await accounts.settle(self.db, schema, plan, record, old)
        await remove_replaced(self.db, self.files, plan, old, record)
        await self._saved(plan.collection, record, old, info)
        return Row(record, version)

    async def _write(
        self,
        plan: Plan,
        record: dict[str, Any],
        statement_of: Callable[[Plan, Mapping[str, Any]], Any],
        failed: str,
    ) -> int:
        """Store the new files, then run the insert or update; returns the row's version."""
        try:
            await store_new(self.files, plan, record)
            statement = statement_of(plan, record)
            version: int = await self.db.fetchval(statement.text, *statement.args)
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

    # Deleting

    async def delete(self, name: str, record_id: str, info: RequestInfo, *, if_match: str = "") -> None:
        """Delete a record under the delete rule, with everything that follows from it."""
        await self._asked(
            "delete",
            name,
            record_id,
            info,
            lambda schema: self._delete(schema, name, record_id, info, if_match),
        )

    async def _delete(
        self, schema: Schema, name: str, record_id: str, info: RequestInfo, if_match: str
    ) -> None:
        collection = schema.find(name)
        if collection.is_view:
            raise Invalid(NO_VIEWS)
        async with self.db.transaction():
            rule = rule_of(schema, collection, "delete")
            row = await self.find_allowed(schema, collection, record_id, rule, info, lock="FOR UPDATE")
            check_version(row, if_match)
            try:
                await self._deletion(schema, info).delete(collection, [record_id])
            except (UniqueViolation, *REFUSED) as error:
                raise Invalid(REQUIRED_REFERENCE) from error

    # For other parts of the server: no rules, no checks of fields

    async def find_one(self, collection: Collection, where: str, *args: object) -> dict[str, Any] | None:
        """The first record that satisfies a condition over the alias `r`, in stored form."""
        plan = plan_of(self.cache.current, collection)
        statement = queries.select_where(plan, where, Args())
        record = await self.db.fetchrow(f"{statement.text} LIMIT 1", *args)
        return plan.row(record).values if record is not None else None

    async def create_internal(self, collection: Collection, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write a new record from stored forms; absent fields are generated or empty. Returns it whole."""
        plan = plan_of(self.cache.current, collection)
        record = empty_record(collection) | dict(values)
        complete_new(plan, record)
        if not self._needs_transaction(collection):
            await self._write(plan, record, queries.insert, CREATE_FAILED)
            await self._saved(collection, record, None, None)
            return record
        async with self.db.transaction():
            await self._saving(self.cache.current, plan, record, None, None, CREATE_FAILED)
            await self._write(plan, record, queries.insert, CREATE_FAILED)
            await self._saved(collection, record, None, None)
        return record

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

    async def delete_internal(self, collection: Collection, record_id: str) -> None:
        """Delete a record with everything that follows from it."""
        async with self.db.transaction():
            await self._deletion(self.cache.current).delete(collection, [record_id])

    async def enrich(
        self,
        collection: Collection,
        rows: Sequence[Mapping[str, Any]],
        info: RequestInfo,
        *,
        expand: str = "",
    ) -> list[dict[str, Any]]:
        """Stored records as this caller may see them."""
        schema = self.cache.current
        plan = plan_of(schema, collection)
        return await self._shown(schema, [Node(plan, Row(dict(row))) for row in rows], info, expand)

    # Steps shared by the verbs

    async def again(self, work: Callable[[Schema], Awaitable[T]]) -> T:
        """Do the work on the current schema, and anew when a deadlock or a change of the schema undid it.

        Inside an open transaction there is only one attempt: the outer work has to start anew.
        """
        for attempt in range(1, ATTEMPTS_AT_ANOTHER_SCHEMA + 1):
            schema = self.cache.current
            try:
                return await work(schema)
            except GroundplaneError as error:
                if self.db.in_transaction:
                    raise
                if isinstance(error, Busy | SchemaChanged):
                    moved = isinstance(error, SchemaChanged) and await self._moved_on(schema)
                    if not moved and attempt >= ATTEMPTS:
                        raise
                elif not (is_stale(error) and await self._moved_on(schema)):
                    raise
        raise Unavailable()

    async def _moved_on(self, schema: Schema) -> bool:
        """Whether the database has another schema by now; waits a moment for this process to know it."""
        version = int(await self.db.fetchval(queries.SCHEMA_VERSION) or 0)
        waited = 0.0
        while self.cache.current.version < version and waited < SCHEMA_WAIT_S:
            await asyncio.sleep(SCHEMA_POLL_S)
            waited += SCHEMA_POLL_S
        return self.cache.current is not schema

    async def _resolved(
        self, collection: Collection, sent: Submitted, current: Mapping[str, Any], info: RequestInfo
    ) -> Resolved:
        work = partial(resolve, collection, sent, current, see_hidden=info.is_superuser)
        # Telling what an upload is may mean to read an archive's directory from the disk.
        return await asyncio.to_thread(work) if sent.uploads else work()

    async def _hash(
        self, collection: Collection, record: dict[str, Any], passwords: Mapping[str, str], *, is_new: bool
    ) -> None:
        for name, plain in passwords.items():
            if self.hooks.password_check:
                check = PasswordCheck(collection, name, plain, record, is_new)
                await self.hooks.password_check(collection, event=check)
            record[name] = await hash_password(plain)

    async def _remove_installer(self, schema: Schema, collection: Collection) -> None:
        """The account of the set-up page has done its work with the first real superuser."""
        installer = await self.find_one(collection, 'r."email" = $1', INSTALLER_EMAIL)
        if installer is not None:
            async with self.db.transaction():
                await self._deletion(schema).delete(collection, [installer["id"]])

    async def _answer(
        self, schema: Schema, plan: Plan, row: Row, query: Mapping[str, str], info: RequestInfo
    ) -> Answer:
        """The record as the response shows it."""
        records = await self._shown(schema, [Node(plan, row)], info, query.get("expand", ""))
        return Answer(records[0], etag_of(row))

    # Where plugins come in; each costs a look at a flag while there is none

    @property
    def reads_are_plain(self) -> bool:
        """Whether no plugin wants to see what is read, so that PostgreSQL may write the answer."""
        hooks = self.hooks
        return not (hooks.record_request or hooks.list_query or hooks.record_enrich) and not has_say(
            self.cache.current
        )

    @property
    def writes_are_plain(self) -> bool:
        """Whether no plugin wants to see what is written either."""
        hooks = self.hooks
        return self.reads_are_plain and not (
            hooks.record_saving or hooks.record_saved or hooks.record_write_failed or hooks.password_check
        )

    async def _asked(
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
            return await self.again(work)
        collection = self.cache.current.find(name)
        try:
            event = RecordRequest(action, collection, record_id, info)
            async with around(collection, event=event):
                return await self.again(work)
        except Exception as error:
            if failed and action in WRITES:
                failure = RecordWriteFailed(action, collection, record_id, error, info.caller)
                failed(collection, event=failure)
            raise

    async def _shown(
        self, schema: Schema, nodes: Sequence[Node], info: RequestInfo, expand: str
    ) -> list[dict[str, Any]]:
        items = await shown(self.db, schema, nodes, info, expand)
        if self.hooks.record_enrich:
            await enrich_all(self.hooks.record_enrich, schema, items, info)
        return items

    def _watched(self, collection: Collection) -> bool:
        """Whether anybody wants to know of the records that are created in this collection."""
        saved = self.hooks.record_saved
        return self._needs_transaction(collection) or (bool(saved) and saved.concerns(collection))

    def _needs_transaction(self, collection: Collection) -> bool:
        """Whether somebody takes part in the creation of this collection's records, before the commit."""
        hook = self.hooks.record_saving
        return (bool(hook) and hook.concerns(collection)) or self.changes.concerns(collection, "create")

    async def _saving(
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

    async def _saved(
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

    def _deletion(self, schema: Schema, info: RequestInfo | None = None) -> Deletion:
        caller = info.caller if info is not None else None
        return Deletion(self.db, schema, self.files, self.hooks, caller, self.changes)


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


def is_possible_id(record_id: str) -> bool:
    """Whether PostgreSQL can be asked for this id at all."""
    return (
        bool(record_id)
        and "\x00" not in record_id
        and not any("\ud800" <= char <= "\udfff" for char in record_id)
    )


def etag_of(row: Row) -> str:
    return f'"{row.version}"' if row.version else ""


def check_version(row: Row, if_match: str) -> None:
    """Compare with an If-Match header: a list of quoted versions, or `*` for any; weak ones never match."""
    if not if_match or if_match.strip() == "*":
        return
    if etag_of(row) not in [each.strip() for each in if_match.split(",")]:
        raise PreconditionFailed()


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
