"""A rule taken apart: every sub-expression compiled for itself, with the values that its clauses compare.

The parts are written by the same compiler as the rule as a whole, so what one statement says about them on a
row is what the rule sees there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any as AnyValue
from typing import NamedTuple

import msgspec

from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.sql import Args
from groundplane.query.compare import compare
from groundplane.query.compile import condition, guarded, needed, resolve
from groundplane.query.effective import Compound
from groundplane.query.joins import Joins, exists, source_of
from groundplane.query.names import Names
from groundplane.query.nodes import All, Call, Comparison, Identifier, Node, Number, Text
from groundplane.query.nodes import Operand as Leaf
from groundplane.query.operands import Operand, digits
from groundplane.query.parser import parse
from groundplane.query.rules import rule_on_row
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

SECRET = frozenset({"password", "tokenKey"})
MAX_VALUES = 6  # of related records that are shown
MAX_LENGTH = 200  # characters of one


class Truth(Enum):
    """`UNKNOWN` counts as no: a value is missing, so that a comparison neither holds nor is violated."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


class Kind(Enum):
    ALL = "all"
    ANY = "any"
    NOT = "not"
    CLAUSE = "clause"


class Side(NamedTuple):
    """The column of a side's value (-1: a literal), and whether a value is text, to be quoted."""

    column: int = -1
    is_text: bool = True


@dataclass
class Part:
    """A sub-expression. `seen` are the values of its sides, None for one that says itself what it is.

    `truth` is set by `judge`. `apart` says that all below hold, but not on one and the same related record.
    """

    kind: Kind
    text: str
    items: list[Part] = field(default_factory=list)
    truth: Truth = Truth.UNKNOWN
    seen: tuple[str | None, str | None] = (None, None)
    apart: bool = False
    holds: int = -1
    fails: int = -1
    sides: tuple[Side, Side] | None = None


class Explained(NamedTuple):
    """`root` is the tree; `columns` what a statement on the row has to select, `whole` the rule's condition.

    The last column is the rule as a whole.
    """

    root: Part
    columns: list[str]
    whole: str


class Compiler:
    """Writes the columns of one explanation; all of them share the parameters."""

    def __init__(self, names: Names, args: Args) -> None:
        self.names = names
        self.args = args
        self.columns: list[str] = []

    def column(self, sql: str) -> int:
        self.columns.append(self.names.values.bind(sql, self.args))
        return len(self.columns) - 1

    def rule(self, rule: str | Compound) -> Part:
        if isinstance(rule, str):
            return self.part(parse(rule))
        items = [self.part(parse(each)) for each in rule.restrict]
        for each in rule.deny:
            items.append(Part(Kind.NOT, "not", [self.part(parse(each))]))
        if rule.allow:
            ways = [self.part(parse(each)) for each in rule.allow]
            items.append(ways[0] if len(ways) == 1 else Part(Kind.ANY, "or", ways))
        return items[0] if len(items) == 1 else Part(Kind.ALL, "and", items)

    def part(self, node: Node) -> Part:
        if isinstance(node, Comparison):
            return self.clause(node)
        kind = Kind.ALL if isinstance(node, All) else Kind.ANY
        made = Part(kind, "and" if kind is Kind.ALL else "or", [self.part(item) for item in node.items])
        made.holds = self.column(f"({condition(node, self.names.again())}) IS TRUE")
        return made

    def clause(self, node: Comparison) -> Part:
        part = Part(Kind.CLAUSE, written(node))
        part.holds = self.column(f"({condition(node, self.names.again())}) IS TRUE")
        names = self.names.again()
        rows = Joins(names.aliases)
        left, right = resolve(node.left, names, rows), resolve(node.right, names, rows)
        outcome = guarded(compare(left, node.sign, right, names.values), left, right)
        reads = left.joins | right.joins
        violated = outcome.false
        if reads:
            needs = needed(left, right) if outcome.false_needs_rows else frozenset()
            violated = exists(outcome.false, reads, needs)
        part.fails = self.column(f"({violated}) IS TRUE")
        part.sides = (self.side(node.left), self.side(node.right))
        return part

    def side(self, leaf: Leaf) -> Side:
        if isinstance(leaf, Number | Text) or (isinstance(leaf, Identifier) and is_word(leaf.name)):
            return Side()
        if isinstance(leaf, Identifier) and leaf.name.partition(":")[0].rpartition(".")[2] in SECRET:
            return Side(self.column("'•••'::text"))
        names = self.names.again()
        operand = resolve(leaf, names, Joins(names.aliases))
        text, is_text = shown(operand), operand.text is not None
        if not operand.joins:
            return Side(self.column(text), is_text)
        source, conditions = source_of(operand.joins, frozenset())
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        values = f"ARRAY(SELECT {text} FROM {source}{where} LIMIT {MAX_VALUES + 1})"  # noqa: S608
        return Side(self.column(values), is_text)


def shown(operand: Operand) -> str:
    return f"({operand.boolean})::text" if operand.boolean is not None else f"({operand.as_text})::text"


def is_word(name: str) -> bool:
    return name.lower() in ("true", "false", "null")


def explain_rule(
    schema: Schema,
    collection: Collection,
    rule: str | Compound,
    info: RequestInfo,
    args: Args,
    *,
    base: str = "r",
    virtual: bool = False,
) -> Explained:
    """Compile a rule that is not empty, and each of its parts; raises QueryError.

    `virtual` as in `rule_condition`. The columns are given to `judge` as a statement on the row has found them.
    """
    # One time for all parts.
    info = msgspec.structs.replace(info, moment=info.moment or now())
    names = Names(schema, collection, info, base=base, virtual=virtual)
    compiler = Compiler(names, args)
    root = compiler.rule(rule)
    whole = names.values.bind(rule_on_row(rule, names.again()), args)
    compiler.columns.append(f"({whole}) IS TRUE")
    return Explained(root, compiler.columns, whole)


def judge(explained: Explained, row: Sequence[AnyValue]) -> bool:
    """Fill the tree in with what a row of the statement says; returns whether the rule lets the record through."""
    fill(explained.root, row)
    allowed = bool(row[len(explained.columns) - 1])
    if explained.root.kind is not Kind.CLAUSE and not allowed and explained.root.truth is Truth.TRUE:
        explained.root.truth = Truth.FALSE
    return allowed


def fill(part: Part, row: Sequence[AnyValue]) -> None:
    for item in part.items:
        fill(item, row)
    truths = [item.truth for item in part.items]
    match part.kind:
        case Kind.CLAUSE:
            if part.sides is not None:
                part.seen = (seen(row, part.sides[0]), seen(row, part.sides[1]))
            part.truth = Truth.TRUE if row[part.holds] else Truth.FALSE if row[part.fails] else Truth.UNKNOWN
        case Kind.NOT:
            # What cannot be said of a row was not denied.
            part.truth = Truth.FALSE if truths[0] is Truth.TRUE else Truth.TRUE
        case Kind.ALL:
            together = row[part.holds] if part.holds >= 0 else all(each is Truth.TRUE for each in truths)
            part.apart = not together and all(each is Truth.TRUE for each in truths)
            part.truth = Truth.TRUE if together else lesser(Truth.FALSE, truths, part.apart)
        case Kind.ANY:
            either = row[part.holds] if part.holds >= 0 else Truth.TRUE in truths
            part.truth = Truth.TRUE if either else lesser(Truth.UNKNOWN, truths, False)


def lesser(first: Truth, truths: Sequence[Truth], apart: bool) -> Truth:
    """The truth of a group that does not hold: `first` if one of its items has it, else the other one."""
    if apart:
        return Truth.FALSE
    other = Truth.UNKNOWN if first is Truth.FALSE else Truth.FALSE
    return first if first in truths else other


def seen(row: Sequence[AnyValue], side: Side) -> str | None:
    """A side's value as it is shown: texts quoted, `null` where there is none."""
    if side.column < 0:
        return None
    value = row[side.column]
    if isinstance(value, list):
        values = [one(each, side) for each in value[:MAX_VALUES]]
        return f"[{', '.join(values)}{', …' if len(value) > MAX_VALUES else ''}]"
    return one(value, side)


def one(value: str | None, side: Side) -> str:
    if value is None:
        return "null"
    if len(value) > MAX_LENGTH:
        value = value[:MAX_LENGTH] + "…"
    return quoted(value) if side.is_text else value


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def written(node: Comparison) -> str:
    return f"{leaf_text(node.left)} {'?' if node.any else ''}{node.sign} {leaf_text(node.right)}"


def leaf_text(leaf: Leaf) -> str:
    match leaf:
        case Identifier(name=name):
            return name
        case Number(value=value):
            return digits(value)
        case Text(value=text):
            return quoted(text)
        case Call(name=name, arguments=arguments):
            return f"{name}({', '.join(leaf_text(each) for each in arguments)})"
