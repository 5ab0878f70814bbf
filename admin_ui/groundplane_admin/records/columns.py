"""Which columns of a collection are shown, how wide, in what order: per superuser, kept on the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from groundplane_admin.records.state import ListState

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection
    from groundplane.schema.fields.base import Field

# Pixels: as a column begins, and below which it is rather left out than squeezed.
WIDTHS = {
    "text": (220, 140),
    "email": (200, 140),
    "url": (200, 140),
    "editor": (240, 140),
    "number": (100, 70),
    "bool": (90, 70),
    "date": (150, 150),
    "autodate": (150, 150),
    "select": (130, 100),
    "relation": (160, 120),
    "file": (160, 100),
    "json": (200, 120),
    "geoPoint": (150, 120),
}
ID_WIDTH = (150, 120)
OTHER = (160, 100)
MAX_WIDTH = 1200
SECRETS = frozenset({"password", "tokenKey"})
UNSORTABLE = frozenset({"json", "geoPoint", "file"})
TITLES = ("title", "name", "label", "subject", "email", "username", "slug", "key")
EDITED = frozenset({"text", "email", "url", "number", "bool", "select", "date"})
PICTURES = {
    "text": "text",
    "email": "mail",
    "url": "link",
    "editor": "editor",
    "number": "number",
    "bool": "bool",
    "date": "date",
    "autodate": "date",
    "select": "select",
    "relation": "relation",
    "file": "image",
    "json": "json",
    "geoPoint": "geo",
    "password": "lock",
}


class Choice(msgspec.Struct, frozen=True):
    """What a superuser has chosen for one collection; columns that it does not name are as they begin."""

    order: list[str] = []
    hidden: list[str] = []
    widths: dict[str, int] = {}


class Column(NamedTuple):
    name: str
    type: str
    picture: str
    width: int
    least: int
    is_number: bool
    is_shown: bool
    sorted: str  # "ascending", "descending" or "none"; "" where it cannot be sorted by
    sort_href: str
    is_title: bool
    is_simple: bool = False  # whether a cell of it can be edited in its place


def preference_name(collection: Collection) -> str:
    return f"columns.{collection.id}"


def visible_fields(collection: Collection) -> list[Field]:
    """The fields that may be seen at all: not an account's password and key."""
    return [
        field
        for field in collection.fields
        if field.type_name != "password" and not (collection.is_auth and field.name in SECRETS)
    ]


def title_field(collection: Collection) -> str:
    """The field that names a record for people: a presentable one, one with such a name, the first text, the id."""
    fields = [each for each in visible_fields(collection) if each.name != "id"]
    for field in fields:
        if field.presentable and field.type_name in ("text", "email", "url", "number"):
            return field.name
    for name in TITLES:
        field_of_name = collection.by_name.get(name)
        if field_of_name is not None and field_of_name.type_name in ("text", "email", "url"):
            return name
    for field in fields:
        if field.type_name in ("text", "email", "url"):
            return field.name
    return "id"


def begin_order(collection: Collection) -> list[str]:
    """The order without a choice: the id, what names the record, the rest, and dates that set themselves."""
    title = title_field(collection)
    fields = visible_fields(collection)
    first = [name for name in ("id", title) if name in collection.by_name]
    last = [each.name for each in fields if each.type_name == "autodate"]
    middle = [each.name for each in fields if each.name not in first and each.name not in last]
    return list(dict.fromkeys([*first, *middle, *last]))


def columns_of(collection: Collection, choice: Choice, state: ListState) -> list[Column]:
    """Every column that can be shown, in the order of the choice; those that are hidden too."""
    begun = begin_order(collection)
    names = [name for name in choice.order if name in begun]
    names += [name for name in begun if name not in names]
    sorts = sorted_by(state.sort)
    title = title_field(collection)
    found = []
    for name in names:
        field = collection.by_name[name]
        width, least = ID_WIDTH if name == "id" else WIDTHS.get(field.type_name, OTHER)
        is_sortable = field.type_name not in UNSORTABLE and not field.is_multiple
        direction = sorts.get(name, "none")
        turned = f"-{name}" if direction == "ascending" else name
        # Dates are of interest from the newest on.
        if direction == "none" and field.type_name in ("date", "autodate"):
            turned = f"-{name}"
        found.append(
            Column(
                name,
                field.type_name,
                "key" if name == "id" else PICTURES.get(field.type_name, "plugin"),
                min(choice.widths.get(name, width), MAX_WIDTH),
                least,
                field.type_name == "number",
                name not in choice.hidden and not (name == "emailVisibility" and not choice.order),
                direction if is_sortable else "",
                state.sorted_by(turned).href if is_sortable else "",
                name == title,
                is_simple=name != "id"
                and not collection.is_view
                and not field.is_multiple
                and field.type_name in EDITED,
            )
        )
    return found


def sorted_by(sort: str) -> Mapping[str, str]:
    """The columns that a sort text names, with their directions."""
    found: dict[str, str] = {}
    for part in sort.split(","):
        name = part.strip()
        if name:
            found[name.lstrip("+-")] = "descending" if name.startswith("-") else "ascending"
    return found
