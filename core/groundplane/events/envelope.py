"""The message about a change of a record, as webhooks and event sinks pass it on.

Its members `type`, `timestamp` and `data` are those that the Standard Webhooks specification recommends.
"""

from __future__ import annotations

import math
from collections.abc import Collection as Names
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.schema.casting import json_number
from groundplane.schema.fields.base import Kind

if TYPE_CHECKING:
    from groundplane.events.changes import Change
    from groundplane.schema.collection import Collection
    from groundplane.schema.fields.base import Field

TYPES = {"create": "record.created", "update": "record.updated", "delete": "record.deleted"}
SECRET_FIELDS = frozenset({"password", "tokenKey"})  # of auth collections, told to nobody
# One message fits the payload of a job even if every byte has to be escaped there, and the usual limits of
# brokers and receivers.
MAX_BYTES = 500_000


def envelope(change: Change, *, fields: Names[str] | None = None, before: bool = True) -> dict[str, Any]:
    """Return the message about a change; `body` makes its text.

    The record has its fields as the API shows them, addresses of mail too, without hidden fields. `fields`
    leaves only those of that name (`id`, `collectionId` and `collectionName` stay); a hidden one is not shown
    for it. An update says what is different in `changed`, and unless `before` is false what there was.
    """
    collection = change.collection
    data: dict[str, Any] = {
        "collection": collection.name,
        "record": shown(collection, change.record, fields),
    }
    if change.before is not None:
        was = change.before
        data["changed"] = [
            field.name
            for field in visible(collection, fields)
            if change.record.get(field.name) != was.get(field.name)
        ]
        if before:
            data["before"] = shown(collection, was, fields)
    caller = change.caller
    data["caller"] = None if caller is None else {"id": caller.id, "collection": caller.collection_name}
    if change.is_cascade:
        data["cascade"] = True
    return {
        "id": change.id,
        "type": TYPES[change.action],
        "timestamp": change.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": data,
    }


def body(message: Mapping[str, Any], *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return a message of `envelope` as compact JSON in UTF-8.

    One that is too large is made smaller: `before` is left out, and when that is not enough, of the record all
    but its id and collection. `data.partial` is true then, and the receiver reads the record by the API.
    """
    text = msgspec.json.encode(message)
    if len(text) <= max_bytes:
        return text
    data = dict(message["data"]) | {"partial": True}
    data.pop("before", None)
    text = msgspec.json.encode({**message, "data": data})
    if len(text) <= max_bytes:
        return text
    record = data["record"]
    data["record"] = {name: record[name] for name in ("collectionId", "collectionName", "id")}
    return msgspec.json.encode({**message, "data": data})


def visible(collection: Collection, fields: Names[str] | None) -> list[Field]:
    """The fields that a message may hold, of these names or all."""
    return [
        field
        for field in collection.fields
        if not field.hidden
        and not (collection.is_auth and field.name in SECRET_FIELDS)
        and (fields is None or field.name in fields or field.name == "id")
    ]


def shown(collection: Collection, values: Mapping[str, Any], fields: Names[str] | None) -> dict[str, Any]:
    """A record's object in the shape of the API."""
    record: dict[str, Any] = {"collectionId": collection.id, "collectionName": collection.name}
    for field in visible(collection, fields):
        if field.name in values:
            record[field.name] = written(field, values[field.name])
    return dict(sorted(record.items()))


def written(field: Field, value: Any) -> Any:
    """A stored value as the encoder takes it, numbers with the digits that the API gives them."""
    match field.kind:
        case Kind.NUMBER:
            return numeral(value)
        case Kind.GEO:
            return {name: numeral(part) for name, part in field.to_wire(value).items()}
    if field.type_name == "file":
        # The names of uploads are texts of a class of their own, which the encoder does not know.
        return [str(name) for name in value] if isinstance(value, list) else str(value)
    return field.to_wire(value)


def numeral(value: float) -> msgspec.Raw | None:
    return msgspec.Raw(json_number(float(value)).encode()) if math.isfinite(value) else None
