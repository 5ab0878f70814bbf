"""Collections in the configuration file: reading them, and writing the database's state back with comments kept.

Every name is spelt as in the API (`listRule`, `maxSelect`); the words of our own are `renamed_from`,
`collection` (a relation's target by name) and `[schema] exclusive`. What is absent has its default; of a rule
that is null, superusers only. Ids, secrets and the fields that every collection of a type has may be left out.

    [schema]
    exclusive = false                   # true: collections that are not in this file are deleted

    [[collections]]
    name = "posts"
    renamed_from = "articles"           # only until it was applied everywhere
    type = "base"                       # base (default), auth or view
    listRule = ""                       # "" is everyone
    viewRule = ""
    createRule = "@request.auth.id != '' && author = @request.auth.id"
    indexes = ["CREATE INDEX `idx_posts_title` ON `posts` (`title`)"]

    [collections.fields]                # in the order in which they are shown
    title = {type = "text", required = true, max = 200}
    body = {type = "editor", renamed_from = "text"}
    author = {type = "relation", collection = "users", maxSelect = 1, required = true}
    created = {type = "autodate", onCreate = true}

    [[collections]]
    name = "users"
    type = "auth"
    [collections.passwordAuth]          # options of auth collections are tables of the same names
    identityFields = ["email"]

    [[collections]]
    name = "authors"
    type = "view"
    viewQuery = "SELECT id, name FROM users"
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from groundplane.schema.cache import Schema
from groundplane.schema.collection import RULES, Collection
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.plugin import MissingField
from groundplane.schema.fields.registry import FIELD_TYPES, make_field
from groundplane.schema.indexes import parse_index
from groundplane.schema.options import AuthOptions
from groundplane.schema.wire import collection_to_json, scaffold

TYPES = ("auth", "base", "view")
COLLECTION_KEYS = ("name", "renamed_from", "type", *RULES, "viewQuery", "indexes", "fields")
WEBHOOK_KEYS = (
    "name",
    "renamed_from",
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
    "secrets",
)
AUTH_KEYS = tuple(field.encode_name for field in msgspec.structs.fields(AuthOptions))
FIELD_KEYS_OF_OURS = ("type", "renamed_from")
# What every field has, but which is the server's business or follows from the type.
FIELD_KEYS_LEFT_OUT = frozenset({"id", "name", "system", "collectionId"})
FIRST_FIELD_KEYS = ("type", "collection", "required", "hidden")
SECRETS = frozenset({"secret", "clientSecret"})
FROM_ENVIRONMENT = "env:"


class BadFile(Exception):
    """The file says something that cannot be; the message is one sentence with the place in it."""


def from_environment(value: Any, where: str) -> Any:
    """The value of a variable for `env:NAME`, anything else as it is; raises BadFile when it is not set."""
    if not isinstance(value, str) or not value.startswith(FROM_ENVIRONMENT):
        return value
    name = value.removeprefix(FROM_ENVIRONMENT)
    if name not in os.environ:
        raise BadFile(f"{where}: the environment variable {name} is not set.")
    return os.environ[name]


class DeclaredField(msgspec.Struct, frozen=True):
    """A field of the file; `options` are those of the API, but for `collection`, which is a name."""

    name: str
    type: str
    renamed_from: str
    options: dict[str, Any]


class DeclaredCollection(msgspec.Struct, frozen=True):
    """A collection of the file; `options` are its keys of the API other than name, type and fields."""

    name: str
    type: str
    renamed_from: str
    fields: tuple[DeclaredField, ...]
    options: dict[str, Any]


class Declared(msgspec.Struct, frozen=True):
    """What the file says about the schema; `settings` as in the API, None when it has no such table.

    `webhooks` are entries with known keys, None when it has none; what is in them is for the webhooks to say.
    """

    collections: tuple[DeclaredCollection, ...] = ()
    exclusive: bool = False
    settings: dict[str, Any] | None = None
    webhooks: tuple[dict[str, Any], ...] | None = None

    def find(self, name: str) -> DeclaredCollection | None:
        return next((each for each in self.collections if each.name.lower() == name.lower()), None)


# Reading


def read(text: str) -> Declared:
    """Read the file's text; other parts of the configuration in it are not looked at. Raises BadFile."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"The file is not valid TOML: {error}.") from None
    return read_document(document)


def read_document(document: Mapping[str, Any]) -> Declared:
    """Read the parts `collections`, `schema`, `settings` and `webhooks` of a decoded file; raises BadFile."""
    schema = table_of(document.get("schema", {}), "[schema]")
    known_keys(schema, ("exclusive",), "[schema]")
    exclusive = schema.get("exclusive", False)
    if not isinstance(exclusive, bool):
        raise BadFile("[schema] exclusive must be true or false.")
    entries = document.get("collections", [])
    if not isinstance(entries, list):
        raise BadFile("Collections are written as [[collections]].")
    collections = tuple(read_collection(entry, number) for number, entry in enumerate(entries, 1))
    unique((each.name for each in collections), "The file has two collections called {}.")
    settings = document.get("settings")
    return Declared(
        collections,
        exclusive,
        None if settings is None else dict(table_of(settings, "[settings]")),
        read_webhooks(document["webhooks"]) if "webhooks" in document else None,
    )


def read_webhooks(entries: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(entries, list):
        raise BadFile("Webhooks are written as [[webhooks]].")
    declared = []
    for number, entry in enumerate(entries, 1):
        raw = table_of(entry, f"[[webhooks]] number {number}")
        name = text_of(raw, "name", f"[[webhooks]] number {number}")
        if not name:
            raise BadFile(f"[[webhooks]] number {number} has no name.")
        known_keys(raw, WEBHOOK_KEYS, f"Webhook {name}")
        text_of(raw, "renamed_from", f"Webhook {name}")
        declared.append(dict(raw))
    unique((each["name"] for each in declared), "The file has two webhooks called {}.")
    return tuple(declared)


def read_collection(entry: Any, number: int) -> DeclaredCollection:
    raw = table_of(entry, f"[[collections]] number {number}")
    name = text_of(raw, "name", f"[[collections]] number {number}")
    if not name:
        raise BadFile(f"[[collections]] number {number} has no name.")
    where = f"Collection {name}"
    kind = text_of(raw, "type", where) or "base"
    if kind not in TYPES:
        raise BadFile(f"{where}: the type must be base, auth or view, not {kind!r}.")
    known_keys(raw, COLLECTION_KEYS + (AUTH_KEYS if kind == "auth" else ()), where)
    fields = table_of(raw.get("fields", {}), f"{where}: fields")
    if kind == "view" and fields:
        raise BadFile(f"{where}: the fields of a view follow from its viewQuery and are not written.")
    options = {
        key: value for key, value in raw.items() if key not in ("name", "type", "renamed_from", "fields")
    }
    for key in ("indexes",):
        if not isinstance(options.get(key, []), list):
            raise BadFile(f"{where}: {key} must be a list.")
    declared = tuple(read_field(field, value, where) for field, value in fields.items())
    unique((each.name for each in declared), where + " has two fields called {}.")
    return DeclaredCollection(name, kind, text_of(raw, "renamed_from", where), declared, options)


def read_field(name: str, value: Any, where: str) -> DeclaredField:
    where = f"{where}, field {name}"
    raw = table_of(value, where)
    kind = text_of(raw, "type", where)
    if not kind:
        raise BadFile(f"{where}: the type is missing.")
    if kind not in FIELD_TYPES:
        # Wrong, unless a stored field has it whose plugin is gone: `targets.find_fields` knows.
        options = {key: plain(option) for key, option in raw.items() if key not in FIELD_KEYS_OF_OURS}
        return DeclaredField(name, kind, text_of(raw, "renamed_from", where), options)
    known = [each.encode_name for each in msgspec.structs.fields(FIELD_TYPES[kind])]
    allowed = [*FIELD_KEYS_OF_OURS, *(key for key in known if key not in FIELD_KEYS_LEFT_OUT)]
    if kind == "relation":
        allowed.append("collection")
        if not text_of(raw, "collection", where):
            raise BadFile(f"{where}: collection, the name of the collection it refers to, is missing.")
    known_keys(raw, allowed, where)
    options = {key: plain(option) for key, option in raw.items() if key not in FIELD_KEYS_OF_OURS}
    return DeclaredField(name, kind, text_of(raw, "renamed_from", where), options)


def plain(value: Any) -> Any:
    """TOML has dates of its own; an option of the API is text."""
    return value.isoformat(" ") if hasattr(value, "isoformat") else value


def table_of(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadFile(f"{where} must be a table.")
    return value


def text_of(raw: Mapping[str, Any], key: str, where: str) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str):
        raise BadFile(f"{where}: {key} must be a text.")
    return value


def known_keys(raw: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    allowed = list(allowed)
    for key in raw:
        if key not in allowed:
            raise BadFile(f"{where}: {unknown('key', key, allowed)}")


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"unknown {what} {word!r}" + (f", did you mean {near[0]!r}?" if near else ".")


def unique(names: Iterable[str], message: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise BadFile(message.format(name))
        seen.add(name.lower())


# Writing


def declaration(collection: Collection, schema: Schema) -> dict[str, Any]:
    """A collection as its table in the file: plain values, without what is default, secret or generated.

    Keys stand in the order in which they are written; `fields` is absent for a view.
    """
    shown: dict[str, Any] = {"name": collection.name}
    if collection.type != "base":
        shown["type"] = collection.type
    json = collection_to_json(collection, all_options=True)
    blank = collection_to_json(scaffold(collection.type), all_options=True)
    for rule in RULES:
        if json[rule] is not None:
            shown[rule] = json[rule]
    if collection.is_view:
        return shown | {"viewQuery": collection.view_query}
    indexes = [text for text in collection.indexes if not is_given_index(text, collection)]
    if indexes:
        shown["indexes"] = indexes
    if collection.is_auth:
        for key in AUTH_KEYS:
            differing = difference(json[key], blank[key])
            if differing is not None:
                shown[key] = differing
    given = {field["name"]: field for field in blank["fields"]}
    fields = {}
    for field in collection.fields:
        options = field_declaration(field, schema, given.get(field.name))
        if options is not None:
            fields[field.name] = options
    if fields:
        shown["fields"] = fields
    return shown


def field_declaration(field: Field, schema: Schema, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A field's options that are not default; None for one that every collection of the type has just so.

    `given` is the field that a blank collection of the type has under this name.
    """
    base = given if given is not None and given["type"] == field.type_name else None
    default: Mapping[str, Any] = {}  # of a type that is missing nothing is known
    if base is not None:
        default = base
    elif not isinstance(field, MissingField):
        default = make_field({"type": field.type_name}).to_json()
    options = {}
    for key, value in field.to_json().items():
        if (
            key not in FIELD_KEYS_LEFT_OUT
            and key != "type"
            and value is not None
            and value != default.get(key)
        ):
            options[key] = value
    target = schema.get(getattr(field, "collection_id", "") or "")
    if field.type_name == "relation":
        options["collection"] = target.name if target is not None else ""
    if base is not None and not options:
        return None
    options["type"] = field.type_name
    first = {key: options.pop(key) for key in FIRST_FIELD_KEYS if key in options}
    return first | dict(sorted(options.items()))


def is_given_index(text: str, collection: Collection) -> bool:
    """Whether this is one of the two indexes that an auth collection gets without being asked."""
    index = parse_index(text)
    if index is None or not collection.is_auth:
        return False
    return (
        index.name.lower() in {f"idx_{field}_{collection.id}"[:64].lower() for field in ("tokenKey", "email")}
        and "nocase" not in text.lower()
    )


def difference(value: Any, default: Any) -> Any:
    """What of a JSON value is not default, objects compared key by key; None when nothing is."""
    if isinstance(value, Mapping) and isinstance(default, Mapping):
        changed = {
            key: part
            for key, item in value.items()
            if key not in SECRETS and (part := difference(item, default.get(key))) is not None
        }
        return changed or None
    return None if value == default else value
