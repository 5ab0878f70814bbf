"""A field as an input of a form, and what the form says as a value of the field.

A value here is in the form of the API: text, number, bool, a date as the wire writes it, lists for fields with
several values, JSON as the text that is shown, a point as two texts. Forms name inputs `v:<field>`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from groundplane.clock import wire_date
from groundplane_admin import formats
from groundplane_admin.catalogue import say
from groundplane_admin.records.columns import PICTURES
from groundplane_admin.records.display import json_shown, listed, number_shown, parse_wire
from groundplane_admin.records.json_layout import laid_out

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection
    from groundplane.schema.fields.base import Field
    from groundplane_admin.visits import Form

NATIVE_OPTIONS = 15  # above that a select is a list to search
LONG = 4000  # characters of a value that travels as its hash
INPUT = "v:"
ZONE, REMOVED, LON, LAT = "z:", "x:", "lon:", "lat:"
KINDS = {
    "text": "text",
    "email": "email",
    "url": "url",
    "editor": "editor",
    "number": "number",
    "bool": "bool",
    "date": "date",
    "select": "select",
    "relation": "relation",
    "file": "file",
    "json": "json",
    "geoPoint": "geo",
    "password": "password",
}


class BadInput(Exception):
    """What was typed is no value of the field; the message stands beside the input."""


class Link(NamedTuple):
    id: str
    name: str
    is_gone: bool = False


class Input(NamedTuple):
    """One input as the template draws it; `about` is the type and its limits in words."""

    name: str
    kind: str
    picture: str
    about: str
    value: Any
    error: str
    is_required: bool
    help: str
    is_multiple: bool = False
    options: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    target: str = ""
    accept: str = ""
    limit: int = 0
    zone: str = ""
    is_long: bool = False

    @property
    def id(self) -> str:
        return f"v-{self.name}"


def editable(collection: Collection, *, is_new: bool) -> list[Field]:
    """The fields with inputs: not those that set themselves; the id only of a new record, and last."""
    found = [
        field
        for field in collection.fields
        if field.type_name != "autodate"
        and not (collection.is_auth and field.name == "tokenKey")
        and (field.name != "id" or is_new)
    ]
    return sorted(found, key=lambda field: field.name == "id")


def kind_of(field: Field) -> str:
    kind = KINDS.get(field.type_name, "other")
    if kind == "text" and field.name != "id" and not 0 < getattr(field, "max", 0) <= 120:
        return "long"
    return kind


def about(field: Field, target: str) -> str:
    """The type and its limits: `text, required`, `file, image, 5 MB at most`."""
    parts = [field.type_name if not target else say("records.input.relation", target=target)]
    if getattr(field, "required", False):
        parts.append(say("records.input.required"))
    if field.type_name == "file":
        parts.append(say("records.input.size", size=formats.size(getattr(field, "size_limit", 0))))
    if field.is_multiple:
        parts.append(say("records.input.several", n=getattr(field, "max_select", 0)))
    for name in ("min", "max"):
        limit = getattr(field, name, None)
        if limit not in (None, 0, "") and field.name != "id":
            parts.append(f"{name} {number_shown(limit) if isinstance(limit, float) else limit}")
    if field.hidden:
        parts.append(say("records.input.hidden"))
    return ", ".join(parts)


def value_of(field: Field, record: Mapping[str, Any]) -> Any:
    """The field's value in a record as the API shows it, in the form that this module compares."""
    value = record.get(field.name)
    match field.type_name:
        case "number":
            return number_shown(value if value is not None else 0)
        case "bool":
            return bool(value)
        case "select" | "relation" | "file":
            items = listed(value)
            return items if field.is_multiple else (items[0] if items else "")
        case "json":
            return "" if value is None else laid_out(json_shown(value))
        case "geoPoint":
            point = value if isinstance(value, Mapping) else {}
            return [number_shown(point.get("lon", 0)), number_shown(point.get("lat", 0))]
        case "password":
            return ""
    if isinstance(value, str):
        return value.replace("\r\n", "\n")
    return "" if value is None else laid_out(json_shown(value))


def blank(field: Field) -> Any:
    """The value of a new record's input."""
    return value_of(field, {})


def read(field: Field, form: Form, before: Any) -> Any:
    """What a form says about a field; `before` is the value where it says nothing. Raises BadInput."""
    name = INPUT + field.name
    kind = kind_of(field)
    if kind == "file":
        removed = set(form.all(REMOVED + field.name))
        kept = [each for each in listed(before) if each not in removed]
        return kept if field.is_multiple else (kept[0] if kept else "")
    if kind == "geo":
        if not form.has(LON + field.name):
            return before
        return [number(form.text(LON + field.name) or "0"), number(form.text(LAT + field.name) or "0")]
    if not form.has(name):
        return before
    if kind in ("select", "relation"):
        items = list(dict.fromkeys(each.strip() for each in form.all(name) if each.strip()))
        if field.is_multiple:
            # Boxes come in the order of the options, which says nothing about the order that is stored.
            same = kind == "select" and sorted(items) == sorted(listed(before))
            return before if same else items
        return items[-1] if items else ""
    text = form.text(name)
    match kind:
        case "number":
            return number(text.strip()) if text.strip() else "0"
        case "bool":
            return text == "true"
        case "date":
            return moment(text.strip(), form.text(ZONE + field.name))
        case "json" | "other":
            return checked_json(text.replace("\r\n", "\n").strip())
        case "long" | "editor":
            return text.replace("\r\n", "\n")
    return text


def number(text: str) -> str:
    """A number as it is written everywhere here; raises BadInput."""
    try:
        value = float(text.replace("_", "x"))
    except ValueError:
        raise BadInput(say("records.input.not_number")) from None
    if not math.isfinite(value):
        raise BadInput(say("records.input.not_number"))
    return number_shown(value)


def moment(text: str, zone: str) -> str:
    """A date of an input in a zone, as the API writes it; "" for none. Raises BadInput."""
    if not text:
        return ""
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(say("records.input.not_date")) from None
    if local.tzinfo is None:
        local = local.replace(tzinfo=formats.zone_of(zone) or UTC)
    try:
        return wire_date(local.astimezone(UTC))
    except (OverflowError, ValueError):
        raise BadInput(say("records.input.not_date")) from None


def local_input(text: str, zone: str) -> str:
    """A wire date as `datetime-local` wants it, in a zone."""
    found = parse_wire(text)
    if found is None:
        return ""
    local = found.astimezone(formats.zone_of(zone) or UTC)
    return local.strftime("%Y-%m-%dT%H:%M:%S.") + f"{local.microsecond // 1000:03d}"


def checked_json(text: str) -> str:
    if text:
        try:
            msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            reason = str(error).removeprefix("JSON is malformed: ")
            raise BadInput(say("records.input.not_json", reason=reason)) from None
    return text


def to_api(field: Field, value: Any) -> Any:
    """A value of this module as a body of the API has it."""
    match field.type_name:
        case "number":
            return float(value)
        case "geoPoint":
            return {"lon": float(value[0]), "lat": float(value[1])}
        case "json":
            return value or None
    if kind_of(field) == "other":
        return msgspec.json.decode(value.encode()) if value else None
    return value


def fingerprint(value: Any) -> Any:
    """The value itself, or what tells it from others where it is long."""
    encoded = msgspec.json.encode(value)
    return value if len(encoded) <= LONG else {"sha256": hashlib.sha256(encoded).hexdigest()}


def input_of(
    field: Field,
    value: Any,
    *,
    error: str = "",
    links: tuple[Link, ...] = (),
    target: str = "",
    zone: str = "",
) -> Input:
    options = tuple(getattr(field, "values", ())) if field.type_name == "select" else ()
    kinds = getattr(field, "mime_types", None) or []
    kind = kind_of(field)
    shown = local_input(value, zone) if kind == "date" and isinstance(value, str) else value
    return Input(
        field.name,
        kind,
        PICTURES.get(field.type_name, "plugin"),
        about(field, target),
        shown,
        error,
        bool(getattr(field, "required", False)),
        str(getattr(field, "help", "")),
        is_multiple=field.is_multiple,
        options=options,
        links=links,
        target=target,
        accept=",".join(kinds),
        limit=int(getattr(field, "size_limit", 0)) if kind == "file" else 0,
        zone=zone,
        is_long=len(options) > NATIVE_OPTIONS,
    )
