"""What the file wants: each declared collection beside the stored one, with ids found and renames followed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.collections.file import (
    BadFile,
    Declared,
    DeclaredCollection,
    DeclaredField,
    from_environment,
    unknown,
)
from groundplane.collections.importing import plain_errors
from groundplane.collections.submitted import prepared, static_errors
from groundplane.collections.views import Derived
from groundplane.schema.cache import Schema
from groundplane.schema.collection import RULES, Collection
from groundplane.schema.errors import BadShape
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.plugin import MissingField
from groundplane.schema.fields.registry import FIELD_TYPES
from groundplane.schema.indexes import parse_index
from groundplane.schema.wire import collection_from_json, collection_to_json, scaffold


class Target:
    """One collection of the file: `old` as stored (None: new), `new` as wanted.

    `carried` maps ids of new fields to ids of old ones whose values they take over under another type.
    """

    def __init__(self, new: Collection, old: Collection | None, carried: dict[str, str]) -> None:
        self.new = new
        self.old = old
        self.carried = carried
        self.derived: Derived | None = None

    @property
    def is_changed(self) -> bool:
        """Whether anything a collection shows differs, or a field's values go over to another one."""
        if self.old is None:
            return True
        return shown(self.new) != shown(self.old) or bool(self.carried)


def shown(collection: Collection) -> dict[str, Any]:
    """What counts as a difference: all but the dates, and the ids of a view's fields. Never for display."""
    json = collection_to_json(collection, secrets=True)
    for key in ("created", "updated"):
        json.pop(key, None)
    if collection.is_view:
        json["fields"] = [{**field, "id": ""} for field in json["fields"]]
    return json


def find_targets(declared: Declared, schema: Schema) -> list[Target]:
    """Match the file against the stored schema; tables first, then views in the order in which they read each other.

    Raises BadFile when the result could not be saved.
    """
    stored = {id(each): find_stored(each, schema, declared) for each in declared.collections}
    names = {each.name.lower(): new_id(each, stored[id(each)], schema) for each in declared.collections}
    targets: list[Target] = []
    taken: set[str] = set()
    for each in declared.collections:
        old = stored[id(each)]
        if old is not None and old.id in taken:
            raise BadFile(f"Collection {each.name}: two collections of the file stand for {old.name}.")
        if old is not None:
            taken.add(old.id)
        targets.append(find_target(each, old, schema, names))
    final = schema_with(schema, targets)
    targets.sort(key=lambda target: target.new.is_view)
    complete(targets, final)
    return targets


def find_stored(each: DeclaredCollection, schema: Schema, declared: Declared) -> Collection | None:
    """The stored collection by name, else by its former name unless the file uses that for another one."""
    stored = schema.by_lower_name.get(each.name.lower())
    if stored is None and each.renamed_from and declared.find(each.renamed_from) is None:
        stored = schema.by_lower_name.get(each.renamed_from.lower())
    if stored is not None and stored.type != each.type:
        raise BadFile(
            f"Collection {each.name}: it is of type {stored.type}, which cannot become {each.type}. "
            "Declare a new collection and move the records."
        )
    return stored


def new_id(each: DeclaredCollection, old: Collection | None, schema: Schema) -> str:
    if old is not None:
        return old.id
    base = f"pbc_{zlib.crc32((each.type + each.name).encode())}"
    candidate, number = base, 2
    while candidate in schema.by_id:
        candidate, number = f"{base}{number}", number + 1
    return candidate


def find_target(
    each: DeclaredCollection, old: Collection | None, schema: Schema, names: Mapping[str, str]
) -> Target:
    where = f"Collection {each.name}"
    blank = collection_to_json(scaffold(each.type), all_options=True)
    raw: dict[str, Any] = {
        key: blank[key] for key in blank if key not in ("id", "fields", "created", "updated", "system")
    }
    raw = merge(raw, each.options) | {"name": each.name, "type": each.type}
    if "oauth2" in each.options:
        raw["oauth2"] = with_secrets(raw["oauth2"], where)
    raw["id"] = names[each.name.lower()]
    for rule in RULES:
        raw[rule] = each.options.get(rule)
    raw["indexes"] = same_texts(each.options.get("indexes", []), old)
    carried: dict[str, str] = {}
    if each.type != "view":
        raw["fields"] = find_fields(each, old, schema, names, blank["fields"], carried)
    try:
        new = collection_from_json(raw, base=old, schema=schema)
    except BadShape as error:
        raise BadFile(f"{where}: {error}") from None
    return Target(new, old, carried)


def with_secrets(oauth2: Any, where: str) -> Any:
    """The options of OAuth2 with the client secrets that the file leaves to the environment."""
    providers = oauth2.get("providers") if isinstance(oauth2, Mapping) else None
    if not isinstance(providers, list):
        return oauth2
    filled = [
        {**each, "clientSecret": from_environment(each["clientSecret"], where)}
        if isinstance(each, Mapping) and "clientSecret" in each
        else each
        for each in providers
    ]
    return {**oauth2, "providers": filled}


def find_fields(
    each: DeclaredCollection,
    old: Collection | None,
    schema: Schema,
    names: Mapping[str, str],
    given: Sequence[Mapping[str, Any]],
    carried: dict[str, str],
) -> list[dict[str, Any]]:
    """The fields as the API takes them, each with the id of the stored one that it goes on from."""
    used = {field.id for field in old.fields} if old is not None else set()
    blank = {field["name"]: field for field in given}
    written: dict[str, dict[str, Any]] = {}
    for declared in each.fields:
        stored = find_stored_field(declared, old, each)
        raw = dict(blank[declared.name]) if declared.name in blank and is_given(declared, blank) else {}
        raw |= {**declared.options, "name": declared.name, "type": declared.type}
        is_missing = isinstance(stored, MissingField) and stored.type_name == declared.type
        if declared.type not in FIELD_TYPES and not is_missing:
            where = f"Collection {each.name}, field {declared.name}"
            raise BadFile(f"{where}: {unknown('type', declared.type, FIELD_TYPES)}")
        if isinstance(stored, MissingField) and is_missing:
            # Its plugin is gone, so nobody can say what the options mean.
            raw = stored.to_json() | {"name": declared.name}
        if declared.type == "relation":
            raw["collectionId"] = target_id(raw.pop("collection"), each, declared, schema, names)
        # Ids of one collection mean nothing in another, so a relation elsewhere is a field of its own.
        elsewhere = getattr(stored, "collection_id", "") != raw.get("collectionId", "")
        if stored is not None and stored.type_name == declared.type and not elsewhere:
            raw["id"] = stored.id
        else:
            raw["id"] = free_id(declared, used)
            if stored is not None and stored.type_name != declared.type:
                carried[raw["id"]] = stored.id
        used.add(raw["id"])
        written[declared.name] = raw
    kept = [field.to_json() for field in old.fields if field.system] if old is not None else list(given)
    undeclared = [dict(field) for field in kept if field["name"] not in written]
    return in_order(old, list(written.values()), undeclared)


def is_given(declared: DeclaredField, blank: Mapping[str, Mapping[str, Any]]) -> bool:
    return bool(blank[declared.name]["type"] == declared.type)


def find_stored_field(
    declared: DeclaredField, old: Collection | None, each: DeclaredCollection
) -> Field | None:
    if old is None:
        return None
    stored = old.field(declared.name)
    former = declared.renamed_from
    if stored is None and former and former not in {field.name for field in each.fields}:
        stored = old.field(former)
    return stored


def target_id(
    name: str, each: DeclaredCollection, field: DeclaredField, schema: Schema, names: Mapping[str, str]
) -> str:
    id = names.get(name.lower())
    if id is not None:
        return id
    stored = schema.by_lower_name.get(name.lower())
    if stored is None:
        raise BadFile(f"Collection {each.name}, field {field.name}: there is no collection {name!r}.")
    return stored.id


def free_id(field: DeclaredField, used: set[str]) -> str:
    base = f"{field.type}{zlib.crc32(field.name.encode())}"
    candidate, number = base, 2
    while candidate in used:
        candidate, number = f"{base}{number}", number + 1
    return candidate


def in_order(
    old: Collection | None, written: list[dict[str, Any]], undeclared: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Put the fields the file leaves out where they are, and the others into the file's order around them."""
    left = {field["id"] for field in undeclared}
    if old is None:
        first = [field for field in undeclared if field["name"] == "id"]
        return first + [field for field in undeclared if field["name"] != "id"] + written
    by_id = {field["id"]: field for field in undeclared}
    waiting = list(written)
    kept = {field["id"] for field in written}
    ordered: list[dict[str, Any]] = []
    for field in old.fields:
        if field.id in left:
            ordered.append(by_id[field.id])
        elif field.id in kept and waiting:
            ordered.append(waiting.pop(0))
    return ordered + waiting


def same_texts(indexes: Any, old: Collection | None) -> Any:
    """Spell an index like the stored one when it differs only in how it is written."""
    if old is None or not isinstance(indexes, list):
        return indexes
    spelt = {index_key(text): text for text in old.indexes}
    return [spelt.get(index_key(text), text) if isinstance(text, str) else text for text in indexes]


def index_key(text: str) -> object:
    index = parse_index(text)
    if index is None:
        return text
    return (index.name, index.unique, tuple(index.columns), index.where)


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(dict(known), value) if both else value  # type: ignore[arg-type]  # both are mappings
    return merged


def schema_with(schema: Schema, targets: Sequence[Target]) -> Schema:
    """The schema as it is when the targets are reached."""
    new = {target.new.id: target.new for target in targets}
    kept = [new.pop(each.id, each) for each in schema]
    return Schema([*kept, *new.values()], schema.version)


def complete(targets: list[Target], final: Schema) -> None:
    """Derive the fields of views, bring these into order, and check everything; raises BadFile."""
    waiting = [target for target in targets if target.new.is_view]
    tables = [target for target in targets if not target.new.is_view]
    ordered: list[Target] = []
    for target in tables:
        target.new, target.derived = prepared(final, target.new, target.old)
    final = schema_with(final, tables)
    # A view can be derived once those that it reads are.
    while waiting:
        unknown = {target.new.id for target in waiting}
        known = Schema((each for each in final if each.id not in unknown), final.version)
        done = []
        for target in waiting:
            new, derived = prepared(known, target.new, target.old)
            if derived is not None and derived.problem is None:
                target.new, target.derived = new, derived
                done.append(target)
        if not done:
            for target in waiting:
                target.new, target.derived = prepared(known, target.new, target.old)
            ordered += waiting
            break
        ordered += done
        final = schema_with(final, done)
        waiting = [target for target in waiting if target not in done]
    targets[:] = [*tables, *ordered]
    final = schema_with(final, targets)
    for target in targets:
        others = [each for each in final if each.id != target.new.id]
        if target.old is not None:
            others.append(target.old)
        errors = static_errors(Schema(others, final.version), target.new, target.old, target.derived)
        if errors:
            details = json.dumps(named_fields(plain_errors(errors), target.new), ensure_ascii=False)
            raise BadFile(f"Collection {target.new.name} cannot be saved: {details}.")


def named_fields(errors: dict[str, Any], collection: Collection) -> dict[str, Any]:
    """Fields have names in the file, where the API counts them."""
    fields = errors.get("fields")
    if isinstance(fields, dict):
        by_position = {str(number): field.name for number, field in enumerate(collection.fields)}
        errors["fields"] = {by_position.get(key, key): value for key, value in fields.items()}
    return errors
