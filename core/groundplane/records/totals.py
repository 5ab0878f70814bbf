"""Totals that have been counted, and the snapshot of the database that each of them is true for.

Statements with the same snapshot (`pg_current_snapshot`: which transactions have committed) see the same rows,
so they count the same. A statement is told the last snapshot and does not count if that is still its own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple, cast

from groundplane.schema.cache import Schema

PLANS = "totals"  # our shelf in `Schema.plans`
MAX_TOTALS = 4096


class Counted(NamedTuple):
    """A total and its snapshot as PostgreSQL writes it; "" is the snapshot of no statement."""

    snapshot: str
    total: int


UNCOUNTED = Counted("", -1)


class Totals:
    """The last totals of one schema version in this process, by all that a count depends on."""

    def __init__(self) -> None:
        self._known: OrderedDict[object, Counted] = OrderedDict()

    def get(self, key: object) -> Counted:
        found = self._known.get(key)
        if found is None:
            return UNCOUNTED
        self._known.move_to_end(key)
        return found

    def put(self, key: object, counted: Counted) -> None:
        self._known[key] = counted
        if len(self._known) > MAX_TOTALS:
            self._known.popitem(last=False)


def totals_of(schema: Schema) -> Totals:
    shelf = schema.plans.setdefault(PLANS, {})
    found = shelf.get(PLANS)
    if found is None:
        found = shelf[PLANS] = Totals()
    return cast("Totals", found)
