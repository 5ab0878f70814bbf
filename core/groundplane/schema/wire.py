"""Collections as JSON: what the collections API shows, and what it accepts (contract, collections §2-4, §6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from groundplane.clock import wire_date
from groundplane.schema import defaults
from groundplane.schema.cache import Schema
from groundplane.schema.collection import RULES, Collection
from groundplane.schema.completion import completed, with_fields
from groundplane.schema.dates import to_date
from groundplane.schema.errors import BadShape
from groundplane.schema.fields.registry import make_field
from groundplane.schema.options import OWN_OPTIONS, AuthOptions, Provider
from groundplane.schema.system import installed_collections

TYPES = ("base", "auth", "view")
RULE_ATTRIBUTES = dict(
    zip(RULES, ("list_rule", "view_rule", "create_rule", "update_rule", "delete_rule"), strict=True)
)
TOKENS = ("authToken", "passwordResetToken", "emailChangeToken", "verificationToken", "fileToken")
DEFAULT_OPTIONS: dict[str, Any] = msgspec.to_builtins(AuthOptions())
OPTION_KEYS = tuple(field.encode_name for field in msgspec.structs.fields(AuthOptions))
NULLABLE_OPTIONS = frozenset({"authRule", "manageRule", "pkce", "extra"})
KEYS = ("id", *RULES, "name", "type", "fields", "indexes", "created", "updated", "system", "viewQuery")
KNOWN_KEYS = {key.lower(): key for key in (*KEYS, *OPTION_KEYS)}
MAX_DEPTH = 50


def collection_to_json(
    collection: Collection, *, secrets: bool = False, all_options: bool = False
) -> dict[str, Any]:
    """Return the collection in the key order of the API; token and provider secrets only if asked for.

    Who does not use the options that only we have sees a collection as PocketBase shows it; `all_options`
    shows them anyhow.
    """
    shown: dict[str, Any] = {"id": collection.id}
    for rule, attribute in RULE_ATTRIBUTES.items():
        shown[rule] = getattr(collection, attribute)
    shown["name"] = collection.name
    shown["type"] = collection.type
    shown["fields"] = [field.to_json() for field in collection.fields]
    shown["indexes"] = list(collection.indexes)
    shown["created"] = wire_date(collection.created)
    shown["updated"] = wire_date(collection.updated)
    shown["system"] = collection.system
    if collection.is_view:
        shown["viewQuery"] = collection.view_query
    if collection.is_auth and collection.options is not None:
        options: dict[str, Any] = msgspec.to_builtins(collection.options)
        if not secrets:
            for token in TOKENS:
                del options[token]["secret"]
            for provider in options["oauth2"]["providers"]:
                del provider["clientSecret"]
        for key in OWN_OPTIONS:
            if not all_options and options[key] == DEFAULT_OPTIONS[key]:
                del options[key]
        shown.update(options)
    return shown


def system_collections() -> list[Collection]:
    """Return the five system collections and `users` as a fresh installation has them, without dates."""
    return installed_collections()


def scaffold(type: str) -> Collection:
    """Return a blank collection of a type ("base" for an unknown one) without id, name and dates."""
    if type == "auth":
        blank = Collection(id="", name="", type="auth", options=defaults.auth_options())
    elif type == "view":
        blank = Collection(id="", name="", type="view")
    else:
        blank = Collection(id="", name="")
    return completed(blank, Schema(), None)


def collection_from_json(raw: Mapping[str, Any], *, base: Collection | None, schema: Schema) -> Collection:
    """Read a submitted collection; whether it makes sense is for the checks. Raises BadShape.

    Without `base` it is a new one: defaults of its type, then what was submitted. With `base` it is a change:
    keys that are not given keep their value, objects merge, arrays replace. Either way ids, system fields and
    required indexes are added and the indexes follow the collection's name. A change leaves the fields of a
    view alone, since they follow from its query; those of a new view are only a start.
    """
    if not isinstance(raw, Mapping):
        raise BadShape("A collection must be an object.")
    refuse_nul(raw, 0)
    values = {KNOWN_KEYS[key.lower()]: value for key, value in raw.items() if key.lower() in KNOWN_KEYS}
    type = text_of(values, "type", "") or (base.type if base is not None else "base")
    start = base or Collection(id="", name="", options=defaults.auth_options() if type == "auth" else None)
    changes: dict[str, Any] = {
        "type": type,
        "id": text_of(values, "id", start.id),
        "name": text_of(values, "name", start.name),
        "view_query": text_of(values, "viewQuery", start.view_query),
        "system": start.system,
    }
    if values.get("system") is not None:
        if not isinstance(values["system"], bool):
            raise BadShape("system must be true or false.")
        changes["system"] = values["system"]
    for rule, attribute in RULE_ATTRIBUTES.items():
        if rule in values:
            changes[attribute] = None if values[rule] is None else text_of(values, rule, "")
    if "fields" in values:
        fields = with_fields(make_field(field) for field in list_of(values["fields"], "fields"))
        if type != "view" or base is None:
            changes["fields"] = fields
    if "indexes" in values:
        changes["indexes"] = texts_of(values["indexes"], "indexes")
    if base is None:
        changes["created"] = to_date(values.get("created"))
        changes["updated"] = to_date(values.get("updated"))
    changes["options"] = options_from_json(values, start, type)
    return completed(start.replaced(**changes), schema, base)


def options_from_json(values: Mapping[str, Any], start: Collection, type: str) -> AuthOptions | None:
    """Merge the submitted auth options; their shape is looked at even where they do not apply."""
    submitted = {key: values[key] for key in OPTION_KEYS if key in values}
    if not submitted and type != "auth":
        return None
    options = start.options or defaults.blank_auth_options()
    merged = merge(msgspec.to_builtins(options), submitted, "")
    try:
        result = msgspec.convert(merged, AuthOptions)
    except msgspec.ValidationError as error:
        raise BadShape(str(error)) from None
    return result if type == "auth" else None


def merge(stored: dict[str, Any], submitted: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return `stored` with the submitted members laid over it, level by level; unknown ones are ignored."""
    result = dict(stored)
    names = {name.lower(): name for name in stored}
    for key, value in submitted.items():
        name = key if key in stored else names.get(key.lower())
        if name is None:
            continue
        here, old = f"{path}{name}", stored[name]
        if value is None:
            if name in NULLABLE_OPTIONS:
                result[name] = None
            elif isinstance(old, list):
                result[name] = []
        elif name == "providers":
            result[name] = merged_providers(old, list_of(value, here))
        elif name == "extra":
            if not isinstance(value, Mapping):
                raise BadShape(f"{here} must be an object.")
            result[name] = {**(old or {}), **value}
        elif isinstance(old, dict):
            if not isinstance(value, Mapping):
                raise BadShape(f"{here} must be an object.")
            result[name] = merge(old, value, f"{here}.")
        elif isinstance(old, list):
            result[name] = texts_of(value, here)
        elif isinstance(value, float) and value.is_integer():
            result[name] = int(value)
        else:
            result[name] = value
    return result


def merged_providers(stored: list[dict[str, Any]], submitted: list[Any]) -> list[dict[str, Any]]:
    """Lay each submitted provider over the stored one of its name, so that an unseen secret is kept.

    One whose name is new but that stands where another stood takes over that one's secret only.
    """
    blank: dict[str, Any] = msgspec.to_builtins(Provider())
    by_name = {provider["name"]: provider for provider in stored}
    result = []
    for position, raw in enumerate(submitted):
        if raw is None:
            raw = {}
        if not isinstance(raw, Mapping):
            raise BadShape("A provider must be an object.")
        name = next((value for key, value in raw.items() if key.lower() == "name"), None)
        before = stored[position] if position < len(stored) else blank
        if name is None:
            start = before
        elif isinstance(name, str) and name in by_name:
            start = by_name[name]
        else:
            start = {**blank, "clientSecret": before["clientSecret"]}
        result.append(merge(start, raw, "oauth2.providers."))
    return result


def text_of(values: Mapping[str, Any], key: str, default: str) -> str:
    value = values.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise BadShape(f"{key} must be a text.")
    return value


def list_of(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise BadShape(f"{name} must be an array.")
    return list(value)


def texts_of(value: Any, name: str) -> list[str]:
    texts = ["" if item is None else item for item in list_of(value, name)]
    if not all(isinstance(text, str) for text in texts):
        raise BadShape(f"{name} must be an array of texts.")
    return texts


def refuse_nul(value: Any, depth: int) -> None:
    """Raise BadShape for what cannot be stored: U+0000, lone surrogates, and nesting without end."""
    if isinstance(value, str):
        if "\x00" in value:
            raise BadShape("A text contains U+0000.")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadShape("A text contains a lone surrogate.") from None
    elif depth > MAX_DEPTH:
        raise BadShape("The collection is nested too deeply.")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            refuse_nul(key, depth + 1)
            refuse_nul(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            refuse_nul(item, depth + 1)
