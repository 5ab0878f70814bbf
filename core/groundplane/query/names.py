"""Leaves of the tree to operands: literals, keywords, macros, `@request.…`, `@collection.…`, paths."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.query.compare import ascii_lower, compare
from groundplane.query.errors import QueryError
from groundplane.query.joins import Aliases, Joins, first_value
from groundplane.query.macros import macro
from groundplane.query.nodes import Identifier, Number, Text
from groundplane.query.operands import NULL, Operand, State, digits, parameter
from groundplane.query.paths import ID, LeadsNowhere, Paths, Place, known_modifier, split_modifier
from groundplane.query.request import (
    AUTH_VALUES,
    LISTS,
    MISSING,
    auth_value,
    elements,
    numeric_if_named_so,
    submitted,
    value_at,
)
from groundplane.query.values import Values
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field

KEYWORDS: dict[str, bool | None] = {"false": False, "null": None, "true": True}
PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:]*")
REQUEST = re.compile(r"@request\.(auth|body|headers|query)\.([A-Za-z0-9_.:]*[A-Za-z0-9_])")
FOREIGN = re.compile(r"@collection\.([A-Za-z0-9_]+)(?::([A-Za-z0-9_]+))?\.([A-Za-z0-9_][A-Za-z0-9_.:]*)")


class Names:
    """Resolves the leaves of one text for one request; see Paths for the flags.

    `joins` are the rows that the whole text shares. A text inside another one shares its `values`.
    """

    def __init__(
        self,
        schema: Schema,
        collection: Collection,
        info: RequestInfo,
        *,
        base: str,
        restricted: bool = False,
        virtual: bool = False,
        ordered: bool = False,
        values: Values | None = None,
    ) -> None:
        self.schema = schema
        self.collection = collection
        self.info = info
        self.restricted = restricted
        self.values = values or Values()
        self.aliases = Aliases(base)
        self.joins = Joins(self.aliases)
        self.paths = Paths(schema, self.values, restricted=restricted, virtual=virtual, ordered=ordered)
        self.base = Place(base, collection)
        self._now: datetime | None = None
        self._constants: dict[Identifier | Number | Text, Operand] = {}

    def again(self) -> Names:
        """For another text about the same row: rows of its own, the same values."""
        other = Names(self.schema, self.collection, self.info, base=self.aliases.base, values=self.values)
        other.restricted, other.paths = self.restricted, self.paths
        return other

    def operand(self, node: Identifier | Number | Text, joins: Joins) -> Operand:
        """Resolve a leaf; the rows that it reads are added to `joins`."""
        known = self._constants.get(node)
        if known is not None:
            return known
        if isinstance(node, Identifier):
            found = self.resolve(node.name, joins)
        else:
            found = parameter(node.value, self.values)
        if not found.joins:
            # A comparison may be written twice; both then share the parameters.
            self._constants[node] = found
        return found

    def resolve(self, name: str, joins: Joins) -> Operand:
        if not name.startswith("@"):
            return self.own(name, joins)
        value = macro(name, self.moment)
        if value is not None:
            return parameter(value, self.values)
        if self.restricted:
            raise QueryError(f"{name} is for superusers and rules")
        foreign = FOREIGN.fullmatch(name)
        if foreign is not None:
            return self.foreign(foreign[1], foreign[2] or "", foreign[3], joins)
        if name == "@request.context":
            return parameter(self.info.context, self.values)
        if name == "@request.method":
            return parameter(self.info.method, self.values)
        request = REQUEST.fullmatch(name)
        if request is None or ".." in name or request[2].startswith((".", ":")):
            raise QueryError(f"unknown identifier {name}")
        match request[1]:
            case "auth":
                return self.auth(request[2], joins)
            case "body":
                return self.body(request[2], joins)
            case "headers":
                return self.plain(self.info.headers, request[2])
            case _:
                return self.plain(self.info.query, request[2])

    @property
    def moment(self) -> datetime:
        """One time for the whole text."""
        if self._now is None:
            self._now = self.info.moment or now()
        return self._now

    def own(self, name: str, joins: Joins) -> Operand:
        if PATH.fullmatch(name) is None:
            raise QueryError(f"unknown identifier {name}")
        if name.lower() in KEYWORDS and self.collection.field(name) is None:
            return parameter(KEYWORDS[name.lower()], self.values)
        return self.paths.walk(self.base, name, joins)

    def foreign(self, name: str, alias: str, path: str, joins: Joins) -> Operand:
        """`@collection.NAME:ALIAS.path`: any row of the collection."""
        collection = self.schema.get(name)
        if collection is None:
            raise QueryError(f"unknown collection {name}")
        key = ("@collection", collection.id, alias)
        start = Place("", collection, key, multi=True)
        rows = self.paths.step(start, collection, key, lambda _: "true", joins, stored_order=True)
        return self.paths.walk(rows, path, joins)

    # @request

    def plain(self, values: Any, path: str) -> Operand:
        """A query parameter or header."""
        segments = path.split(".")
        segments[-1], modifier = split_modifier(segments[-1])
        value = value_at(values, segments)
        match known_modifier(modifier):
            case "isset":
                return parameter(value is not MISSING, self.values)
            case "lower" | "":
                return self.given(value, segments[-1], lower=modifier == "lower")
        raise QueryError(f"modifier {modifier} does not apply to {path}")

    def given(self, value: Any, name: str, *, lower: bool) -> Operand:
        """A request value as parameter."""
        if value is MISSING or value is None:
            return NULL
        found = parameter(numeric_if_named_so(value, name, self.collection), self.values)
        if lower and found.constant is not None:
            constant = found.constant
            text = constant if isinstance(constant, str) else digits(constant)
            return parameter(ascii_lower(text), self.values)
        return found

    def auth(self, path: str, joins: Joins) -> Operand:
        """A value of the caller, or a path from the caller's record."""
        name, modifier = split_modifier(path)
        if "." not in path and name in AUTH_VALUES:
            if known_modifier(modifier) in ("", "isset"):
                return parameter(auth_value(self.info, name), self.values)
            if name.startswith("collection"):
                return self.given(auth_value(self.info, name), name, lower=modifier == "lower")
        caller = self.info.caller
        collection = None if caller is None else self.schema.by_id.get(caller.collection_id)
        if caller is None or collection is None:
            known_modifier(split_modifier(path.rpartition(".")[2])[1])
            return NULL
        ids = f"{self.values.put(caller.id)}::text"
        return self.from_ids(collection, ("@request.auth",), ids, path, joins, is_list=False)

    def body(self, path: str, joins: Joins) -> Operand:
        """A value of the resolved body, or a path along a relation in it."""
        segments = path.split(".")
        segments[-1], modifier = split_modifier(segments[-1])
        field = self.collection.field(segments[0])
        if len(segments) > 1 and field is not None and field.type_name == "relation":
            return self.body_relation(field, path.partition(".")[2], joins)
        value = value_at(self.info.body, segments)
        known = field if len(segments) == 1 else None
        match known_modifier(modifier):
            case "isset":
                return parameter(value is not MISSING, self.values)
            case "length" if known is not None and known.type_name in LISTS:
                count = len(elements(value)) if known.is_multiple else int(value is not MISSING)
                return parameter(count, self.values)
            case "each" if known is not None and known.type_name in LISTS:
                return self.body_elements(known, elements(value), joins)
            case "changed" if known is not None:
                return self.changed(known, value, joins)
            case "lower" | "":
                value = MISSING if value is MISSING else submitted(value, known)
                return self.given(value, segments[-1], lower=modifier == "lower")
        raise QueryError(f"modifier {modifier} does not apply to {path}")

    def body_elements(self, field: Field, items: list[str], joins: Joins) -> Operand:
        """`:each`: counts as known not to be empty even where it is NULL (contract §5)."""
        if not field.is_multiple:
            value = f"{self.values.put(items[-1] if items else None)}::text"
            return Operand(text=value, state=State.KNOWN)
        stored = f"{self.values.put(items)}::text[]"
        place = Place("", self.collection, ("@request.body",))
        each = self.paths.each(place, ("@request.body", field.name), stored, joins)
        return Operand(text=f"{each.alias}.v", state=State.KNOWN, joins=frozenset({each}), multi=True)

    def changed(self, field: Field, value: Any, joins: Joins) -> Operand:
        if value is MISSING:
            return parameter(False, self.values)
        new = self.given(submitted(value, field), field.name, lower=False)
        stored = self.paths.walk(self.base, field.name, joins)
        differs = f"({compare(new, '!=', stored, self.values).true} IS TRUE)"
        return Operand(number=f"{differs}::integer", boolean=differs, nullable=False)

    def body_relation(self, field: Field, path: str, joins: Joins) -> Operand:
        known_modifier(split_modifier(path.rpartition(".")[2])[1])
        collection = self.schema.by_id.get(getattr(field, "collection_id", ""))
        ids = elements(self.info.body.get(field.name))
        if collection is None or not ids:
            return NULL
        value = (
            f"{self.values.put(ids)}::text[]" if field.is_multiple else f"{self.values.put(ids[-1])}::text"
        )
        key = ("@request.body", field.name)
        return self.from_ids(collection, key, value, path, joins, is_list=field.is_multiple)

    def from_ids(
        self,
        collection: Collection,
        key: tuple[str, ...],
        ids: str,
        path: str,
        joins: Joins,
        *,
        is_list: bool,
    ) -> Operand:
        """Follow a path from records that the request names by id; NULL where it leads nowhere."""

        def follow(into: Joins) -> Operand:
            start = Place("", collection, key, lenient=True)
            if is_list:
                rows = self.paths.listed(start, collection, key, ids, into)
            else:
                rows = self.paths.step(start, collection, key, lambda alias: f"{alias}.{ID} = {ids}", into)
            return self.paths.walk(rows, path, into)

        try:
            found = follow(Joins(self.aliases))
            return follow(joins) if found.multi else self.once(found)
        except LeadsNowhere:
            return NULL

    def once(self, operand: Operand) -> Operand:
        """Turn an operand that does not depend on the record into scalars: PostgreSQL runs those once."""

        def scalar(sql: str | None) -> str | None:
            if sql is None:
                return None
            return first_value(sql, operand.joins, strict=operand.strict, many=False)

        return replace(
            operand,
            number=scalar(operand.number),
            text=scalar(operand.text),
            moment=scalar(operand.moment),
            present=scalar(operand.present),
            boolean=scalar(operand.boolean),
            nullable=operand.nullable,
            collated=False,
            joins=frozenset(),
        )
