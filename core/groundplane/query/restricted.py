"""Which fields not everybody sees who may see the record, as plugins have said for this version of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

PLANS = "visibility"  # our shelf in `Schema.plans`; it is there only when a plugin restricts a field


class Restriction(NamedTuple):
    """Where a field is shown: where all of `visible` hold, nowhere when it is None; else `mask`, if there is one."""

    visible: tuple[str, ...] | None
    mask: Any = msgspec.UNSET


NOWHERE = Restriction(None)


def restrictions(schema: Schema, collection: Collection) -> Mapping[str, Restriction]:
    """The restricted fields of a collection by name; mostly there are none."""
    shelf = schema.plans.get(PLANS)
    if shelf is None:
        return {}
    found: Mapping[str, Restriction] = shelf.get(collection.id, {})  # type: ignore[assignment]  # of objects
    return found


def restricts(schema: Schema) -> bool:
    """Whether any field of any collection is restricted."""
    return PLANS in schema.plans
