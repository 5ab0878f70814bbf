"""Joined rows of a query: which there are, which comparisons share them, and the SQL around a condition.

A path such as `author.team.name` reads rows that are LEFT-joined to the record (contract, filters §7).
Equal path prefixes are one join. Conditions on joined rows become `EXISTS (SELECT … FROM joins WHERE …)`
that refers to the record by its alias, so a condition can stand wherever that alias is in scope.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from groundplane.schema.collection import Collection


@dataclass(eq=False, slots=True)
class Join:
    """One LEFT JOIN. Aliases it depends on are its parent's or the base's.

    `source` `on`    as in `LEFT JOIN source ON on`
    `shortcut`       an ON that does without the parent, for related rows that are known to exist
    `order`          the sort key that gives the stored order
    `collection`     whose rows they are, None for elements of a list
    `listed_in`      the column of the record itself that lists these elements or rows
    """

    serial: int
    alias: str
    source: str
    on: str
    parent: Join | None = None
    shortcut: str | None = None
    order: str | None = None
    collection: Collection | None = None
    listed_in: str | None = None


class Aliases:
    """Makes aliases that are unique in a compilation; nested ones start with the alias they belong to."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.count = 0

    def next(self) -> tuple[int, str]:
        self.count += 1
        return self.count, f"{self.base}_{self.count}"


class Joins:
    """The joins of one row set, by path. `aliases` is shared by all row sets of a compilation."""

    def __init__(self, aliases: Aliases) -> None:
        self.aliases = aliases
        self.by_path: dict[Hashable, Join] = {}


def closure(joins: Iterable[Join]) -> frozenset[Join]:
    """The joins and everything they hang on."""
    found: set[Join] = set()
    for join in joins:
        step: Join | None = join
        while step is not None and step not in found:
            found.add(step)
            step = step.parent
    return frozenset(found)


def source_of(read: frozenset[Join], present: frozenset[Join]) -> tuple[str, list[str]]:
    """Write the FROM clause for the joins that `read` needs, and the conditions that go to WHERE.

    Rows of `present` joins must exist for the condition to hold, so they are joined plainly, with their ON
    in WHERE: PostgreSQL then makes a semi-join of the EXISTS and can begin at either end.
    """
    present &= closure(read)
    skipped = {
        join.parent
        for join in present
        if join.shortcut is not None and join.parent is not None and join.parent not in read
    }
    needed = sorted(closure(read) - skipped, key=lambda join: join.serial)
    inner = [join for join in needed if join in present]
    conditions = []
    for join in inner:
        on = join.shortcut if join.parent in skipped and join.shortcut is not None else join.on
        if on != "true":
            conditions.append(on)
    first = " CROSS JOIN ".join(join.source for join in inner) or "(SELECT 1) AS one"
    outer = "".join(f" LEFT JOIN {join.source} ON {join.on}" for join in needed if join not in present)
    return first + outer, conditions


def exists(condition: str, read: frozenset[Join], present: frozenset[Join]) -> str:
    """True when some combination of joined rows satisfies the condition."""
    source, conditions = source_of(read, present)
    where = " AND ".join([*conditions, condition])
    return f"EXISTS (SELECT 1 FROM {source} WHERE {where})"  # noqa: S608


def first_value(
    expression: str, read: frozenset[Join], *, strict: bool, many: bool, conditions: Sequence[str] = ()
) -> str:
    """The expression on the joined row, the first in stored order if there are several, as a scalar.

    `strict`: the expression is NULL for missing rows, which lets the root be joined plainly.
    `conditions`: what a row must satisfy to be taken.
    """
    everything = closure(read)
    roots = frozenset(join for join in everything if join.parent is None)
    source, ons = source_of(read, roots if strict else frozenset())
    where = f" WHERE {' AND '.join([*ons, *conditions])}" if ons or conditions else ""
    keys = [join.order for join in sorted(everything, key=lambda join: join.serial) if join.order]
    tail = f" ORDER BY {', '.join(keys)}" if keys else ""
    return f"(SELECT {expression} FROM {source}{where}{tail}{' LIMIT 1' if many else ''})"  # noqa: S608
