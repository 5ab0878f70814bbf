"""Counts of several requests in one pass over their table, where that is cheaper than a pass for each.

A count looks at every row that may match. Reading a row costs several times what one more condition on it does,
so requests of one shape that wait together can share the reading: `count(*) FILTER (WHERE …)` for each of them.
With an index that leads to few rows the opposite is true, and PostgreSQL's estimate decides.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from groundplane.db.kept import Kept
from groundplane.db.sql import ident

SEAM = "/*gp*/"
MEMBERS = "gp_members"
BELIEVED_FOR_S = 60.0  # tables grow, and with them what is cheaper
PLACEHOLDER = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([0-9]+)""")


class Scan(NamedTuple):
    """The pieces of a statement that counts: what stands before and after the count, the parameter that holds
    a snapshot whose count is known already, the table and the condition on the row `r`."""

    head: str
    known: str
    table: str
    condition: str
    tail: str


def counting(known: str, table: str, condition: str) -> str:
    """SQL of a count that is NULL, and is not made, when `known` is the statement's snapshot."""
    return (
        f"{SEAM}CASE WHEN {SEAM}{known}{SEAM} = pg_current_snapshot()::text THEN NULL"  # noqa: S608
        f" ELSE (SELECT count(*) FROM {SEAM}{table}{SEAM} WHERE {SEAM}{condition}{SEAM}) END{SEAM}"
    )


def scan_of(text: str) -> Scan | None:
    """Take apart a statement with one `counting`; None for any other."""
    parts = text.split(SEAM)
    return Scan(parts[0], parts[2], parts[4], parts[6], parts[8]) if len(parts) == 9 else None


class Joint:
    """The statements of one shape that count for up to 2, 4, 8, … requests, and whether they are worth it."""

    def __init__(self, scan: Scan, slots: int) -> None:
        self._scan = scan
        self._slots = slots
        self._texts: dict[int, str] = {}
        self._is_cheaper = False
        self._until = 0.0

    @property
    def texts(self) -> Sequence[str]:
        """All that may have been prepared."""
        return tuple(self._texts.values())

    async def text(self, slot: Kept, types: Sequence[asyncpg.Type], count: int) -> str | None:
        """The statement for so many requests, like `lanes.together`; None where counting apart is cheaper."""
        size = 1 << (count - 1).bit_length()
        if time.monotonic() >= self._until:
            self._is_cheaper = await self._compare(slot, types, size)
            self._until = time.monotonic() + BELIEVED_FOR_S
        if not self._is_cheaper:
            return None
        if size not in self._texts:
            self._texts[size] = self._write(types, size)
        return self._texts[size]

    async def _compare(self, slot: Kept, types: Sequence[asyncpg.Type], size: int) -> bool:
        apart = f"SELECT count(*) FROM {self._scan.table} WHERE {self._scan.condition}"  # noqa: S608
        single = [f"{ident(each.schema)}.{ident(each.name)}" for each in types]
        arrays = [f"{each}[]" for each in single[: self._slots]] + single[self._slots :]
        together = await cost_of(slot, self._totals(types, size), arrays)
        return together < size * await cost_of(slot, apart, single)

    def _totals(self, types: Sequence[asyncpg.Type], size: int) -> str:
        """One row with the counts of all requests in an array."""
        table, condition = self._scan.table, self._scan.condition

        def array(position: int) -> str:
            return f"${position}::{array_type(types[position - 1])}"

        def for_member(number: int, sql: str) -> str:
            def mark(match: re.Match[str]) -> str:
                position = int(match[1] or 0)
                # As a subquery it is worked out once, not for every row.
                return f"(SELECT ({array(position)})[{number}])" if 0 < position <= self._slots else match[0]

            return PLACEHOLDER.sub(mark, sql)

        snapshots = array(int(self._scan.known.removeprefix("$").removesuffix("::text")))
        counts = ", ".join(
            f"count(*) FILTER (WHERE (SELECT {for_member(number, self._scan.known)} <> pg_current_snapshot()::text)"
            f" AND ({for_member(number, condition)}))"
            for number in range(1, size + 1)
        )
        unknown = f"(SELECT bool_or(each <> pg_current_snapshot()::text) FROM unnest({snapshots}) each)"  # noqa: S608
        return f"SELECT ARRAY[{counts}] AS totals FROM {table} WHERE {unknown}"  # noqa: S608

    def _write(self, types: Sequence[asyncpg.Type], size: int) -> str:
        arrays = ", ".join(
            f"${position}::{array_type(each)}" for position, each in enumerate(types[: self._slots], 1)
        )
        names = ", ".join([*(f"a{position}" for position in range(1, self._slots + 1)), "number"])

        def mark(match: re.Match[str]) -> str:
            position = int(match[1] or 0)
            return f"{MEMBERS}.a{position}" if 0 < position <= self._slots else match[0]

        known = PLACEHOLDER.sub(mark, self._scan.known)
        total = (
            f"CASE WHEN {known} = pg_current_snapshot()::text THEN NULL"
            f" ELSE gp_counted.totals[{MEMBERS}.number] END"
        )
        head, tail = (PLACEHOLDER.sub(mark, part) for part in (self._scan.head, self._scan.tail))
        return (
            f"WITH gp_counted AS MATERIALIZED ({self._totals(types, size)})"  # noqa: S608
            f" SELECT found.*, {MEMBERS}.number"
            f" FROM unnest({arrays}) WITH ORDINALITY {MEMBERS}({names})"
            f" CROSS JOIN gp_counted CROSS JOIN LATERAL ({head}{total}{tail}) found"
        )


def array_type(each: asyncpg.Type) -> str:
    return f"{ident(each.schema)}.{ident(each.name)}[]"


async def cost_of(slot: Kept, text: str, types: Sequence[str]) -> float:
    """What PostgreSQL expects a statement to cost, whatever its values, of these types, are."""

    def unknown(match: re.Match[str]) -> str:
        # A parameter would be taken for the value that comes with it.
        return f"(SELECT NULL::{types[int(match[1]) - 1]})" if match[1] else match[0]

    explained = f"EXPLAIN (FORMAT JSON) {PLACEHOLDER.sub(unknown, text)}"
    try:
        [row] = await slot.fetch(explained, ())
    finally:
        slot.forget(explained)
    cost: float = json.loads(row[0])[0]["Plan"]["Total Cost"]
    return cost
