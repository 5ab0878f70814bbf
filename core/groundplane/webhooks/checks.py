"""What makes a webhook invalid, and raw values (of the API or the file) to a definition."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.errors import REQUIRED, FieldError
from groundplane.outgoing.addresses import Reach, url_error
from groundplane.query.errors import QueryError
from groundplane.query.rules import check_rule
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.webhooks.signing import key_of
from groundplane.webhooks.webhook import ACTIONS, EVERYTHING, REDACTED, Definition

KEYS = (
    "name",
    "url",
    "collections",
    "actions",
    "condition",
    "fields",
    "headers",
    "enabled",
    "timeout",
    "retries",
    "concurrency",
)
MAX_NAME_CHARS = 100
MAX_CONDITION_BYTES = 3500  # as filters
MAX_LIST = 200
MAX_HEADERS = 20
MAX_HEADER_CHARS = 2000
MAX_RETRIES = 50
MAX_RETRY_S = 7 * 24 * 3600.0
TIMEOUTS_S = (1.0, 60.0)
MAX_CONCURRENCY = 100
MAX_SECRETS = 5
NAME = re.compile(r"[\w.:/ -]+")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
# Ours, and those that say how the message is to be read.
RESERVED_HEADERS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)
# A change of these may make another key wrong.
LEANS_ON = {"condition": ("collections",), "fields": ("collections",)}
NEVER_SENT = frozenset({"password", "tokenKey"})

Errors = dict[str, FieldError]


def invalid(message: str) -> FieldError:
    return FieldError("validation_invalid_value", message)


class Reader:
    """Reads raw values over the ones that were there; what is wrong is in `errors`, by key."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self.errors: Errors = {}

    def text(self, key: str, default: str) -> str:
        value = self._raw.get(key, default)
        if not isinstance(value, str) or "\x00" in value:
            self.errors[key] = invalid("Must be a text.")
            return default
        return value.strip()

    def texts(self, key: str, default: Sequence[str]) -> tuple[str, ...]:
        value = self._raw.get(key, default)
        if value is None:
            return ()
        is_list = isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
        if not is_list or any("\x00" in each for each in value) or len(value) > MAX_LIST:
            self.errors[key] = invalid(f"Must be a list of at most {MAX_LIST} texts.")
            return tuple(default)
        return tuple(dict.fromkeys(value))

    def number(self, key: str, default: float, least: float, most: float) -> float:
        value = self._raw.get(key, default)
        if not is_number(value) or not least <= value <= most:
            self.errors[key] = invalid(f"Must be a number between {least:g} and {most:g}.")
            return default
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._raw.get(key, default)
        if not isinstance(value, bool):
            self.errors[key] = invalid("Must be true or false.")
            return default
        return value


def read_definition(
    raw: Mapping[str, Any], before: Definition | None, schema: Schema, reach: Reach
) -> tuple[Definition, Errors]:
    """Return the definition that raw values make of the one before, and what is wrong with it by key.

    Absent keys stay as they were, or take their default. What was not touched is not checked again, unless the
    webhook is enabled: one that the schema has left behind can still be disabled.
    """
    blank = before or Definition(name="", url="", collections=())
    reader = Reader(raw)
    collections, unknown = blank.collections, list[str]()
    if "collections" in raw:
        collections, unknown = known_ids(reader.texts("collections", blank.collections), schema)
    concurrency = reader.number("concurrency", blank.concurrency, 1, MAX_CONCURRENCY)
    definition = Definition(
        name=reader.text("name", blank.name),
        url=reader.text("url", blank.url),
        collections=collections,
        actions=tuple(
            action
            for action in ACTIONS
            if action in (given := reader.texts("actions", blank.actions)) or EVERYTHING in given
        ),
        condition=reader.text("condition", blank.condition),
        fields=reader.texts("fields", blank.fields),
        headers=read_headers(raw, blank.headers, reader.errors),
        enabled=reader.flag("enabled", blank.enabled),
        timeout_s=reader.number("timeout", blank.timeout_s, *TIMEOUTS_S),
        retries=read_retries(raw, blank.retries, reader.errors),
        concurrency=int(concurrency),
    )
    if concurrency != int(concurrency):
        reader.errors["concurrency"] = invalid("Must be a whole number.")
    if unknown_actions := set(reader.texts("actions", ())) - {*ACTIONS, EVERYTHING}:
        reader.errors["actions"] = invalid(f"Unknown action {min(unknown_actions)}.")
    if unknown:
        reader.errors["collections"] = invalid(f"There is no collection {unknown[0]}.")
    found = own_errors(definition, schema, reach)
    if before is not None and not ("enabled" in raw and definition.enabled):
        found = {key: error for key, error in found.items() if {key, *LEANS_ON.get(key, ())} & raw.keys()}
    return definition, found | reader.errors


def known_ids(given: Sequence[str], schema: Schema) -> tuple[tuple[str, ...], list[str]]:
    """The ids of collections that were named, and those names that are none."""
    if EVERYTHING in given:
        return (EVERYTHING,), []
    ids, unknown = [], []
    for name in given:
        collection = schema.get(name)
        if collection is None:
            unknown.append(name)
        else:
            ids.append(collection.id)
    return tuple(dict.fromkeys(ids)), unknown


def read_headers(raw: Mapping[str, Any], before: Mapping[str, str], errors: Errors) -> dict[str, str]:
    """Headers by name; a value that is null or redacted stays as it was."""
    given = raw.get("headers", before)
    if not isinstance(given, Mapping) or len(given) > MAX_HEADERS:
        errors["headers"] = invalid(f"Must be an object with at most {MAX_HEADERS} headers.")
        return dict(before)
    known = {name.lower(): value for name, value in before.items()}
    headers: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in given.items():
        if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
            errors["headers"] = invalid("A header's name has letters, digits and dashes.")
            continue
        lower = name.lower()
        if lower in RESERVED_HEADERS or lower in seen:
            errors["headers"] = invalid(
                f"The header {name} cannot be set{' twice' if lower in seen else ''}."
            )
            continue
        seen.add(lower)
        if (value is None or value == REDACTED) and lower in known:
            headers[name] = known[lower]
        elif (
            isinstance(value, str)
            and value != REDACTED
            and len(value) <= MAX_HEADER_CHARS
            and HEADER_VALUE.fullmatch(value)
        ):
            headers[name] = value.strip()
        else:
            errors["headers"] = invalid(
                f"The value of {name} must be a text of at most {MAX_HEADER_CHARS} ASCII characters."
            )
    return headers


def read_retries(raw: Mapping[str, Any], before: tuple[float, ...], errors: Errors) -> tuple[float, ...]:
    given = raw.get("retries", before)
    if (
        not isinstance(given, (list, tuple))
        or len(given) > MAX_RETRIES
        or not all(is_number(each) and 0 <= each <= MAX_RETRY_S for each in given)
    ):
        errors["retries"] = invalid(
            f"Must be a list of at most {MAX_RETRIES} numbers of seconds up to {MAX_RETRY_S:g}."
        )
        return before
    return tuple(float(each) for each in given)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def own_errors(definition: Definition, schema: Schema, reach: Reach) -> Errors:
    """What is wrong with a definition as a whole."""
    errors: Errors = {}
    if not definition.name:
        errors["name"] = REQUIRED
    elif len(definition.name) > MAX_NAME_CHARS or not NAME.fullmatch(definition.name):
        errors["name"] = invalid(
            f"Must have at most {MAX_NAME_CHARS} letters, digits, spaces and any of _.:/- in it."
        )
    if error := url_error(definition.url, reach):
        errors["url"] = error
    for key in ("collections", "actions"):
        if not getattr(definition, key):
            errors[key] = REQUIRED
    for collection in chosen(definition, schema):
        if collection.is_view:
            errors["collections"] = invalid(f"The records of the view {collection.name} do not change.")
        if error := condition_error(definition.condition, schema, collection):
            errors["condition"] = error
            break
    if error := fields_error(definition, schema):
        errors["fields"] = error
    return errors


def chosen(definition: Definition, schema: Schema) -> list[Collection]:
    """The collections that a webhook listens to; those that were deleted are left out."""
    if EVERYTHING in definition.collections:
        return [each for each in schema if not each.system and not each.is_view]
    return [each for id in definition.collections if (each := schema.by_id.get(id)) is not None]


def condition_error(condition: str, schema: Schema, collection: Collection) -> FieldError | None:
    if not condition:
        return None
    if len(condition.encode("utf-8", "replace")) > MAX_CONDITION_BYTES:
        return invalid(f"Must be no more than {MAX_CONDITION_BYTES} bytes.")
    try:
        check_rule(schema, collection, condition)
    except QueryError as error:
        return FieldError("validation_invalid_rule", f"Invalid condition for {collection.name}: {error}")
    return None


def fields_error(definition: Definition, schema: Schema) -> FieldError | None:
    """Every field must be one of some chosen collection, and none that nobody ever sees."""
    collections = chosen(definition, schema)
    for name in definition.fields:
        holders = [each for each in collections if each.field(name) is not None]
        if not holders and collections:
            return invalid(f"There is no field {name}.")
        for each in holders:
            field = each.field(name)
            is_secret = field is not None and field.type_name == "password"
            if is_secret or (each.is_auth and name in NEVER_SENT):
                return invalid(f"The field {name} is never sent.")
    return None


def secrets_error(secrets: Any) -> FieldError | None:
    """What is wrong with given secrets."""
    if not isinstance(secrets, (list, tuple)) or not 1 <= len(secrets) <= MAX_SECRETS:
        return invalid(f"Must be a list of one to {MAX_SECRETS} secrets.")
    if not all(isinstance(each, str) and key_of(each) is not None for each in secrets):
        return invalid("A secret is whsec_ and 24 to 64 bytes in base64.")
    return None
