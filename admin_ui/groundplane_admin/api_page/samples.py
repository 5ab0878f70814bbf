"""A body with a fitting value for each field of a collection, to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundplane.errors import GroundplaneError

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection
    from groundplane.schema.fields.base import Field
    from groundplane_admin.visits import Visit

NOT_SENT = frozenset({"autodate", "file"})
MANAGED = frozenset(
    {"id", "tokenKey", "verified", "emailVisibility", "password"}
)  # of accounts, by others or apart
PASSWORD = "correct horse"  # noqa: S105  # an example
DAY = "2026-01-31 12:00:00.000Z"
PLAIN: dict[str, Any] = {
    "email": "mira@example.com",
    "url": "https://example.com",
    "bool": True,
    "date": DAY,
    "editor": "<p>Hello</p>",
    "json": {"key": "value"},
    "geoPoint": {"lon": 13.4, "lat": 52.5},
    "password": PASSWORD,
}


async def sample_body(visit: Visit, collection: Collection) -> dict[str, Any]:
    """What a client may send to create a record; relations name the newest record, where there is one."""
    body: dict[str, Any] = {}
    for field in collection.fields:
        if (
            field.type_name in NOT_SENT
            or field.name == "id"
            or (collection.is_auth and field.name in MANAGED)
        ):
            continue
        if field.type_name == "relation":
            body[field.name] = await related(visit, field)
        else:
            body[field.name] = value_for(field)
    if collection.is_auth:
        body |= {"password": PASSWORD, "passwordConfirm": PASSWORD}
    return body


def value_for(field: Field) -> Any:
    """A value that the field's own limits allow, as far as they can be met without a person."""
    match field.type_name:
        case "text":
            return text_for(field.name, int(getattr(field, "min", 0)), int(getattr(field, "max", 0)))
        case "number":
            low, high = getattr(field, "min", None), getattr(field, "max", None)
            value = 1.0 if low is None else low
            value = min(value, high) if high is not None else value
            return int(value) if float(value).is_integer() else value
        case "select":
            values = list(getattr(field, "values", ()))
            return (values[:1] if is_many(field) else values[0]) if values else ""
    return PLAIN.get(field.type_name, "")


def text_for(name: str, shortest: int, longest: int) -> str:
    text = f"A {name}"
    while len(text) < min(shortest, 200):
        text += f" and {name}"
    return text[:longest] if longest else text


def is_many(field: Field) -> bool:
    return int(getattr(field, "max_select", 0)) > 1


async def related(visit: Visit, field: Field) -> Any:
    """The newest record that a relation may name; a word that says what is wanted, where there is none."""
    found = "RECORD_ID"
    other = visit.services.schema.current.by_id.get(getattr(field, "collection_id", ""))
    if other is not None and (newest := await newest_id(visit, other)):
        found = newest
    return [found] if is_many(field) else found


async def newest_id(visit: Visit, collection: Collection) -> str:
    """The id of the newest record; "" when there is none."""
    asked = {"perPage": "1", "skipTotal": "1", "fields": "id"}
    if not collection.is_view:
        asked["sort"] = "-@rowid"
    try:
        page = await visit.services.records.page(collection.id, asked, visit.info())
    except GroundplaneError:
        return ""
    return str(page["items"][0]["id"]) if page["items"] else ""
