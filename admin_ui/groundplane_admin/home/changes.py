"""What was changed lately: definitions of collections, and records where the plugin history keeps changes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from groundplane_admin.records.history import PLUGIN, name_of_caller

if TYPE_CHECKING:
    from groundplane_admin.visits import Visit

MOST = 8


class Changed(NamedTuple):
    """`action` is create, update or delete of a record, or "schema"."""

    at: datetime
    action: str
    who: str
    collection: str
    record: str


async def recent_changes(visit: Visit) -> list[Changed]:
    """The newest first."""
    schema = visit.services.schema.current
    found = [
        Changed(each.updated, "schema", "", each.name, "")
        for each in schema
        if not each.system and each.updated is not None
    ]
    plugin = visit.services.plugins.get(PLUGIN)
    if plugin is not None and plugin in visit.services.plugins.loaded:
        from groundplane_plugins.history.entries import recent

        names: dict[tuple[str, str], str] = {}
        for each in await recent(visit.services, MOST):
            collection = schema.by_id.get(each.collection)
            if collection is not None:
                who = await name_of_caller(visit, each.caller_collection, each.caller_id, names)
                found.append(Changed(each.at, each.action, who, collection.name, each.record))
    return sorted(found, key=lambda each: each.at, reverse=True)[:MOST]
