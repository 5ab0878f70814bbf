"""The values of `@request.…` that are known before the statement runs (contract, filters §8.4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from groundplane.clock import wire_date
from groundplane.context import RequestInfo
from groundplane.query.operands import compact_list, number_of
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind

LISTS = frozenset({"file", "relation", "select"})  # types with :length and :each
AUTH_VALUES = frozenset({"collectionId", "collectionName", "email", "emailVisibility", "id", "verified"})
MISSING = object()


def auth_value(info: RequestInfo, name: str) -> Any:
    """One of AUTH_VALUES of the caller, None for guests."""
    caller = info.caller
    if caller is None:
        return None
    match name:
        case "id":
            return caller.id
        case "collectionId":
            return caller.collection_id
        case "collectionName":
            return caller.collection_name
    return caller.record.get(name)


def value_at(root: Mapping[str, Any], keys: list[str]) -> Any:
    """Follow object keys and list positions; MISSING when the path leads nowhere."""
    value: Any = root
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, MISSING)
        elif isinstance(value, list | tuple) and key.isdigit() and len(key) < 10 and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def submitted(value: Any, field: Field | None) -> Any:
    """Return what a body value compares as: text, number, bool, None, or a list or object for its JSON."""
    if isinstance(value, datetime):
        return wire_date(value)
    if field is None:
        return value
    if field.type_name == "file":
        value = file_names(value)
    if field.kind is Kind.MULTI:
        return compact_list(elements(value))
    if field.kind is Kind.GEO and isinstance(value, Mapping | tuple):
        lon, lat = field.from_input(dict(value) if isinstance(value, Mapping) else value)
        return {"lon": lon, "lat": lat}
    return value


def file_names(value: Any) -> Any:
    """Uploaded files count as their final names."""
    if isinstance(value, Mapping):
        return value.get("name", "")
    if isinstance(value, list | tuple):
        return [file_names(item) for item in value]
    return value


def elements(value: Any) -> list[str]:
    """The values of a select, relation or file as submitted: a list, or one; blanks are no value."""
    value = file_names(value)
    items = value if isinstance(value, list | tuple) else [value]
    return [str(item) for item in items if item is not None and item is not MISSING and item != ""]


def numeric_if_named_so(value: Any, name: str, collection: Collection) -> Any:
    """A text whose last path segment names a number field of the collection is that number, if it is one."""
    if isinstance(value, str):
        field = collection.field(name)
        if field is not None and field.kind is Kind.NUMBER:
            number = number_of(value)
            return value if number is None or value != value.strip() else number
    return value
