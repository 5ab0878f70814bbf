"""The short way of plain updates and deletes: rule, version, checks, the caller's proof and the row in one statement.

Taken when a change needs no file, no look at other tables but references, and nobody in Python. Whatever the
statement does not write takes the ordinary way, which knows why not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import asyncpg

from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.sql import Args, Sql, ident
from groundplane.db.write_lanes import WriteLane, WriteShape
from groundplane.query.rules import rule_condition
from groundplane.records import queries
from groundplane.records.bodies import record_text
from groundplane.records.plain import Take, Unusual, taker_of
from groundplane.records.plan import BASE, Plan, plan_of
from groundplane.records.quick import Asker, Body, Question, example, kind_of, proof_condition
from groundplane.records.shapes import TEXT, Given, Learnt, depends_on_caller_only, is_plain, shapes_of
from groundplane.records.stored_checks import stored_check
from groundplane.records.values import AUTOGENERATE
from groundplane.records.watchers import Watchers
from groundplane.records.wire import escaped
from groundplane.records.write_shapes import (
    GIVEN,
    array_text,
    change_shape,
    column_of,
    delete_shape,
    reference_condition,
)
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.number import NumberField

PLANS = "quick changes"  # our shelf in `Schema.plans`
MAX_KNOWN = 500  # sets of changed fields of one schema version
VERSION = "gp_version"
# One version as we write it in ETag. Lists and `*` are for the ordinary way.
ONE_VERSION = re.compile(r'"([0-9]{1,10})"')
NOTHING = Body(b"")


class Part(NamedTuple):
    """What becomes of one key of a body."""

    field: Field
    take: Take
    added: int = 0  # 1 and -1 for `+` and `-` behind the name of a number


class Ready(NamedTuple):
    """All that a change needs which depends on collection, keys and kind of caller only."""

    shape: WriteShape
    learnt: Learnt
    takers: tuple[tuple[str, Take], ...] = ()
    has_moment: bool = False


class QuickChanges:
    """Updates and deletes of single plain records; None stands for "take the ordinary way"."""

    def __init__(self, lane: WriteLane, watchers: Watchers) -> None:
        self._lane = lane
        self._watchers = watchers

    def update(
        self,
        schema: Schema,
        collection: Collection,
        record_id: str,
        sent: Mapping[str, Any],
        asker: Asker,
        if_match: str = "",
    ) -> Question | None:
        """A change of a record by a body."""
        version = version_of(if_match)
        if version is None or not is_plain_id(record_id) or not asker_is_plain(asker):
            return None
        if not self._watchers.update_is_plain(schema, collection):
            return None
        keys = tuple(sorted(sent))
        shelf_key = ("update", collection.id, kind_of(asker.caller), asker.proof != "", version != "", keys)
        make = partial(self._updating, schema, collection, asker, keys, version != "")
        ready = known(schema, shelf_key, make)
        if ready is None:
            return None
        try:
            values = [take(sent[key]) for key, take in ready.takers]
        except Unusual:
            return None
        head = [record_id, version] if version else [record_id]
        if ready.has_moment:
            values.append(now())
        given = ready.learnt.values((asker.proof, asker.caller.id if asker.caller is not None else ""))
        return Question(self._lane, ready.shape, (*head, *values, *given), changed_body)

    def delete(
        self, schema: Schema, collection: Collection, record_id: str, asker: Asker, if_match: str = ""
    ) -> Question | None:
        """The removal of a record that nothing refers to."""
        version = version_of(if_match)
        if version is None or not is_plain_id(record_id) or not asker_is_plain(asker):
            return None
        if not self._watchers.delete_is_plain(schema, collection):
            return None
        shelf_key = ("delete", collection.id, kind_of(asker.caller), asker.proof != "", version != "")
        ready = known(schema, shelf_key, partial(self._deleting, schema, collection, asker, version != ""))
        if ready is None:
            return None
        head = [record_id, version] if version else [record_id]
        given = ready.learnt.values((asker.proof, asker.caller.id if asker.caller is not None else ""))
        return Question(self._lane, ready.shape, (*head, *given), lambda _: NOTHING)

    def _updating(
        self,
        schema: Schema,
        collection: Collection,
        asker: Asker,
        keys: tuple[str, ...],
        matched: bool,
        key: Any,
    ) -> Ready | None:
        plan = plan_of(schema, collection)
        superuser = asker.caller is not None and asker.caller.is_superuser
        rule = collection.update_rule
        if not suits(schema, plan) or (rule is None and not superuser) or not depends_on_caller_only(rule):
            return None
        parts = parts_of(plan, keys, superuser=superuser)
        if not parts:
            return None
        dates = [field for field in plan.fields if isinstance(field, AutodateField) and field.on_update]
        columns = [(VERSION, "text", "text[]")] if matched else []
        columns += [column_of(part.field, new_name(part.field)) for _, part in parts]
        if dates:
            columns.append(("gp_moment", "timestamptz(3)", "timestamptz[]"))
        new = {part.field.name: new_value(part) for _, part in parts}
        differs = None if dates else difference(parts)
        if differs == "":
            return None  # a change that changes nothing must leave the version alone
        learnt = shapes_of(schema).find(
            key,
            (TEXT, TEXT),
            partial(write_condition, schema, plan, asker, rule, "PATCH", matched, new, differs or ""),
            together=1,
        )
        shown = record_text(plan, superuser=superuser)
        if learnt is None or shown is None:
            return None
        assignments = [(part.field, new[part.field.name]) for _, part in parts]
        assignments += [(field, f"{GIVEN}.gp_moment") for field in dates]
        shape = change_shape(plan, columns, assignments, shown, learnt)
        takers = tuple((name, part.take) for name, part in parts)
        return Ready(shape, learnt, takers, bool(dates))

    def _deleting(
        self, schema: Schema, collection: Collection, asker: Asker, matched: bool, key: Any
    ) -> Ready | None:
        plan = plan_of(schema, collection)
        superuser = asker.caller is not None and asker.caller.is_superuser
        rule = collection.delete_rule
        if (
            not suits(schema, plan)
            or plan.file_fields
            or schema.references.get(collection.id)
            or (rule is None and not superuser)
            or not depends_on_caller_only(rule)
        ):
            return None
        learnt = shapes_of(schema).find(
            key,
            (TEXT, TEXT),
            partial(write_condition, schema, plan, asker, rule, "DELETE", matched, None, ""),
            together=1,
        )
        if learnt is None:
            return None
        columns = [(VERSION, "text", "text[]")] if matched else []
        return Ready(delete_shape(plan, columns, learnt), learnt)


def known(schema: Schema, key: Any, make: Callable[[Any], Ready | None]) -> Ready | None:
    """What was made for this key, made now if need be; what cannot be made is not kept, for it may be learnt."""
    shelf = schema.plans.setdefault(PLANS, {})
    found = shelf.get(key)
    if isinstance(found, Ready):
        return found
    ready = make(key)
    if ready is not None:
        if len(shelf) >= MAX_KNOWN:
            shelf.clear()
        shelf[key] = ready
    return ready


def suits(schema: Schema, plan: Plan) -> bool:
    """Whether stored records of the collection can be changed the short way."""
    collection = plan.collection
    return (
        collection.type == "base"
        and not collection.system
        and not plan.password_fields
        and all(field.collection_id in schema.by_id for field in plan.relation_fields)
    )


def asker_is_plain(asker: Asker) -> bool:
    return asker.caller is None or is_plain(asker.caller.id)


def is_plain_id(record_id: str) -> bool:
    return record_id.isascii() and record_id.isalnum()


def version_of(if_match: str) -> str | None:
    """The version that an If-Match header asks for, "" for any; None when it is for the ordinary way."""
    if not if_match:
        return ""
    match = ONE_VERSION.fullmatch(if_match.strip())
    return match[1] if match is not None else None


def parts_of(plan: Plan, keys: Sequence[str], *, superuser: bool) -> list[tuple[str, Part]]:
    """The fields that these keys change; none when there is a key that the ordinary way has to read."""
    found: list[tuple[str, Part]] = []
    for key in keys:
        field = plan.collection.by_name.get(key)
        added = 0
        if field is None and key[-1:] in ("+", "-"):
            field, added = plan.collection.by_name.get(key[:-1]), 1 if key[-1] == "+" else -1
            if not isinstance(field, NumberField):
                return []
        if field is None:
            if key[:1] == "+" or key.endswith(AUTOGENERATE):
                return []
            continue
        if field.name == "id" or any(part.field is field for _, part in found):
            return []
        if isinstance(field, AutodateField) or (field.hidden and not superuser):
            continue
        found.append((key, Part(field, take_amount if added else writer(field), added)))
    return found


def writer(field: Field) -> Take:
    """As `plain.taker_of`, for a statement's array."""
    take = taker_of(field)
    return (lambda raw: array_text(take(raw))) if field.kind is Kind.MULTI else take


def take_amount(raw: Any) -> float:
    if type(raw) is not int and type(raw) is not float:
        raise Unusual()
    return float(raw)


def new_name(field: Field) -> str:
    return f"new {field.column}"


def new_value(part: Part) -> str:
    """SQL of a changed column's value."""
    given = f"{GIVEN}.{ident(new_name(part.field))}"
    if not part.added:
        return given
    return f"({BASE}.{ident(part.field.column)} {'+' if part.added > 0 else '-'} {given})"


def difference(parts: Sequence[tuple[str, Part]]) -> str:
    """SQL of whether anything changes; "" when SQL cannot compare."""
    differences = []
    for _, part in parts:
        if part.field.kind is Kind.GEO:
            return ""
        cast = "::text" if part.field.kind is Kind.JSON else ""
        column = f"{BASE}.{ident(part.field.column)}"
        differences.append(f"{column}{cast} IS DISTINCT FROM {new_value(part)}{cast}")
    return " OR ".join(differences)


def write_condition(
    schema: Schema,
    plan: Plan,
    asker: Asker,
    rule: str | None,
    method: str,
    matched: bool,
    new: Mapping[str, str] | None,
    differs: str,
    given: Given,
) -> Sql:
    """What must hold for a stored row of the alias BASE to be changed: `new` are the values of some columns.

    All of the changed record is checked, as in the ordinary way: other fields' rules may have become stricter.
    """
    proof, caller_id = given
    args = Args()
    info: RequestInfo = example(asker.caller, caller_id, method)
    conditions = [
        rule_condition(schema, plan.collection, rule, info, args) if rule and not info.is_superuser else "",
        proof_condition(schema, asker.caller, caller_id, proof, args) if asker.proof else "",
        f"{BASE}.xmin::text = {GIVEN}.{VERSION}" if matched else "",
        differs,
    ]
    if new is not None:
        for field in plan.fields:
            value = new.get(field.name) or f"{BASE}.{ident(field.column)}"
            check = stored_check(field, value, args)
            conditions.append("false" if check is None else check)
        for field in plan.relation_fields:
            value = new.get(field.name) or f"{BASE}.{ident(field.column)}"
            conditions.append(reference_condition(schema, field, value))
    return args.bind(queries.all_of(*conditions))


def changed_body(row: asyncpg.Record) -> Body:
    return Body(escaped(row[1].encode()) + b"\n", f'"{row[2]}"')
