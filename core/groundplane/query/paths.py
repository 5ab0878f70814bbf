"""Field paths such as `author.team.name:lower` to operands and joins (contract, filters §8.1)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from groundplane.db.sql import ident
from groundplane.query.effective import rule_of
from groundplane.query.errors import QueryError
from groundplane.query.joins import Join, Joins
from groundplane.query.operands import Operand, column, json_value, lowered
from groundplane.query.request import LISTS
from groundplane.query.restricted import restrictions
from groundplane.query.values import Values
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.indexes import is_single_unique

MAX_HOPS = 6  # relations in one identifier, as in PocketBase
MAX_JSON_KEYS = 100  # in one path; each is a parameter of the statement
MAX_INDEX = 2**31 - 1

ID = ident("id")
MODIFIERS = frozenset({"changed", "each", "isset", "length", "lower"})
NO_VALUE = Operand(number="NULL::double precision", is_json=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path has come to: rows of `collection` under `alias`; `join` is None on the base row.

    `key`      the path so far: equal keys are the same joined row
    `multi`    several rows may belong to one record
    `lenient`  names that lead nowhere are NULL instead of errors (below `@request.…`)
    """

    alias: str
    collection: Collection
    key: tuple[Hashable, ...] = ()
    join: Join | None = None
    multi: bool = False
    lenient: bool = False

    def nowhere(self, message: str) -> Exception:
        return LeadsNowhere(message) if self.lenient else QueryError(message)


class LeadsNowhere(Exception):
    """A path below `@request.…` names something that does not exist."""


class Paths:
    """Follows paths for one text and one request.

    `restricted`  the text is a client's: hidden fields and unlistable collections are refused
    `virtual`     the base row is one that is being created
    `ordered`     joins keep the stored order of lists
    """

    def __init__(
        self, schema: Schema, values: Values, *, restricted: bool, virtual: bool, ordered: bool
    ) -> None:
        self.schema = schema
        self.values = values
        self.restricted = restricted
        self.virtual = virtual
        self.ordered = ordered

    def walk(self, place: Place, path: str, joins: Joins) -> Operand:
        """Return the operand at the path's end; raises QueryError, or LeadsNowhere from a lenient place."""
        segments = path.split(".")
        name, modifier = split_modifier(segments[-1])
        for hops, segment in enumerate(segments[:-1]):
            field = self.field(place, segment)
            if field is not None and field.kind in (Kind.JSON, Kind.GEO):
                return self.inside(place, field, segments[hops + 1 :])
            if hops == MAX_HOPS:
                raise QueryError(f"more than {MAX_HOPS} relations in one path")
            if field is None:
                place = self.back(place, segment, joins)
                continue
            target = self.target(place, field)
            if name == "id" and hops == len(segments) - 2 and not field.is_multiple:
                # The id of a related record is the column itself, also where it dangles.
                key = target.field("id")
                if key is not None:
                    return self.value(place, key, field.column, known_modifier(modifier), joins)
            place = self.related(place, field, target, joins)
        field = self.field(place, name)
        if field is None:
            known_modifier(modifier)
            raise place.nowhere(f"unknown field {name} of {place.collection.name}")
        return self.value(place, field, field.column, known_modifier(modifier), joins)

    def field(self, place: Place, name: str) -> Field | None:
        field = place.collection.field(name)
        if field is not None and self.restricted and self.is_kept(place.collection, field):
            raise QueryError(f"field {name} may not be used")
        return field

    def is_kept(self, collection: Collection, field: Field) -> bool:
        """Whether the field is not for everybody who may see its record."""
        return field.hidden or field.name in restrictions(self.schema, collection)

    # Steps

    def target(self, place: Place, field: Field) -> Collection:
        target_id = getattr(field, "collection_id", "") if field.type_name == "relation" else ""
        target = self.schema.by_id.get(target_id)
        if target is None:
            raise place.nowhere(f"{field.name} of {place.collection.name} leads to no collection")
        return target

    def related(self, place: Place, field: Field, target: Collection, joins: Joins) -> Place:
        """Step along a relation field."""
        stored = f"{place.alias}.{ident(field.column)}"
        key = (*place.key, field.name)
        if not field.is_multiple:
            return self.step(place, target, key, lambda alias: f"{alias}.{ID} = {stored}", joins)
        return self.listed(place, target, key, stored, joins)

    def listed(
        self, place: Place, target: Collection, key: tuple[Hashable, ...], stored: str, joins: Joins
    ) -> Place:
        """Step along a list of ids."""
        each = self.each(place, key, stored, joins)
        return self.step(
            replace(place, join=each, multi=True),
            target,
            key,
            lambda alias: f"{alias}.{ID} = {each.alias}.v",
            joins,
            shortcut=lambda alias: f"{alias}.{ID} = ANY({stored})",
        )

    def back(self, place: Place, segment: str, joins: Joins) -> Place:
        """Step to the records whose relation field points here: `collection_via_field`."""
        name, _, field_name = segment.rpartition("_via_")
        collection = self.schema.get(name) if name else None
        field = None if collection is None else collection.field(field_name)
        if collection is None or field is None or getattr(field, "collection_id", "") != place.collection.id:
            raise place.nowhere(f"unknown field {segment} of {place.collection.name}")
        if self.restricted and self.is_kept(collection, field):
            raise QueryError(f"field {field_name} may not be used")
        if self.virtual and place.join is None and not place.key:
            raise QueryError(f"back relation {segment} of a record that does not exist yet")
        pointing, here = ident(field.column), f"{place.alias}.{ID}"
        is_list = field.is_multiple
        return self.step(
            replace(place, multi=place.multi or is_list or not is_single_unique(collection, field.name)),
            collection,
            (*place.key, "via", collection.id, field.name),
            lambda alias: (
                f"{alias}.{pointing} @> ARRAY[{here}]" if is_list else f"{alias}.{pointing} = {here}"
            ),
            joins,
            stored_order=True,
        )

    def step(
        self,
        place: Place,
        target: Collection,
        key: tuple[Hashable, ...],
        on: Callable[[str], str],
        joins: Joins,
        *,
        shortcut: Callable[[str], str] | None = None,
        stored_order: bool = False,
    ) -> Place:
        """Join rows of `target`, unless this was done before; `on` and `shortcut` take the new alias."""
        join = joins.by_path.get(key)
        if join is None:
            if self.restricted and rule_of(self.schema, target, "list") is None:
                raise QueryError(f"collection {target.name} may not be listed")
            serial, alias = joins.aliases.next()
            row_order = f"{alias}.{ID}" if target.is_view else f"{alias}.{ident('_row')}"
            join = Join(
                serial,
                alias,
                source=f"{ident(target.table)} AS {alias}",
                on=on(alias),
                parent=place.join,
                shortcut=None if shortcut is None else shortcut(alias),
                order=row_order if stored_order else None,
                collection=target,
                listed_in=place.join.listed_in if place.join is not None and shortcut is not None else None,
            )
            joins.by_path[key] = join
        return replace(place, alias=join.alias, collection=target, key=key, join=join)

    def each(self, place: Place, key: tuple[Hashable, ...], stored: str, joins: Joins) -> Join:
        """Join the elements of a list: one row each, one NULL row for an empty list."""
        key = (*key, "each")
        join = joins.by_path.get(key)
        if join is None:
            serial, alias = joins.aliases.next()
            columns = "WITH ORDINALITY AS {}(v, o)" if self.ordered else "AS {}(v)"
            join = Join(
                serial,
                alias,
                source=f"LATERAL unnest({stored}) {columns.format(alias)}",
                on="true",
                parent=place.join,
                order=f"{alias}.o" if self.ordered else None,
                listed_in=stored if place.join is None and not place.key else None,
            )
            joins.by_path[key] = join
        return join

    # Values

    def value(self, place: Place, field: Field, stored_in: str, modifier: str, joins: Joins) -> Operand:
        """Return the field under its modifier; modifiers that mean nothing to its type are ignored."""
        is_list = field.type_name in LISTS
        stored = f"{place.alias}.{ident(stored_in)}"
        read = frozenset() if place.join is None else frozenset({place.join})
        if modifier == "length" and is_list:
            count = f"COALESCE(cardinality({stored}), 0)"
            if not field.is_multiple:
                count = f"CASE WHEN {stored} <> '' THEN 1 ELSE 0 END"
            found = Operand(number=count, nullable=False, strict=False)
        elif modifier == "each" and is_list:
            if field.is_multiple:
                each = self.each(place, (*place.key, field.name), stored, joins)
                return Operand(
                    text=f"{each.alias}.v",
                    joins=frozenset({each}),
                    multi=True,
                    listed_in=each.listed_in,
                    may_dangle=False,
                )
            found = Operand(text=f"NULLIF({stored}, '')")
        else:
            found = self.column(place, field, stored_in)
            if modifier == "lower":
                found = lowered(found)
        visible: tuple[str, ...] = ()
        if self.restricted and field.name == "email" and place.collection.is_auth:
            visible = (f"{place.alias}.{ident('emailVisibility')}",)
        listed_in = place.join.listed_in if place.join is not None and stored_in == "id" else None
        return replace(found, joins=read, multi=place.multi, visible=visible, listed_in=listed_in)

    def column(self, place: Place, field: Field, stored_in: str) -> Operand:
        is_base = place.join is None
        is_table = not place.collection.is_view
        virtual = self.virtual and is_base
        return column(
            ident(stored_in),
            field.kind,
            alias=place.alias,
            nullable=virtual or not (is_base and is_table),
            collated=is_table and not virtual,
            present=None if is_base else f"{place.alias}.{ID} IS NOT NULL",
            typed=not virtual,
        )

    def inside(self, place: Place, field: Field, segments: list[str]) -> Operand:
        """Return what a path below a json or geoPoint field leads to; modifiers are parts of keys there."""
        keys = [segment.replace(":", "") for segment in segments]
        if "" in keys or len(keys) > MAX_JSON_KEYS:
            raise QueryError("malformed json path")
        stored = f"{place.alias}.{ident(field.column)}"
        if field.kind is Kind.GEO:
            part = {"lon": 0, "lat": 1}.get(keys[0]) if len(keys) == 1 else None
            found = NO_VALUE if part is None else Operand(number=f"({stored})[{part}]", is_json=True)
        else:
            found = self.at(f"gp.sound_json({stored}::json)", keys)
        read = frozenset() if place.join is None else frozenset({place.join})
        return replace(found, joins=read, multi=place.multi)

    def at(self, sql: str, keys: list[str]) -> Operand:
        for key in keys:
            if not key.isdigit():
                sql += f" -> {self.values.put(key)}::text"
            elif int(key) > MAX_INDEX:
                return NO_VALUE
            else:
                # An integer never addresses a member of an object, nor a text an element of an array.
                sql += f" -> {self.values.put(int(key))}::integer"
        return json_value(f"({sql})")


def split_modifier(segment: str) -> tuple[str, str | None]:
    """Split `name:modifier`; the modifier is None when there is no colon."""
    name, colon, modifier = segment.partition(":")
    return name, modifier if colon else None


def known_modifier(modifier: str | None) -> str:
    if modifier is not None and modifier not in MODIFIERS:
        raise QueryError(f"unknown modifier {modifier}")
    return modifier or ""
