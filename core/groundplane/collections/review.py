"""A change of one collection before it is made: the steps of `groundplane plan`, what is lost, and who gets in."""

from __future__ import annotations

import difflib
from collections.abc import Collection as Names
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import tomlkit

from groundplane.collections import drift, queries
from groundplane.collections.change import SchemaChange
from groundplane.collections.file import declaration
from groundplane.collections.plan import Plan, Planner
from groundplane.collections.pull import new_entry
from groundplane.collections.service import (
    BAD_SHAPE,
    CHANGE_TIMEOUT_S,
    LOCK_TIMEOUT_S,
    Collections,
    raw_errors,
)
from groundplane.collections.steps import change_steps, create_step
from groundplane.collections.submitted import find_errors, prepared
from groundplane.collections.targets import Target
from groundplane.errors import Conflict, ErrorData, Invalid, NotFound
from groundplane.schema.cache import Schema
from groundplane.schema.collection import RULES, Collection
from groundplane.schema.errors import BadShape
from groundplane.schema.wire import RULE_ATTRIBUTES, collection_from_json

FAILED = "Failed to save collection."


class NotConfirmed(Exception):
    """Nothing was changed: a step destroys data that nobody agreed to lose. `review` is what would be done."""

    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review = review


class Review(NamedTuple):
    """What a change comes to.

    `old` is the collection as stored (None: a new one), `new` as wanted; `errors` what keeps it from being
    saved, by the API's names. `rows` is how many records there are. `opened` are the rules that let everyone
    in from now on, `closed` those that do not any more.
    """

    old: Collection | None
    new: Collection
    errors: ErrorData
    plan: Plan = Plan()
    rows: int = 0
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()

    @property
    def to_confirm(self) -> list[str]:
        """The names of fields that have to be typed: their values are lost."""
        return [step.field or step.collection for step in self.plan.destructive]


class Reviewer:
    """Plans and carries out changes of single collections as the API takes them."""

    def __init__(self, collections: Collections, planner: Planner) -> None:
        self._collections = collections
        self._planner = planner
        self._db = collections.db

    async def review(self, raw: Mapping[str, Any], base: str) -> Review:
        """What saving `raw` over the collection with the id `base` ("": a new one) comes to; nothing is changed.

        Raises Invalid for what cannot be read, and NotFound.
        """
        await self._collections.refresh()
        async with self._db.transaction():
            await self._db.execute(queries.limits(LOCK_TIMEOUT_S, CHANGE_TIMEOUT_S))
            return await self._review(self._collections.cache.current, raw, base)

    async def apply(
        self, raw: Mapping[str, Any], base: str, *, seen: str, confirmed: Names[str] = ()
    ) -> Collection:
        """Carry out what was reviewed.

        `seen` is the `updated` of the collection that the review began from; another one raises Conflict.
        Raises Invalid, NotFound, and NotConfirmed when data would be lost whose field is not in `confirmed`.
        """
        async with raw_errors(FAILED):
            return await self._collections.change(partial(self._apply, raw, base, seen, confirmed))

    async def _apply(
        self, raw: Mapping[str, Any], base: str, seen: str, confirmed: Names[str], change: SchemaChange
    ) -> Collection:
        old = change.schema.by_id.get(base) if base else None
        if old is not None and version_of(old) != seen:
            raise Conflict("Somebody else has changed the collection since. Look at the plan again.")
        review = await self._review(change.schema, raw, base)
        if review.errors:
            raise Invalid(FAILED, review.errors)
        if review.plan.destructive and old is not None:
            # Counted again under the lock, or a value written in between would be lost without a word.
            await self._db.execute(queries.lock_table(old.table))
            review = await self._review(change.schema, raw, base)
        if review.plan.problems or not set(review.to_confirm) <= set(confirmed):
            raise NotConfirmed(review)
        return await self._collections.put_checked(change, review.new, old, FAILED)

    async def _review(self, schema: Schema, raw: Mapping[str, Any], base: str) -> Review:
        old = schema.by_id.get(base) if base else None
        if base and old is None:
            raise NotFound()
        try:
            new = collection_from_json(raw, base=old, schema=schema)
        except BadShape:
            raise Invalid(BAD_SHAPE) from None
        new, derived = prepared(schema, new, old)
        errors = await find_errors(self._db, schema, new, old, derived)
        if errors:
            return Review(old, new, errors)
        target = Target(new, old, {})
        if old is None:
            steps = [create_step(new, schema)]
        else:
            tables = await drift.read_tables(self._db, [old.table])
            steps = await change_steps(self._db, target, tables.columns.get(old.table, {}))
        plan = await self._planner.checked(Plan(tuple(steps))) if steps else Plan()
        rows = 0
        if old is not None and not old.is_view:
            rows = int(await self._db.fetchval(queries.count_rows(old.table)))
        before = {rule: getattr(old, RULE_ATTRIBUTES[rule]) if old is not None else None for rule in RULES}
        after = {rule: getattr(new, RULE_ATTRIBUTES[rule]) for rule in RULES}
        opened = tuple(rule for rule in RULES if after[rule] == "" and before[rule] != "")
        closed = tuple(rule for rule in RULES if before[rule] == "" and after[rule] != "")
        return Review(old, new, errors, plan, rows, opened, closed)


def version_of(collection: Collection) -> str:
    """What changes with every change of a collection."""
    return collection.updated.isoformat() if collection.updated is not None else ""


def patch_of(review: Review, schema: Schema) -> tuple[str, str]:
    """The collection's entry for the configuration file, and how it differs from what it would be now.

    Renamed parts say what they were called, so that applying the file keeps their values.
    """
    others = [each for each in schema if each.id != review.new.id]
    after = entry_of(review.new, review.old, Schema([*others, review.new], schema.version))
    before = entry_of(review.old, None, schema) if review.old is not None else ""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=3)
    return after, "\n".join(list(lines)[2:])


def entry_of(collection: Collection, former: Collection | None, schema: Schema) -> str:
    """A collection as the file has it, with the former names of what `former` called otherwise."""
    wanted = declaration(collection, schema)
    if former is not None:
        if former.name != collection.name:
            wanted = {"name": wanted.pop("name"), "renamed_from": former.name} | wanted
        before = former.by_field_id
        for field in collection.fields:
            stored = before.get(field.id)
            if stored is not None and stored.name != field.name and field.name in wanted.get("fields", {}):
                wanted["fields"][field.name]["renamed_from"] = stored.name
    document = tomlkit.document()
    entries = tomlkit.aot()
    document.append("collections", entries)
    entries.append(new_entry(wanted))
    return tomlkit.dumps(document)
