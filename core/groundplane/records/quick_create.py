"""The short way of a plain create: rule, references, the caller's proof and the row in one statement.

Taken when a new row needs no file, no look at other tables but its references, and nobody in Python before it is
committed. Rows that wait together are written by one statement. As in `records.quick`, None stands for "take
the ordinary way", which also knows why not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import asyncpg

from groundplane.clock import now, wire_date
from groundplane.context import Caller, RequestInfo
from groundplane.db.failures import UniqueViolation
from groundplane.db.sql import Args, Sql
from groundplane.db.write_lanes import WriteLane, WriteShape
from groundplane.errors import Invalid
from groundplane.hooks.events import RecordSaved
from groundplane.query.errors import QueryError
from groundplane.query.parser import parse
from groundplane.query.rules import rule_condition
from groundplane.records import queries
from groundplane.records.answers import CREATE_FAILED
from groundplane.records.checks import unique_errors
from groundplane.records.plain import Take, Unusual, taker_of
from groundplane.records.plan import BASE, Plan, plan_of
from groundplane.records.quick import Asker, Body, Question, example, kind_of, proof_condition
from groundplane.records.shapes import (
    TEXT,
    Given,
    Learnt,
    depends_on_caller_only,
    is_plain,
    names_in,
    shapes_of,
)
from groundplane.records.values import AUTOGENERATE
from groundplane.records.watchers import Watchers
from groundplane.records.wire import encode_ready
from groundplane.records.write_shapes import array_text, insert_shape
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.text import DEFAULT_ID_PATTERN, TextField
from groundplane.security.ids import RECORD_ID_LENGTH, record_id

PLANS = "quick create"  # our shelf in `Schema.plans`, by collection, kind of caller and whether they prove it
DEFAULT_ID_GENERATOR = f"[a-z0-9]{{{RECORD_ID_LENGTH}}}"
MISSING = object()  # in the place of a value that has to be sent


class Entry:
    """How a new record comes to be from the body of a caller: its values, and how the caller sees it."""

    def __init__(self, plan: Plan, *, superuser: bool) -> None:
        self.fields = ordered(plan)
        self.names = tuple(field.name for field in self.fields)
        self.takers: dict[str, tuple[int, Take]] = {}
        self.blank: list[Any] = []
        self.generated: list[tuple[int, Callable[[], str]]] = []
        self.moments: list[int] = []
        for position, field in enumerate(self.fields):
            take = taker_of(field)
            self.blank.append(field.zero)
            if isinstance(field, AutodateField):
                if field.on_create:
                    self.moments.append(position)
                continue
            if superuser or not field.hidden:
                self.takers[field.name] = position, take
            if isinstance(field, TextField) and field.autogenerate_pattern:
                self.generated.append((position, generator(field, take)))
            elif field.check(field.zero) is not None:
                self.blank[position] = MISSING
        self.is_demanding = MISSING in self.blank
        self.columns = [
            (position, array_text) for position, field in enumerate(self.fields) if field.kind is Kind.MULTI
        ]
        # Behind the values stand those that are the same for all, and the moment as text.
        self.constants = (plan.collection.id, plan.collection.name)
        places = {
            name: position for position, name in enumerate((*self.names, "collectionId", "collectionName"))
        }
        moments = {self.names[position] for position in self.moments}
        self.shown = [
            (key, len(places) if key in moments else places[key], None if key in moments else convert)
            for key, convert, _ in (plan.complete if superuser else plan.public)
        ]

    def values(self, sent: Mapping[str, Any]) -> list[Any]:
        """The row in stored forms, the id first; raises Unusual."""
        row = self.blank.copy()
        takers = self.takers
        for key, raw in sent.items():
            found = takers.get(key)
            if found is not None:
                row[found[0]] = found[1](raw)
            elif key[-1:] in ("+", "-") or key[:1] == "+" or key.endswith(AUTOGENERATE):
                raise Unusual()
        if self.is_demanding and MISSING in row:
            raise Unusual()
        for position, generate in self.generated:
            if not row[position]:
                row[position] = generate()
        if self.moments:
            moment = now()
            for position in self.moments:
                row[position] = moment
        return row

    def parameters(self, row: list[Any]) -> list[Any]:
        """The row as the statement's arrays take it."""
        if not self.columns:
            return row
        row = row.copy()
        for position, write in self.columns:
            row[position] = write(row[position])
        return row

    def body(self, row: list[Any]) -> bytes:
        """The record as the caller sees it."""
        values = [*row, *self.constants, wire_date(row[self.moments[0]]) if self.moments else ""]
        return encode_ready(
            {
                key: values[position] if convert is None else convert(values[position])
                for key, position, convert in self.shown
            }
        )

    def record(self, row: Sequence[Any]) -> dict[str, Any]:
        """The stored record for plugins, who may keep it."""
        return {
            name: value.copy() if isinstance(value, list) else value
            for name, value in zip(self.names, row, strict=True)
        }


class Ready(NamedTuple):
    """All that a create needs which depends on collection and kind of caller only."""

    entry: Entry
    shape: WriteShape
    learnt: Learnt


class QuickCreates:
    """Writes plain new records; None stands for "take the ordinary way".

    An answer raises Invalid when it is clear that the record's one mistake is a value that is taken.
    """

    def __init__(self, lane: WriteLane, watchers: Watchers) -> None:
        self._lane = lane
        self._watchers = watchers

    def create(
        self, schema: Schema, collection: Collection, sent: Mapping[str, Any], asker: Asker
    ) -> Question | None:
        """A new record from a body, and the answer as the caller sees it."""
        if not self._watchers.create_is_plain(schema, collection):
            return None
        saved = self._watchers.hooks.record_saved
        tells = bool(saved) and saved.concerns(collection)
        caller, proof, version = asker
        # Who is told of the caller is told of the account as it is.
        proves_version = tells and proof != ""
        ready = self._ready(schema, collection, asker, proves_version=proves_version)
        if ready is None or (caller is not None and not is_plain(caller.id)):
            return None
        entry, shape, learnt = ready
        try:
            row = entry.values(sent)
        except Unusual:
            return None
        given = learnt.values((proof, caller.id if caller is not None else "", version))

        def answer(written: asyncpg.Record) -> Body | None:
            if written[1] is None:
                self._refuse(schema, collection, written)
                return None
            if tells:
                saved(collection, event=RecordSaved(collection, entry.record(row), None, caller))
            return Body(entry.body(row), f'"{written[1]}"')

        return Question(self._lane, shape, (*entry.parameters(row), *given), answer)

    def _refuse(self, schema: Schema, collection: Collection, found: asyncpg.Record) -> None:
        """Raise Invalid for a row with one value that is taken; what is less clear is for the ordinary way.

        Of several taken values PostgreSQL names one, and only it knows which.
        """
        failed = self._watchers.hooks.record_write_failed
        if failed and failed.concerns(collection):
            return  # and so is telling plugins of it
        plan = plan_of(schema, collection)
        taken = [
            key.name for key, is_taken in zip(plan.unique_keys or (), found[2:], strict=False) if is_taken
        ]
        if len(taken) == 1:
            violation = UniqueViolation(taken[0], collection.table)
            raise Invalid(CREATE_FAILED, unique_errors(plan, violation)) from violation

    def _ready(
        self, schema: Schema, collection: Collection, asker: Asker, *, proves_version: bool
    ) -> Ready | None:
        caller = asker.caller
        shelf = schema.plans.setdefault(PLANS, {})
        key = (collection.id, kind_of(caller), asker.proof != "", proves_version)
        try:
            return shelf[key]  # type: ignore[return-value]  # the shelves are of objects
        except KeyError:
            pass
        superuser = caller is not None and caller.is_superuser
        if (collection.create_rule is None and not superuser) or not suits(schema, collection):
            shelf[key] = None
            return None
        learnt = shapes_of(schema).find(
            ("create", *key),
            (TEXT, TEXT, TEXT),
            partial(write_condition, schema, collection, asker, proves_version),
            together=1,
        )
        if learnt is None:
            return None
        plan = plan_of(schema, collection)
        ready = Ready(
            Entry(plan, superuser=superuser), insert_shape(schema, plan, ordered(plan), learnt), learnt
        )
        shelf[key] = ready
        return ready


def suits(schema: Schema, collection: Collection) -> bool:
    """Whether new records of the collection can be written the short way."""
    plan = plan_of(schema, collection)
    return (
        collection.type == "base"
        and not collection.system
        and plan.has_default_ids
        and not plan.password_fields
        and all(field.collection_id in schema.by_id for field in plan.relation_fields)
        and depends_on_caller_only(collection.create_rule)
        and not names_generated(collection)
    )


def names_generated(collection: Collection) -> bool:
    """Whether the create rule reads what a record gets by itself: it would see the row without it."""
    if not collection.create_rule:
        return False
    try:
        names = {name.partition(".")[0].partition(":")[0] for name in names_in(parse(collection.create_rule))}
    except QueryError:
        return True
    return any(
        field.name in names
        for field in collection.fields
        if isinstance(field, AutodateField) or (isinstance(field, TextField) and field.autogenerate_pattern)
    )


def generator(field: TextField, take: Take) -> Callable[[], str]:
    """What makes a new value of the field; raises Unusual for one that is not valid."""
    if field.autogenerate_pattern == DEFAULT_ID_GENERATOR and field.pattern == DEFAULT_ID_PATTERN:
        return record_id
    return lambda: take(field.generate())


def ordered(plan: Plan) -> list[Field]:
    """The fields, the id first: by it the lane knows whose row was written."""
    return sorted(plan.fields, key=lambda field: field.name != "id")


def write_condition(
    schema: Schema, collection: Collection, asker: Asker, proves_version: bool, given: Given
) -> Sql:
    """What must hold besides the references for a row of the alias BASE to be written."""
    proof, caller_id, version = given
    caller: Caller | None = asker.caller
    args = Args()
    info: RequestInfo = example(caller, caller_id, "POST")
    rule = "" if info.is_superuser else collection.create_rule or ""
    conditions = [
        rule_condition(schema, collection, rule, info, args, virtual=BASE) if rule else "",
        proof_condition(schema, caller, caller_id, proof, args, version if proves_version else "")
        if asker.proof
        else "",
    ]
    return args.bind(queries.all_of(*conditions))
