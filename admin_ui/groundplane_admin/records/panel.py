"""The panel of one record: its form, and what stands around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from groundplane.errors import GroundplaneError
from groundplane_admin.records.columns import visible_fields
from groundplane_admin.records.display import Cell, cell_of, listed, name_of
from groundplane_admin.records.inputs import Input, Link, blank, editable, input_of, value_of
from groundplane_admin.records.saving import encoded_base
from groundplane_admin.records.state import ListState
from groundplane_admin.registry import record_tabs

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection
    from groundplane_admin.visits import Visit


class Panel(NamedTuple):
    """`record` as the API shows it; `id` "" is a new one. `facts` are values that set themselves."""

    collection: Collection
    state: ListState
    id: str
    name: str
    version: str
    base: str
    inputs: list[Input]
    facts: list[tuple[str, Cell]]
    tabs: list[tuple[str, str, str]]
    is_public: bool
    problem: str = ""
    is_saved: bool = False
    is_dirty: bool = False

    @property
    def errors(self) -> list[Input]:
        return [each for each in self.inputs if each.error]

    @property
    def action(self) -> str:
        return self.state.record_href(self.id) if self.id else self.state.path_href("new")


class Read(NamedTuple):
    """A stored record as the API shows it, with its version for If-Match."""

    record: dict[str, Any]
    version: str


async def read_record(visit: Visit, collection: Collection, record_id: str) -> Read:
    """The record with the names of what it refers to; raises NotFound."""
    relations = [each.name for each in visible_fields(collection) if each.type_name == "relation"]
    query = {"expand": ",".join(relations)}
    answer = await visit.services.records.view(collection.id, record_id, query, visit.info())
    return Read(dict(answer.record), answer.etag)


def links_in(field_name: str, record: Mapping[str, Any], target: Collection | None) -> tuple[Link, ...]:
    """The records that a relation names; those that are not there any more are marked."""
    expanded = record.get("expand")
    brought = expanded.get(field_name) if isinstance(expanded, Mapping) else None
    items: Sequence[Any] = [brought] if isinstance(brought, Mapping) else (brought or [])
    by_id = {str(each["id"]): each for each in items if isinstance(each, Mapping)}
    found = []
    for each in listed(record.get(field_name)):
        other = by_id.get(each)
        name = name_of(other, target) if other is not None and target is not None else each
        found.append(Link(each, name, is_gone=other is None))
    return tuple(found)


async def links_of(visit: Visit, target: Collection | None, ids: Sequence[str]) -> tuple[Link, ...]:
    """Records by their ids, as chips; ids that are nobody's are marked."""
    found = []
    for each in ids[:200]:
        try:
            if target is None:
                raise LookupError
            answer = await visit.services.records.view(target.id, each, {}, visit.info())
        except (GroundplaneError, LookupError):
            found.append(Link(each, each, is_gone=True))
            continue
        found.append(Link(each, name_of(answer.record, target)))
    return tuple(found)


async def panel_of(
    visit: Visit,
    collection: Collection,
    state: ListState,
    stored: Read | None,
    *,
    values: Mapping[str, Any] | None = None,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
    base: str = "",
    version: str = "",
    is_saved: bool = False,
    is_dirty: bool = False,
) -> Panel:
    """The form of a record, or of a new one; `values` are what was typed instead of what is stored."""
    schema = visit.services.schema.current
    is_new = stored is None
    record: Mapping[str, Any] = stored.record if stored is not None else {}
    errors = errors or {}
    inputs = []
    for field in editable(collection, is_new=is_new):
        target = schema.get(getattr(field, "collection_id", "")) if field.type_name == "relation" else None
        value = blank(field) if is_new else value_of(field, record)
        links: tuple[Link, ...] = ()
        if values is not None and field.name in values:
            value = values[field.name]
        if field.type_name == "relation":
            ids = listed(value)
            unchanged = ids == listed(record.get(field.name))
            links = links_in(field.name, record, target) if unchanged else await links_of(visit, target, ids)
        inputs.append(
            input_of(
                field,
                value if field.type_name != "password" else "",
                error=errors.get(field.name, ""),
                links=links,
                target=target.name if target is not None else "",
                zone=visit.zone,
            )
        )
    facts = [
        (field.name, cell_of(field, record, schema, collection))
        for field in visible_fields(collection)
        if field.type_name == "autodate" and not is_new
    ]
    id = "" if is_new else str(record["id"])
    shown_tabs = [
        (tab.name, state.record_href(id, tab.name), tab.label)
        for tab in record_tabs()
        if id and tab.applies(visit, collection)
    ]
    return Panel(
        collection,
        state,
        id,
        "" if is_new else name_of(record, collection),
        version or (stored.version if stored is not None else ""),
        base or encoded_base(collection, record, is_new=is_new),
        inputs,
        facts,
        shown_tabs,
        collection.view_rule == "",
        problem=problem,
        is_saved=is_saved,
        is_dirty=is_dirty,
    )
