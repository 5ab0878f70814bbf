"""What goes along when a record is deleted, and what only loses its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from groundplane_admin.records.display import quoted

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection
    from groundplane_admin.visits import Visit

MOST = 20  # references that are looked at


class Dependent(NamedTuple):
    """Records of one collection that name the record in one field."""

    collection: str
    field: str
    records: int
    is_deleted: bool
    href: str


async def dependents_of(visit: Visit, collection: Collection, record_id: str) -> list[Dependent]:
    """Count, by reference, who names the record; those that are nobody's are left out."""
    found = []
    for other, field in visit.services.schema.current.references.get(collection.id, ())[:MOST]:
        sign = "?=" if field.is_multiple else "="
        condition = f"{field.name} {sign} {quoted(record_id)}"
        asked = {"filter": condition, "perPage": "1", "fields": "id"}
        page = await visit.services.records.page(other.id, asked, visit.info())
        if count := page["totalItems"]:
            is_deleted = bool(getattr(field, "cascade_delete", False))
            href = f"/_/c/{other.name}?filter={quote(condition)}"
            found.append(Dependent(other.name, field.name, count, is_deleted, href))
    return found
