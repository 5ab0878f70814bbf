"""What a rule means, worked out in Python from the contract alone: no SQL, nothing of `groundplane.query`.

A filter is given as a tree (Compare, And, Or over operands), a database as lists of stored rows. For each
record the evaluator spells out every combination of joined rows and looks whether one satisfies the tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from groundplane.clock import wire_date
from groundplane.context import RequestInfo
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Kind

Row = Mapping[str, Any]
LISTS = ("select", "relation", "file")


@dataclass(frozen=True)
class Literal:
    value: str | float | bool | None

    def __str__(self) -> str:
        if isinstance(self.value, str):
            return json.dumps(self.value, ensure_ascii=False)
        if self.value is None or isinstance(self.value, bool):
            return {None: "null", True: "true", False: "false"}[self.value]
        return f"{self.value:g}"


@dataclass(frozen=True)
class Path:
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Compare:
    left: Literal | Path
    sign: str
    right: Literal | Path

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {self.right}"


@dataclass(frozen=True)
class And:
    items: tuple[Tree, ...]

    def __str__(self) -> str:
        return "(" + " && ".join(map(str, self.items)) + ")"


@dataclass(frozen=True)
class Or:
    items: tuple[Tree, ...]

    def __str__(self) -> str:
        return "(" + " || ".join(map(str, self.items)) + ")"


Tree = Compare | And | Or


@dataclass(frozen=True)
class Value:
    """A value on one joined row: None, a float or a text, and how it compares.

    `group` is T, N, M, X or P as in the contract's §6; `state` empty, known or open as in §5.
    """

    value: float | str | None
    group: str
    state: str = "open"
    json: bool = False
    integer: bool = False
    each_of_body: bool = False


@dataclass(frozen=True)
class Step:
    """A joined row set: `rows` gives the rows for a row of the parent step (None: the base record)."""

    key: tuple[Any, ...]
    parent: Step | None
    rows: Any = field(compare=False, hash=False)


@dataclass(frozen=True)
class Source:
    """Where a path ends: the step whose row it reads (None: the record or nothing) and how."""

    step: Step | None
    read: Any
    multi: bool


class Evaluator:
    def __init__(
        self, schema: Schema, tables: Mapping[str, list[Row]], info: RequestInfo, *, virtual: bool = False
    ) -> None:
        self.schema = schema
        self.tables = tables
        self.info = info
        self.virtual = virtual

    def matching(self, collection: Collection, tree: Tree) -> list[str]:
        rows = sorted(self.tables[collection.name], key=lambda row: row["id"])
        return [row["id"] for row in rows if self.holds(collection, row, tree)]

    def holds(self, collection: Collection, record: Row, tree: Tree) -> bool:
        sources = {path: self.source(collection, path) for path in paths(tree)}
        steps = closed(source.step for source in sources.values())
        return any(self.true_on(tree, sources, record, rows) for rows in combinations(steps, record))

    def true_on(
        self, tree: Tree, sources: dict[str, Source], record: Row, rows: dict[Step, Row | None]
    ) -> bool:
        if isinstance(tree, And):
            return all(self.true_on(item, sources, record, rows) for item in tree.items)
        if isinstance(tree, Or):
            return any(self.true_on(item, sources, record, rows) for item in tree.items)
        sign = tree.sign.removeprefix("?")
        left = self.value(tree.left, sources, record, rows)
        right = self.value(tree.right, sources, record, rows)
        if compared(left, sign, right) is not True:
            return False
        ends = [sources[side.name] for side in (tree.left, tree.right) if isinstance(side, Path)]
        if tree.sign.startswith("?") or not any(end.multi for end in ends):
            return True
        return not any(
            compared(
                self.value(tree.left, sources, record, left_rows),
                sign,
                self.value(tree.right, sources, record, right_rows),
            )
            is False
            for left_rows in self.bag(tree.left, sources, record)
            for right_rows in self.bag(tree.right, sources, record)
        )

    def bag(
        self, side: Literal | Path, sources: dict[str, Source], record: Row
    ) -> Iterator[dict[Step, Row | None]]:
        steps = closed([sources[side.name].step]) if isinstance(side, Path) else []
        return combinations(steps, record)

    def value(
        self, side: Literal | Path, sources: dict[str, Source], record: Row, rows: dict[Step, Row | None]
    ) -> Value:
        if isinstance(side, Literal):
            return parameter(side.value)
        source = sources[side.name]
        row = record if source.step is None else rows[source.step]
        return source.read(row)

    # Paths

    def source(self, collection: Collection, name: str) -> Source:
        if name.startswith("@request.auth."):
            return self.auth(name.removeprefix("@request.auth."))
        if name.startswith("@request.body."):
            return self.body(collection, name.removeprefix("@request.body."))
        if name.startswith("@request.query."):
            value = self.info.query.get(name.removeprefix("@request.query."))
            return Source(None, lambda _: parameter(value), False)
        if name.startswith("@collection."):
            head, rest = re.fullmatch(r"@collection\.(\w+(?::\w+)?)\.(.+)", name).groups()
            other = self.schema.find(head.partition(":")[0])
            step = Step(("@collection", head), None, lambda _: self.tables[other.name])
            return self.follow(other, rest, step, True, on_base=False)
        return self.follow(collection, name, None, False, on_base=True)

    def auth(self, path: str) -> Source:
        caller = self.info.caller
        if caller is None:
            return Source(None, lambda _: parameter(None), False)
        if path in ("id", "email", "verified", "collectionName"):
            value = {"id": caller.id, "collectionName": caller.collection_name}.get(
                path, caller.record.get(path)
            )
            return Source(None, lambda _: parameter(value), False)
        users = self.schema.find(caller.collection_name)
        step = Step(("@auth",), None, lambda _: self.by_id(users, [caller.id]))
        return self.follow(users, path, step, False, on_base=False)

    def body(self, collection: Collection, path: str) -> Source:
        name, _, modifier = path.partition(":")
        name, _, rest = name.partition(".")
        option = collection.field(name)
        value = self.info.body.get(name)
        if rest:
            target = self.schema.by_id[option.collection_id]
            ids = value if isinstance(value, list) else [value] if value else []
            if not ids:
                return Source(None, lambda _: parameter(None), False)
            step = Step(("@body", name), None, lambda _: [self.one(target, each) for each in ids])
            return self.follow(
                target, rest + (f":{modifier}" if modifier else ""), step, option.is_multiple, on_base=False
            )
        if modifier == "isset":
            return Source(None, lambda _: parameter(name in self.info.body), False)
        if modifier == "length":
            count = len(value or []) if option.is_multiple else int(name in self.info.body)
            return Source(None, lambda _: Value(float(count), "P", "known", integer=True), False)
        if modifier == "each":
            step = Step(("@body each", name), None, lambda _: [{"v": each} for each in value or []])
            return Source(
                step,
                lambda row: Value(None if row is None else row["v"], "X", "known", each_of_body=True),
                True,
            )
        if isinstance(value, list):
            value = json.dumps(value, separators=(",", ":"))
        return Source(None, lambda _: parameter(value), False)

    def one(self, collection: Collection, record_id: str) -> Row | None:
        return next((row for row in self.tables[collection.name] if row["id"] == record_id), None)

    def by_id(self, collection: Collection, ids: list[str]) -> list[Row]:
        return [row for each in ids if (row := self.one(collection, each)) is not None]

    def follow(
        self, collection: Collection, path: str, step: Step | None, multi: bool, *, on_base: bool
    ) -> Source:
        *heads, last = path.split(".")
        untyped = self.virtual and on_base
        for position, head in enumerate(heads):
            option = collection.field(head)
            if option is None:
                name, _, field_name = head.rpartition("_via_")
                other = self.schema.find(name)
                pointing = other.field(field_name)

                def pointing_here(row: Row, other: Collection = other, name: str = field_name) -> list[Row]:
                    rows = self.tables[other.name]
                    return [
                        each for each in rows if row["id"] == each[name] or row["id"] in as_list(each[name])
                    ]

                unique = any("UNIQUE" in index and f"`{field_name}`" in index for index in other.indexes)
                multi = multi or pointing.is_multiple or not unique
                step = Step((step and step.key, head), step, pointing_here)
                collection, untyped = other, False
                continue
            if option.kind in (Kind.JSON, Kind.GEO):
                keys = [*heads[position + 1 :], last]
                return Source(step, partial(inside, option=option, keys=keys), multi)
            if not option.is_multiple and position == len(heads) - 1 and last == "id":
                group = "X" if untyped else "T"
                return Source(step, lambda row, head=head, group=group: Value(got(row, head), group), multi)
            target = self.schema.by_id[option.collection_id]
            if option.is_multiple:
                # The element and the record behind it are one joined row: they share the step's key.
                each_step = self.each_step(step, head)
                step = Step(
                    (each_step.key, "record"),
                    each_step,
                    lambda row, target=target: self.by_id(target, [row["v"]]),
                )
                multi = True
            else:
                step = Step(
                    (step and step.key, head),
                    step,
                    lambda row, target=target, name=head: self.by_id(target, as_list(row[name])),
                )
            collection, untyped = target, False
        name, _, modifier = last.partition(":")
        option = collection.field(name)
        if modifier == "each" and option.type_name in LISTS:
            if option.is_multiple:
                return Source(self.each_step(step, name), lambda row: Value(got(row, "v"), "X"), True)
            return Source(step, lambda row: Value(got(row, name) or None, "X"), multi)
        if modifier == "length" and option.type_name in LISTS:
            return Source(step, lambda row: Value(float(len(as_list(got(row, name)))), "X"), multi)
        if modifier == "lower":
            return Source(step, lambda row: Value(lower(as_text(stored(row, option).value)), "X"), multi)
        return Source(step, lambda row: stored(row, option, untyped=untyped), multi)

    @staticmethod
    def each_step(step: Step | None, name: str) -> Step:
        return Step(
            (step and step.key, name, "each"), step, lambda row: [{"v": each} for each in as_list(row[name])]
        )


def paths(tree: Tree) -> set[str]:
    if isinstance(tree, Compare):
        return {side.name for side in (tree.left, tree.right) if isinstance(side, Path)}
    return set().union(*(paths(item) for item in tree.items))


def closed(steps: Any) -> list[Step]:
    """The steps with all their parents, parents first, each once."""
    found: dict[Any, Step] = {}

    def add(step: Step | None) -> None:
        if step is not None and step.key not in found:
            add(step.parent)
            found[step.key] = step

    for step in steps:
        add(step)
    return list(found.values())


def combinations(steps: list[Step], record: Row) -> Iterator[dict[Step, Row | None]]:
    """Every combination of joined rows, LEFT JOIN by LEFT JOIN."""
    bags: list[dict[Step, Row | None]] = [{}]
    for step in steps:
        longer = []
        for bag in bags:
            parent = record if step.parent is None else bag[step.parent]
            rows = [] if parent is None else list(step.rows(parent))
            longer.extend({**bag, step: row} for row in rows or [None])
        bags = longer
    return iter(bags)


# Values


def got(row: Row | None, name: str) -> Any:
    return None if row is None else row[name]


def as_list(value: Any) -> list[str]:
    if isinstance(value, list):
        return value
    return [value] if value else []


def scalar(value: Any) -> float | str | None:
    """A JSON value as it compares."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return float(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def stored(row: Row | None, option: Any, *, untyped: bool = False) -> Value:
    """The value of a field; `untyped` on the row being created."""
    kind = option.kind
    value = got(row, option.name)
    if kind is Kind.JSON:
        return Value(scalar(None if value is None else json.loads(value)), "X", json=True)
    if row is None:
        group = {Kind.NUMBER: "N", Kind.BOOL: "N", Kind.MULTI: "M", Kind.GEO: "M"}.get(kind, "T")
        return Value(None, group)
    if kind in (Kind.NUMBER, Kind.BOOL):
        return Value(float(value), "X" if untyped else "N")
    if kind is Kind.DATE:
        value = wire_date(value)
    elif kind is Kind.MULTI:
        return Value(json.dumps(value, separators=(",", ":"), ensure_ascii=False), "M")
    elif kind is Kind.GEO:
        return Value(f'{{"lon":{number_text(value[0])},"lat":{number_text(value[1])}}}', "M")
    return Value(value, "X" if untyped else "T")


def inside(row: Row | None, option: Any, keys: list[str]) -> Value:
    value = got(row, option.name)
    if value is not None:
        value = {"lon": value[0], "lat": value[1]} if option.kind is Kind.GEO else json.loads(value)
    for key in keys:
        key = key.replace(":", "")
        if isinstance(value, dict) and not key.isdigit():
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            value = None
    return Value(scalar(value), "X", json=True)


def parameter(value: Any) -> Value:
    if value is None:
        return Value(None, "P", "empty")
    if isinstance(value, bool):
        return Value(float(value), "P", "known", integer=True)
    if isinstance(value, int | float):
        return Value(float(value), "P", "known")
    return Value(value, "P", "known" if value else "empty")


def number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def as_text(value: float | str | None) -> str | None:
    return number_text(value) if isinstance(value, float) else value


def lower(text: str | None) -> str | None:
    return None if text is None else "".join(c.lower() if c.isascii() else c for c in text)


def looks_numeric(text: Any) -> bool:
    return isinstance(text, str) and bool(
        re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", text, re.ASCII)
    )


# Comparing (§3, §5, §6)


def compared(left: Value, sign: str, right: Value) -> bool | None:
    """True, False or None for unknown."""
    if sign in ("~", "!~"):
        result = like(left, right)
        return result if sign == "~" or result is None else not result
    if sign in ("=", "!="):
        result = equal(left, right, null_safe=sign == "!=")
        return result if sign == "=" or result is None else not result
    a, b = affine(left, right)
    if {left.group, right.group} == {"T", "N"}:
        a = float(a) if left.group == "T" and looks_numeric(a) else a
        b = float(b) if right.group == "T" and looks_numeric(b) else b
    if a is None or b is None:
        return None
    one, other = (isinstance(a, str), a), (isinstance(b, str), b)
    if one[0] != other[0]:
        one, other = (one[0],), (other[0],)
    elif one[0]:
        one, other = (a.encode(),), (b.encode(),)
    return {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[sign]


def affine(left: Value, right: Value) -> tuple[Any, Any]:
    """Convert a parameter to the class of the column on the other side."""

    def to(column: Value, given: Value) -> Any:
        value = given.value
        if given.group != "P" or column.group == "P":
            return value
        if column.group == "T" and isinstance(value, float):
            text = number_text(value)
            return text if given.integer or "." in text else f"{text}.0"
        if column.group == "N" and looks_numeric(value):
            return float(value)
        return value

    return to(right, left), to(left, right)


def equal(left: Value, right: Value, *, null_safe: bool) -> bool | None:
    if left.json or right.json:
        return left.value == right.value
    if left.state == right.state == "empty":
        return True
    if "known" in (left.state, right.state):
        a, b = affine(left, right)
        a = "" if left.state == "empty" else a
        b = "" if right.state == "empty" else b
        for one, other in ((left, right), (right, left)):
            if one.each_of_body and other.state == "empty" and one.value is None:
                return None
        if a is None or b is None:
            return (a is None and b is None) if null_safe else None
        return a == b
    for empty, other in ((left, right), (right, left)):
        if empty.state == "empty":
            return other.value in (None, "")
    return ("" if left.value is None else left.value) == ("" if right.value is None else right.value)


def like(left: Value, right: Value) -> bool | None:
    subject, pattern = as_text(left.value), lower(as_text(right.value))
    if subject is None or pattern is None:
        return None
    if right.group == "P" and not right.integer:
        parts = re.findall(r"\\[\\%_]|.", pattern, re.DOTALL)
        if "%" not in parts:
            parts = ["%", *("\\" + part if part in ("\\", "_", "%") else part for part in parts), "%"]
    else:
        parts = re.findall(r"\\.|.", f"%{pattern}%", re.DOTALL)
    if parts and parts[-1] == "\\":
        return False
    meaning = {"%": ".*", "_": "."}
    expression = "".join(
        meaning[part] if part in meaning else re.escape(part[1:] if len(part) == 2 else part)
        for part in re.findall(r"\\.|.", "".join(parts), re.DOTALL)
    )
    # Case folding is done beforehand: IGNORECASE would fold more than A-Z.
    return re.fullmatch(expression, lower(subject), re.DOTALL) is not None
