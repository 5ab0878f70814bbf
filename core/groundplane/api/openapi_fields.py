"""Field types as JSON Schema: what a response shows and what a request may send."""

from __future__ import annotations

import re
from typing import Any

from groundplane.schema.fields.base import Field
from groundplane.schema.fields.plugin import MissingField, PluginField

JSON = dict[str, Any]

DATE_PATTERN = r"^(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{3}Z)?$"
DEFAULT_TEXT_MAX = 5000  # characters, where a text field names no limit
DEFAULT_JSON_MAX = 1 << 20  # bytes
DEFAULT_FILE_MAX = 5 << 20  # bytes

# Patterns are RE2; JSON Schema wants ECMA-262. Only what means the same in both is published.
PORTABLE_PATTERN = re.compile(r"^(?!.*(\(\?|\\[AzZQECpP]|\[\[:)).*$", re.DOTALL)


def shown(field: Field) -> JSON:
    """Return the schema of the field's value in a response."""
    options = field.to_json()
    match field.type_name:
        case "number":
            base: JSON = {"type": "number"}
        case "bool":
            base = {"type": "boolean"}
        case "date" | "autodate":
            base = {
                "type": "string",
                "pattern": DATE_PATTERN,
                "description": "A UTC date; empty when it is not set.",
            }
        case "select" | "relation" | "file":
            base = {"type": "array", "items": {"type": "string"}} if field.is_multiple else {"type": "string"}
        case "json":
            base = {"description": "Any JSON value."}
        case "geoPoint":
            base = geo_point(bounded=False)
        case _:
            base = of_plugin(field)
    return with_help(base, options)


def of_plugin(field: Field) -> JSON:
    """Return what a plugin says of its field type; the other types here are texts."""
    if isinstance(field, PluginField | MissingField):
        return dict(field.json_schema())
    return {"type": "string"}


def accepted(field: Field) -> JSON | None:
    """Return the schema of the field in a create or update body; None when a client cannot set it.

    It describes what is meant. The server is more lenient: it casts other types instead of refusing them.
    """
    options = field.to_json()
    match field.type_name:
        case "autodate":
            return None
        case "text":
            base = text(options)
        case "editor":
            base = {"type": "string", "contentMediaType": "text/html"}
        case "email":
            base = {"type": "string", "format": "email"}
        case "url":
            base = {"type": "string", "format": "uri"}
        case "password":
            base = {"type": "string", "format": "password", "writeOnly": True}
            base |= limits(options, minLength="min", maxLength="max")
        case "number":
            base = {"type": "integer" if options.get("onlyInt") else "number"}
            base |= {
                key: options[name]
                for key, name in (("minimum", "min"), ("maximum", "max"))
                if options.get(name) is not None
            }
        case "bool":
            base = {"type": "boolean"}
        case "date":
            base = {"type": "string", "examples": ["2030-01-02 03:04:05.678Z"]}
        case "select":
            base = listed(field, {"type": "string", "enum": list(options.get("values") or [])}, options)
        case "relation":
            base = listed(field, {"type": "string", "description": "A record id."}, options)
        case "file":
            base = listed(field, {"type": "string", "description": "A name to keep."}, options)
        case "json":
            base = {
                "description": f"Any JSON value of up to {options.get('maxSize') or DEFAULT_JSON_MAX} bytes."
            }
        case "geoPoint":
            base = geo_point(bounded=True)
        case _:
            base = of_plugin(field)
    return with_help(base, options)


def accepted_upload(field: Field) -> JSON:
    """Return the schema of a file field in a multipart body."""
    options = field.to_json()
    part: JSON = {"type": "string", "contentMediaType": "application/octet-stream"}
    types = options.get("mimeTypes") or []
    words = [f"At most {options.get('maxSize') or DEFAULT_FILE_MAX} bytes."]
    if types:
        words.append(f"One of {', '.join(types)}.")
    part["description"] = " ".join(words)
    return with_help(listed(field, part, options), options)


def text(options: JSON) -> JSON:
    schema: JSON = {"type": "string", "maxLength": options.get("max") or DEFAULT_TEXT_MAX}
    schema |= limits(options, minLength="min")
    pattern = options.get("pattern") or ""
    if pattern and PORTABLE_PATTERN.match(pattern):
        schema["pattern"] = pattern
    return schema


def listed(field: Field, item: JSON, options: JSON) -> JSON:
    """Return the item itself for a single value, else an array of it with the field's limits."""
    if not field.is_multiple:
        return item
    schema: JSON = {"type": "array", "items": item, "uniqueItems": True}
    return schema | limits(options, minItems="minSelect", maxItems="maxSelect")


def limits(options: JSON, **names: str) -> JSON:
    """Copy the options that are set (not 0) under their JSON Schema names."""
    return {key: options[name] for key, name in names.items() if options.get(name)}


def geo_point(*, bounded: bool) -> JSON:
    longitude: JSON = {"type": "number"}
    latitude: JSON = {"type": "number"}
    if bounded:
        longitude |= {"minimum": -180, "maximum": 180}
        latitude |= {"minimum": -90, "maximum": 90}
    return {
        "type": "object",
        "properties": {"lon": longitude, "lat": latitude},
        "required": ["lon", "lat"],
    }


def with_help(schema: JSON, options: JSON) -> JSON:
    """Put the field's own help text in front of what we say about the type."""
    sentences = [words for words in (options.get("help"), schema.get("description")) if words]
    return schema | {"description": " ".join(sentences)} if sentences else schema
