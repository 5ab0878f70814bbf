"""A record's values as a table shows them: one line each, told apart when they are empty."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from groundplane_admin.catalogue import say
from groundplane_admin.records.columns import title_field

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection
    from groundplane.schema.fields.base import Field

MAX_SHOWN = 300  # characters of a cell; the panel has the rest
TAG = re.compile(r"<[^>]*>")
SPACE = re.compile(r"\s+")
PICTURE = re.compile(r"\.(png|jpe?g|gif|webp|avif)$", re.IGNORECASE)


class Part(NamedTuple):
    """One of the values of a cell; `href` leads to a related record, `picture` is a small image."""

    text: str
    href: str = ""
    picture: str = ""


class Cell(NamedTuple):
    """`kind` says how it is drawn: text, mono, number, bool, date, badges, links, files, or empty.

    `text` is the value as text, for the title and for copying; `raw` is what a filter compares with.
    """

    kind: str
    text: str
    parts: tuple[Part, ...] = ()
    moment: datetime | None = None
    raw: str = ""


def empty(name: str) -> Cell:
    return Cell("empty", say(f"records.empty.{name}"))


def parse_wire(text: str) -> datetime | None:
    """A date as the API writes it; None for the empty one."""
    try:
        return datetime.fromisoformat(text.replace(" ", "T")) if text else None
    except ValueError:
        return None


def json_shown(value: Any) -> str:
    """JSON as it is stored, with its numbers as they are written."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    return json.dumps(value, ensure_ascii=False)


def one_line(text: str) -> str:
    return SPACE.sub(" ", text[: 4 * MAX_SHOWN]).strip()[:MAX_SHOWN]


def number_shown(value: Any) -> str:
    """A number as the API writes it."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return msgspec.json.encode(value).decode()


def cell_of(field: Field, record: Mapping[str, Any], schema: Schema, collection: Collection) -> Cell:
    """One value of a record as the API shows it, with what `expand` has brought."""
    value = record.get(field.name)
    match field.type_name:
        case "number":
            text = number_shown(value if value is not None else 0)
            return Cell("number", text, raw=text)
        case "bool":
            text = "true" if value else "false"
            return Cell("bool", text, raw=text)
        case "date" | "autodate":
            text = str(value or "")
            moment = parse_wire(text)
            return Cell("date", text, moment=moment, raw=quoted(text)) if moment else empty("none")
        case "select":
            items = listed(value)
            if not items:
                return empty("none")
            return Cell("badges", ", ".join(items), tuple(Part(each) for each in items), raw=quoted(items[0]))
        case "relation":
            return relation_cell(field, record, schema)
        case "file":
            return file_cell(field, record, collection)
        case "json":
            return empty("null") if value is None else Cell("mono", one_line(json_shown(value)))
        case "geoPoint":
            point = value if isinstance(value, Mapping) else {}
            return Cell("mono", f"{number_shown(point.get('lon', 0))}, {number_shown(point.get('lat', 0))}")
        case "editor":
            text = one_line(TAG.sub(" ", str(value or "")[: 8 * MAX_SHOWN]))
            return Cell("text", text) if text else empty("empty")
    if isinstance(value, str):
        if not value:
            return empty("empty")
        return Cell("mono" if field.name == "id" else "text", one_line(value), raw=quoted(value))
    return empty("null") if value is None else Cell("mono", one_line(json_shown(value)))


def relation_cell(field: Field, record: Mapping[str, Any], schema: Schema) -> Cell:
    items = listed(record.get(field.name))
    if not items:
        return empty("none")
    target = schema.get(getattr(field, "collection_id", ""))
    expanded = record.get("expand")
    brought = expanded.get(field.name) if isinstance(expanded, Mapping) else None
    by_id = {str(each["id"]): each for each in as_records(brought)}
    parts = []
    for each in items:
        found = by_id.get(each)
        if target is None:
            parts.append(Part(each))
        elif found is None:
            # Not brought along, or gone: the id says as much as there is to say.
            parts.append(Part(each, f"/_/c/{target.name}/r/{each}"))
        else:
            parts.append(Part(name_of(found, target), f"/_/c/{target.name}/r/{each}"))
    return Cell("links", ", ".join(each.text for each in parts), tuple(parts), raw=quoted(items[0]))


def file_cell(field: Field, record: Mapping[str, Any], collection: Collection) -> Cell:
    items = listed(record.get(field.name))
    if not items:
        return empty("none")
    is_open = not getattr(field, "protected", False)
    base = f"/api/files/{collection.id}/{record['id']}/"
    parts = tuple(
        Part(each, picture=f"{base}{each}?thumb=100x100" if is_open and PICTURE.search(each) else "")
        for each in items
    )
    return Cell("files", ", ".join(items), parts)


def listed(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [str(each) for each in value] if isinstance(value, Sequence) else []


def as_records(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        return [value]
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, Sequence) else []


def name_of(record: Mapping[str, Any], collection: Collection) -> str:
    """What people call a record: the value of the field that names it, else its id."""
    value = record.get(title_field(collection))
    text = one_line(value) if isinstance(value, str) else ""
    return text or str(record.get("id", ""))


def quoted(text: str) -> str:
    """A text as the filter language writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
