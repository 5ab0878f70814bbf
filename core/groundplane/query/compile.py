"""A tree to one condition on the record: what must hold on which joined rows (contract, filters §7).

The text as a whole asks for one combination of joined rows on which everything holds. Asking is pushed down
as far as that stays the same: alternatives ask each for themselves, and so do items that share no joined row.
Each question is an EXISTS; what reads no joined row is a plain condition that an index can serve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from groundplane.query.calls import call
from groundplane.query.compare import Outcome, compare
from groundplane.query.joins import Join, Joins, closure, exists
from groundplane.query.names import Names
from groundplane.query.nodes import All, Call, Comparison, Node
from groundplane.query.nodes import Operand as Leaf
from groundplane.query.operands import Operand

NO_JOINS: frozenset[Join] = frozenset()


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL that holds or not on one combination of joined rows.

    `reads`   the joins it names; `needs` those (with all they hang on) without whose rows it cannot hold
    `within`  a condition on the record alone that follows from it and that the index of a list serves;
              when it suffices it says the same
    """

    sql: str
    reads: frozenset[Join] = NO_JOINS
    needs: frozenset[Join] = NO_JOINS
    within: str | None = None
    within_suffices: bool = False


@dataclass(frozen=True, slots=True)
class Every:
    items: tuple[Part, ...]
    reads: frozenset[Join]


@dataclass(frozen=True, slots=True)
class Some:
    items: tuple[Part, ...]
    reads: frozenset[Join]


Part: TypeAlias = Condition | Every | Some


def condition(tree: Node, names: Names, guards: Callable[[], Sequence[Part]] = tuple) -> str:
    """Return the condition on the record, with the markers of `names.values` in it.

    `guards` is called when all joins are known; what it returns must hold on the same joined rows.
    """
    part = build(tree, names)
    extra = guards()
    if extra:
        items = (*(part.items if isinstance(part, Every) else (part,)), *extra)
        part = Every(items, all_reads(items))
    return ask(part)


# The tree with its comparisons written


def build(node: Node, names: Names) -> Part:
    if isinstance(node, Comparison):
        return written(node, names)
    items: list[Part] = []
    for child in node.items:
        part = build(child, names)
        if isinstance(node, All) and isinstance(part, Every):
            items.extend(part.items)
        else:
            items.append(part)
    reads = all_reads(items)
    return Every(tuple(items), reads) if isinstance(node, All) else Some(tuple(items), reads)


def all_reads(items: Sequence[Part]) -> frozenset[Join]:
    return NO_JOINS.union(*(item.reads for item in items))


def written(node: Comparison, names: Names) -> Part:
    left = resolve(node.left, names, names.joins)
    right = resolve(node.right, names, names.joins)
    outcome = guarded(compare(left, node.sign, right, names.values), left, right)
    reads = left.joins | right.joins
    holds = Condition(
        outcome.true,
        reads,
        needed(left, right) if outcome.needs_rows else NO_JOINS,
        *contained(left, node.sign, right),
    )
    if node.any or not (left.multi or right.multi):
        return holds
    return Every((holds, Condition(unviolated(node, names, left, right))), reads)


def contained(left: Operand, sign: str, right: Operand) -> tuple[str | None, bool]:
    """For an element of the record's own list that equals a known text: that the list contains it."""
    for element, given in ((left, right), (right, left)):
        known = given.is_parameter and isinstance(given.constant, str) and given.constant != ""
        if sign == "=" and element.listed_in is not None and known and not element.visible:
            return f"{element.listed_in} @> ARRAY[{given.text}]", not element.may_dangle
    return None, False


def unviolated(node: Comparison, names: Names, left: Operand, right: Operand) -> str:
    """The "no violating row" part: rows of its own, those of either side independent of the other's."""
    rows = Joins(names.aliases)
    other_rows = Joins(names.aliases) if left.multi and right.multi else rows
    left = resolve(node.left, names, rows)
    right = resolve(node.right, names, other_rows)
    outcome = guarded(compare(left, node.sign, right, names.values), left, right)
    needs = needed(left, right) if outcome.false_needs_rows else NO_JOINS
    if outcome.false == "false":
        return "true"
    return f"NOT {exists(outcome.false, left.joins | right.joins, needs)}"


def resolve(leaf: Leaf, names: Names, joins: Joins) -> Operand:
    return call(leaf, names, joins) if isinstance(leaf, Call) else names.operand(leaf, joins)


def needed(left: Operand, right: Operand) -> frozenset[Join]:
    """The joins whose missing rows make a side NULL."""
    return closure(join for side in (left, right) if side.strict for join in side.joins)


def guarded(outcome: Outcome, left: Operand, right: Operand) -> Outcome:
    """Add what must hold for a client to compare these values at all; where it does not, nothing holds."""
    visible = tuple(dict.fromkeys((*left.visible, *right.visible)))
    if not visible:
        return outcome
    allowed = " AND ".join(visible)
    return Outcome(
        f"({outcome.true} AND {allowed})",
        f"({outcome.false} OR ({allowed}) IS FALSE)",
        outcome.needs_rows,
        outcome.false_needs_rows,
    )


# Asking for joined rows


def ask(part: Part) -> str:
    """Return SQL that is true when some combination of joined rows satisfies the part."""
    if not part.reads:
        return plain(part)
    if isinstance(part, Condition):
        if part.within is None:
            return exists(part.sql, part.reads, part.needs)
        if part.within_suffices:
            return part.within
        return f"({part.within} AND {exists(part.sql, part.reads, part.needs)})"
    if isinstance(part, Some):
        answers = []
        for item in part.items:
            answers.append(ask(item))
        return f"({' OR '.join(answers)})"
    answers = []
    for group in sharing(part.items):
        if len(group) == 1:
            answers.append(ask(group[0]))
        else:
            together = Every(tuple(group), all_reads(group))
            for item in group:
                if isinstance(item, Condition) and item.within is not None:
                    answers.append(item.within)
            answers.append(exists(plain(together), together.reads, needs(together)))
    return f"({' AND '.join(answers)})"


def plain(part: Part) -> str:
    """Return the part as a condition on joined rows that are in scope."""
    if isinstance(part, Condition):
        return part.sql
    answers = []
    for item in part.items:
        answers.append(plain(item))
    return f"({(' AND ' if isinstance(part, Every) else ' OR ').join(answers)})"


def needs(part: Part) -> frozenset[Join]:
    """The joins whose rows must be there for the part to hold."""
    if isinstance(part, Condition):
        return part.needs
    found: frozenset[Join] | None = None
    for item in part.items:
        its = needs(item)
        if found is None:
            found = its
        else:
            found = found | its if isinstance(part, Every) else found & its
    return found or NO_JOINS


def sharing(items: tuple[Part, ...]) -> list[list[Part]]:
    """Group the items that read common joined rows; the groups keep the order of their first items."""
    groups: list[tuple[list[Part], frozenset[Join]]] = []
    for item in items:
        rows = closure(item.reads)
        members: list[Part] = []
        apart: list[tuple[list[Part], frozenset[Join]]] = []
        for group, joins in groups:
            if joins & rows:
                members.extend(group)
                rows |= joins
            else:
                apart.append((group, joins))
        groups = [*apart, ([*members, item], rows)]
    return [group for group, _ in groups]
