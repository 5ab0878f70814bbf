"""Field types by name, and how a field object of the API becomes one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from groundplane.schema.errors import BadShape
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.boolean import BoolField
from groundplane.schema.fields.date import DateField
from groundplane.schema.fields.editor import EditorField
from groundplane.schema.fields.email import EmailField
from groundplane.schema.fields.file import FileField
from groundplane.schema.fields.geo_point import GeoPointField
from groundplane.schema.fields.json import JsonField
from groundplane.schema.fields.number import NumberField
from groundplane.schema.fields.password import PasswordField
from groundplane.schema.fields.plugin import ZEROS, PluginField, missing_field
from groundplane.schema.fields.relation import RelationField
from groundplane.schema.fields.select import SelectField
from groundplane.schema.fields.text import TextField
from groundplane.schema.fields.url import UrlField

FIELD_TYPES: dict[str, type[Field]] = {
    field_type.type_name: field_type
    for field_type in (
        TextField,
        EditorField,
        NumberField,
        BoolField,
        EmailField,
        UrlField,
        DateField,
        AutodateField,
        SelectField,
        RelationField,
        FileField,
        JsonField,
        PasswordField,
        GeoPointField,
    )
}

LARGEST_INTEGER = 2**63 - 1
TYPE_NAME = re.compile(r"[a-z][A-Za-z0-9_]{0,39}", re.ASCII)


def add_type(plugin: str, field_type: type) -> str:
    """Add a plugin's field type for this process; returns why that is not possible, "" when it is done."""
    if not issubclass(field_type, PluginField):
        return f"{field_type.__name__} must be derived from PluginField"
    name = field_type.type_name
    if TYPE_NAME.fullmatch(name) is None:
        return f"{field_type.__name__}: {name!r} is no name for a type"
    known = FIELD_TYPES.get(name)
    if known is not None and getattr(known, "plugin", "") != plugin:
        return f"the field type {name} is there already"
    if field_type.storage not in ZEROS:
        return f"{name}: its storage is one of {', '.join(kind.value for kind in ZEROS)}"
    options = msgspec.structs.fields(field_type)
    if {option.encode_name for option in options} & {"type", "storage"}:
        return f"{name}: no option may be called type or storage"
    if any(option.required for option in options):
        return f"{name}: every option needs a default"
    field_type.plugin = plugin
    FIELD_TYPES[name] = field_type
    return ""


def remove_type(field_type: type) -> None:
    """Take a plugin's field type out again."""
    name = getattr(field_type, "type_name", "")
    if FIELD_TYPES.get(name) is field_type:
        del FIELD_TYPES[name]


def make_field(raw: Mapping[str, Any]) -> Field:
    """Build a field from its JSON object; options that are not given have their defaults.

    Names are matched like the options of a Go struct, exactly or else in any case; unknown ones are ignored.
    Raises BadShape for an unknown type and for an option of the wrong JSON type.
    """
    if not isinstance(raw, Mapping):
        raise BadShape("A field must be an object.")
    type_name = next((value for key, value in raw.items() if key.lower() == "type"), None)
    field_type = FIELD_TYPES.get(type_name) if isinstance(type_name, str) else None
    if field_type is None and isinstance(type_name, str) and (missing := missing_field(raw)) is not None:
        return missing
    if field_type is None:
        raise BadShape(f"Missing or unknown field type in {shortened(raw.get('name', ''))}.")
    names = option_names(field_type)
    options: dict[str, Any] = {}
    for key, value in raw.items():
        name = names.get(key) or names.get(key.lower())
        # Null leaves an option as it is, which here is its default.
        if name is not None and value is not None:
            options[name] = without_nulls(value)
    try:
        return msgspec.convert(options, field_type)
    except msgspec.ValidationError as error:
        raise BadShape(f"Field {shortened(raw.get('name', ''))}: {error}") from None


@cache
def option_names(field_type: type[Field]) -> dict[str, str]:
    """Wire names of the options of a type, by themselves and in lower case."""
    wire = [field.encode_name for field in msgspec.structs.fields(field_type)]
    return {name.lower(): name for name in wire} | {name: name for name in wire}


def without_nulls(value: Any) -> Any:
    """Null inside a list of texts counts as an empty text; integers must fit 64 bits."""
    if isinstance(value, list):
        return ["" if item is None else item for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_INTEGER:
        return int(value)
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise BadShape("A number is out of range.")
    return value


def shortened(name: object) -> str:
    return repr(name)[:120]
