"""What the record paths need to know of a collection, worked out once per schema version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, cast

import msgspec

from groundplane.clock import wire_date
from groundplane.db.lanes import Shape
from groundplane.db.sql import ident
from groundplane.records.wire import number
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.file import FileField
from groundplane.schema.fields.relation import RelationField
from groundplane.schema.fields.text import DEFAULT_ID_PATTERN, TextField
from groundplane.schema.indexes import parse_index
from groundplane.schema.sqlite import index_name
from groundplane.schema.sqlite_values import Collation

# Kept in `schema.plans` under this name, by collection id.
PLANS = "records"
BASE = "r"  # the alias of the collection's table in every statement
# What the primary keys of record tables are called; no index of a user's may begin like this.
PRIMARY_KEY_PREFIX = "gp$pk$"
# Of unique indexes that a plain comparison of columns says enough about.
COMPARED = frozenset({Kind.TEXT, Kind.NUMBER, Kind.BOOL})
COLLATIONS: dict[str, Collation] = {"": "", "binary": "", "nocase": "nocase", "rtrim": "rtrim"}
SECRET_FIELDS = frozenset({"password", "tokenKey"})  # of auth collections; shown to nobody


class Row(NamedTuple):
    """A stored record: values by field name, and the version that `ETag` shows (0: none)."""

    values: dict[str, Any]
    version: int = 0


class UniqueKey(NamedTuple):
    """A unique index: its physical name, and its columns as SQL with the collation that compares each."""

    name: str
    columns: tuple[tuple[str, Collation], ...]


class Plan:
    """The readers and writers of one collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.fields = collection.fields
        self.names = tuple(field.name for field in collection.fields)
        self.table = ident(collection.table)
        columns = [f"{BASE}.{ident(field.column)}" for field in collection.fields]
        if not collection.is_view:
            # The transaction that wrote the row last: a version that costs nothing to keep.
            columns.append(f"{BASE}.xmin")
        self.columns = ", ".join(columns)
        self.column_count = len(collection.fields)
        self.readers = tuple(
            (field.name, read) for field in collection.fields if (read := self._reader(field))
        )
        self.public = self._writers(superuser=False)
        self.complete = self._writers(superuser=True)
        self.file_fields = tuple(field for field in collection.fields if isinstance(field, FileField))
        self.relation_fields = tuple(field for field in collection.fields if isinstance(field, RelationField))
        self.password_fields = tuple(field for field in collection.fields if field.type_name == "password")

    def _reader(self, field: Field) -> Callable[[Any], Any] | None:
        """What turns a column's value into the stored form where the driver does not give it."""
        if self.collection.is_view:
            return lambda value: field.zero if value is None else field.from_column(value)
        match field.kind:
            case Kind.GEO:
                return field.from_column
            case Kind.NUMBER:
                return positive_zero
        return None

    def _writers(self, *, superuser: bool) -> tuple[tuple[str, Callable[[Any], Any] | None, Any], ...]:
        """Wire key, converter and constant for every member of the record's object, sorted by key."""
        members: list[tuple[str, Callable[[Any], Any] | None, Any]] = [
            ("collectionId", None, self.collection.id),
            ("collectionName", None, self.collection.name),
        ]
        for field in self.collection.fields:
            if field.hidden and not superuser:
                continue
            if self.collection.is_auth and field.name in SECRET_FIELDS:
                continue
            members.append((field.name, converter(field), None))
        return tuple(sorted(members, key=lambda member: member[0].encode()))

    def row(self, record: Any) -> Row:
        """Read what a statement with `columns` returned."""
        values = dict(zip(self.names, record, strict=False))
        for name, read in self.readers:
            values[name] = read(values[name])
        version = 0 if self.collection.is_view else cast(int, record[self.column_count])
        return Row(values, version)

    def wire(self, values: Mapping[str, Any], *, superuser: bool, email: bool) -> dict[str, Any]:
        """The record's object without `expand`; `email` says whether the address may be seen."""
        out: dict[str, Any] = {}
        for key, convert, constant in self.complete if superuser else self.public:
            if constant is not None:
                out[key] = constant
            elif convert is None:
                out[key] = values[key]
            else:
                out[key] = convert(values[key])
        if not email and self.collection.is_auth:
            out.pop("email", None)
        return out

    @cached_property
    def files_shape(self) -> Shape | None:
        """The file fields of the record with id $1, for a lane; None for a view, whose ids are computed."""
        if self.collection.is_view or not self.file_fields:
            return None
        columns = ", ".join(ident(field.column) for field in self.file_fields)
        return Shape(f'SELECT {columns} FROM {self.table} WHERE "id" = $1', 1)  # noqa: S608  # names

    @cached_property
    def unique_columns(self) -> dict[str, tuple[str, ...]]:
        """For each unique index, by its physical name, the fields among its plain columns."""
        found: dict[str, tuple[str, ...]] = {}
        lower_names = {field.name.lower(): field.name for field in self.fields}
        for text in self.collection.indexes:
            index = parse_index(text)
            if index is None or not index.unique:
                continue
            columns = [lower_names.get(column.name.lower(), "") for column in index.columns]
            found[index_name(index.name)] = tuple(column for column in columns if column)
        return found

    @cached_property
    def unique_keys(self) -> tuple[UniqueKey, ...] | None:
        """The primary key and every unique index; None if there is one that compares more than plain columns."""
        found = [UniqueKey(PRIMARY_KEY_PREFIX, (('"id"', ""),))]
        fields = {field.name.lower(): field for field in self.fields}
        for text in self.collection.indexes:
            index = parse_index(text)
            if index is None:
                return None
            if not index.unique:
                continue
            columns = []
            for column in index.columns:
                field, collation = fields.get(column.name.lower()), COLLATIONS.get(column.collate.lower())
                if index.where or field is None or collation is None or field.kind not in COMPARED:
                    return None
                if collation and field.kind is not Kind.TEXT:
                    return None
                columns.append((ident(field.column), collation))
            found.append(UniqueKey(index_name(index.name), tuple(columns)))
        return tuple(found)

    @cached_property
    def id_field(self) -> TextField | None:
        field = self.collection.by_name.get("id")
        return field if isinstance(field, TextField) else None

    @cached_property
    def stands_alone(self) -> bool:
        """Whether a new row needs no look at other rows, and so no transaction around its one statement."""
        return (
            self.collection.type == "base"
            and not self.collection.system
            and self.has_default_ids
            and not self.relation_fields
            and not self.file_fields
        )

    @property
    def has_default_ids(self) -> bool:
        return self.id_field is None or self.id_field.pattern == DEFAULT_ID_PATTERN


def plan_of(schema: Schema, collection: Collection) -> Plan:
    """The plan of a collection of this snapshot."""
    plans = schema.plans.setdefault(PLANS, {})
    plan = plans.get(collection.id)
    # A collection that is not the snapshot's (a draft with the same id) must not take its place.
    if not isinstance(plan, Plan) or plan.collection is not collection:
        plan = Plan(collection)
        if schema.by_id.get(collection.id) is collection:
            plans[collection.id] = plan
    return plan


def positive_zero(value: float) -> float:
    return value or 0.0


def converter(field: Field) -> Callable[[Any], Any] | None:
    """What turns a stored value into what the encoder takes; None where they are the same."""
    if field.type_name == "password":
        return hide
    if field.has_own_wire:
        return field.to_wire
    match field.kind:
        case Kind.NUMBER:
            return number
        case Kind.GEO:
            return wire_point
        case Kind.DATE:
            return wire_date
        case Kind.JSON:
            return field.to_wire
    return None


def hide(value: Any) -> str:
    return ""


def wire_point(value: tuple[float, float]) -> dict[str, int | float | msgspec.Raw | None]:
    return {"lon": number(value[0]), "lat": number(value[1])}
