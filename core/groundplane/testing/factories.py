"""Values for fields that must have one and about which a test does not care."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.number import NumberField
from groundplane.schema.fields.relation import RelationField
from groundplane.schema.fields.select import SelectField
from groundplane.schema.fields.text import TextField

PASSWORD = "1234567890"  # noqa: S105  # of everybody that tests make
MakeRelated = Callable[[str], Awaitable[str]]

_numbers = count(1)


def for_number(value: Any, number: int) -> Any:
    """A value as a factory takes it: itself, or what a function makes of the record's number (from 0)."""
    return value(number) if callable(value) else value


async def completed(
    collection: Collection, values: Mapping[str, Any], make_related: MakeRelated
) -> dict[str, Any]:
    """Add what the collection requires and nobody has given; a related record is made by its collection's id.

    A text with a pattern, and a file, must be given: nobody can guess them.
    """
    body = dict(values)
    number = next(_numbers)
    if collection.is_auth:
        body.setdefault("email", f"user{number}@example.com")
        body.setdefault("password", PASSWORD)
        body.setdefault("passwordConfirm", body["password"])
    for field in collection.fields:
        if field.system or field.name in body or not getattr(field, "required", False):
            continue
        value = await plausible(field, number, make_related)
        if value is not None:
            body[field.name] = value
    return body


async def plausible(field: Field, number: int, make_related: MakeRelated) -> Any:
    """A value that a required field accepts; None for "no idea"."""
    match field:
        case TextField():
            if field.pattern or field.autogenerate_pattern:
                return None
            text = f"{field.name} {number}"
            text = text.ljust(field.min or 1, "x")
            return text[: field.max] if field.max else text
        case NumberField():
            value = 1.0 if field.min is None else max(field.min, 1)
            value = value if field.max is None else min(value, field.max)
            return int(value) if field.only_int else value
        case SelectField():
            return field.values[0] if not field.is_multiple else list(field.values[:1])
        case RelationField():
            if not field.is_multiple:
                return await make_related(field.collection_id)
            return [await make_related(field.collection_id) for _ in range(max(field.min_select, 1))]
    return {
        "bool": True,
        "date": "2030-01-01 00:00:00.000Z",
        "editor": f"<p>{number}</p>",
        "email": f"user{number}@example.com",
        "geoPoint": {"lon": 1, "lat": 1},
        "json": {"number": number},
        "password": PASSWORD,
        "url": f"https://example.com/{number}",
    }.get(field.type_name)
