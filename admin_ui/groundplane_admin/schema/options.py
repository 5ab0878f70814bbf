"""The options of a field as inputs, derived from its type: switches, numbers, texts and lists."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

import msgspec

from groundplane.schema.fields.registry import FIELD_TYPES, make_field
from groundplane_admin.catalogue import has, say
from groundplane_admin.records.columns import PICTURES

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema

# The server's business, or an input of its own.
LEFT_OUT = frozenset({"id", "name", "type", "system", "primaryKey", "cost"})
FIRST = ("required", "hidden", "presentable", "protected", "cascadeDelete", "onlyInt", "onCreate", "onUpdate")
LAST = ("help",)
HARDLY_CHANGED = ("pattern", "autogeneratePattern")
GUESSES = (
    (r"e_?mail", "email"),
    (r"(url|link|website|homepage)", "url"),
    (r"(is|has|can|was)_.+|published|enabled|active|done|verified", "bool"),
    (r"created|updated", "autodate"),
    (r".*_(at|on)|date|day|birthday|.*date", "date"),
    (r"(count|number|price|amount|total|views|age|year|size|rank|score|stock|quantity|.*_count)", "number"),
    (r"body|content|article", "editor"),
    (r"(file|files|image|images|photo|photos|avatar|cover|picture|document|attachments?)", "file"),
    (r"meta|data|json|payload|settings|extra", "json"),
    (r"place|location|position|coordinates", "geoPoint"),
    (r"status|state|category|kind", "select"),
)


class Option(NamedTuple):
    """One input. `kind`: switch, integer, number, line, lines, collection."""

    key: str
    kind: str
    label: str
    hint: str


@cache
def options_of(type_name: str) -> tuple[Option, ...]:
    """The inputs of a field type; none for one whose plugin is gone."""
    field_type = FIELD_TYPES.get(type_name)
    if field_type is None:
        return ()
    hints = get_type_hints(field_type)
    found = []
    for each in msgspec.structs.fields(field_type):
        key = each.encode_name
        if key in LEFT_OUT:
            continue
        found.append(Option(key, kind_of(key, hints[each.name]), label_of(key), hint_of(key, type_name)))
    order = {key: number for number, key in enumerate(FIRST)} | {key: 200 for key in HARDLY_CHANGED}
    order |= dict.fromkeys(LAST, 300)
    return tuple(sorted(found, key=lambda option: order.get(option.key, 100)))


def kind_of(key: str, hint: Any) -> str:
    if key == "collectionId":
        return "collection"
    if hint is bool:
        return "switch"
    if hint is int:
        return "integer"
    if "float" in str(hint):
        return "number"
    return "lines" if "list" in str(hint) else "line"


def label_of(key: str) -> str:
    name = f"schema.option.{key}"
    return say(name) if has(name) else key


def hint_of(key: str, type_name: str) -> str:
    for name in (f"schema.option_hint.{key}_{type_name}", f"schema.option_hint.{key}"):
        if has(name):
            return say(name)
    return ""


def picture_of(type_name: str) -> str:
    return PICTURES.get(type_name, "plugin")


def type_names() -> list[str]:
    """The types in the order in which they are offered."""
    return list(FIELD_TYPES)


def default_options(type_name: str) -> dict[str, Any]:
    return make_field({"type": type_name}).to_json()


def new_field(name: str, type_name: str, schema: Schema) -> dict[str, Any]:
    """A field as it is added: of the type that its name suggests when `type_name` is ""."""
    target = related(name, schema)
    if not type_name:
        type_name = "relation" if target else guessed(name)
    made = default_options(type_name) | {"name": name, "id": ""}
    if type_name == "autodate":
        made |= {"onCreate": True, "onUpdate": name.lower() == "updated"}
    if type_name == "relation":
        made |= {"collectionId": target, "maxSelect": 1}
    if type_name == "select":
        made |= {"values": [], "maxSelect": 1}
    if type_name == "file":
        made |= {"maxSelect": 1}
    return made


def guessed(name: str) -> str:
    for pattern, kind in GUESSES:
        if re.fullmatch(pattern, name.lower()):
            return kind
    return "text"


def related(name: str, schema: Schema) -> str:
    """The collection that a field of this name would point to: `user` and `users` to users."""
    lower = name.lower()
    for each in schema:
        if not each.system and lower in (each.name.lower(), each.name.lower().removesuffix("s")):
            return each.id
    return ""
