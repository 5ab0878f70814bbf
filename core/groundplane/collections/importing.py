"""PUT /api/collections/import: many collections at once, saved first and validated together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from groundplane.clock import now
from groundplane.collections import views
from groundplane.collections.change import BadIndexes, SchemaChange
from groundplane.collections.submitted import find_errors, prepared
from groundplane.collections.views import BadView, Derived
from groundplane.db.failures import Busy
from groundplane.errors import FieldError, GroundplaneError, Invalid, Unavailable
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.errors import BadShape
from groundplane.schema.wire import collection_from_json

if TYPE_CHECKING:
    from groundplane.collections.service import Collections

FAILED = "Failed to import collections."
CODE = "validation_collections_import_failure"


class Entry:
    """One collection of an import: the stored one it changes, if any, and what it becomes."""

    def __init__(self, new: Collection, old: Collection | None) -> None:
        self.new = new
        self.old = old
        self.derived: Derived | None = None


async def import_all(
    service: Collections, entries: Sequence[Mapping[str, Any]], delete_missing: bool, change: SchemaChange
) -> None:
    """Run an import inside an open change; raises Invalid with the contract's bodies."""
    try:
        await _import(service, entries, delete_missing, change)
    except BadIndexes as error:
        raise raw_failure(json.dumps({"indexes": plain_errors(error.errors)})) from error
    except (BadShape, BadView) as error:
        raise raw_failure(str(error)) from error
    except GroundplaneError as error:
        if type(error) in (Invalid, Unavailable, Busy):
            raise
        raise raw_failure(views.database_text(error)) from error


async def _import(
    service: Collections, entries: Sequence[Mapping[str, Any]], delete_missing: bool, change: SchemaChange
) -> None:
    before = change.schema
    wanted = read_entries(before, entries, delete_missing)
    target = with_entries(before, wanted)
    if delete_missing:
        kept = {entry.new.id for entry in wanted}
        gone = [each for each in before if not each.system and each.id not in kept]
        target = Schema((each for each in target if each not in gone), target.version)
        # Before the rest is saved, since a name may be used again.
        for collection in sorted(gone, key=lambda each: not each.is_view):
            await change.remove(collection)
            await service.forget_files(collection)
    for entry in sorted(wanted, key=order_of):
        entry.new, entry.derived = prepared(target, entry.new, entry.old)
        target = with_entries(target, [entry])
    for entry in sorted(wanted, key=order_of):
        others = [each for each in target if each.id != entry.new.id]
        if entry.old is not None:
            others.append(entry.old)
        if entry.new.is_view:
            # Its query may read a view that an earlier step took down.
            await change.restore_views(leniently=True)
        against = Schema(others, target.version)
        errors = await find_errors(service.db, against, entry.new, entry.old, entry.derived)
        if errors:
            raise Invalid(FAILED, {"collections": validation_failure(entry.new, errors)})
        entry.new = await change.put(entry.new.replaced(created=None), entry.old)
        if entry.old is not None and entry.old.name != entry.new.name and service.renamed is not None:
            await service.renamed(entry.old.name, entry.new.name)
    await change.finish()


def read_entries(schema: Schema, entries: Sequence[Mapping[str, Any]], delete_missing: bool) -> list[Entry]:
    """Turn the submitted collections into entries; a later one for the same collection goes over the earlier."""
    found: dict[str, Entry] = {}
    for raw in entries:
        old = find(schema, raw)
        if old is None:
            new = collection_from_json(raw, base=None, schema=schema)
            found[new.id] = Entry(new, None)
            continue
        base = found[old.id].new if old.id in found else old
        merged = {**raw, "id": old.id}
        if "fields" in raw:
            merged["fields"] = merged_fields(base, raw["fields"], delete_missing)
        found[old.id] = Entry(collection_from_json(merged, base=base, schema=schema), old)
    return list(found.values())


def find(schema: Schema, raw: Mapping[str, Any]) -> Collection | None:
    """The stored collection that an entry means: by id, else by name."""
    id, name = raw.get("id"), raw.get("name")
    if isinstance(id, str) and id in schema.by_id:
        return schema.by_id[id]
    return schema.by_lower_name.get(name.lower()) if isinstance(name, str) else None


def merged_fields(old: Collection, submitted: Any, delete_missing: bool) -> Any:
    """The fields of an entry with those of the stored collection that it does not mention.

    A submitted field with the name and type of a stored one takes over its id, so that no data is lost.
    """
    if not isinstance(submitted, Sequence) or isinstance(submitted, str):
        return submitted
    fields: list[Any] = []
    ids: set[str] = set()
    for raw in submitted:
        if isinstance(raw, Mapping):
            stored = old.field(raw["name"]) if isinstance(raw.get("name"), str) else None
            if stored is not None and stored.type_name == raw.get("type"):
                raw = {**raw, "id": stored.id}
            if isinstance(raw.get("id"), str):
                ids.add(raw["id"])
        fields.append(raw)
    for field in old.fields:
        if field.id not in ids and (field.system or not delete_missing):
            fields.append(field.to_json())
    return fields


def with_entries(schema: Schema, entries: Sequence[Entry]) -> Schema:
    """The schema as it is when the entries are saved."""
    new = {entry.new.id: entry.new for entry in entries}
    kept = [new.pop(each.id, each) for each in schema]
    return Schema([*kept, *new.values()], schema.version)


def order_of(entry: Entry) -> tuple[Any, ...]:
    """Views last, because they read the others; then by age."""
    old = entry.old or entry.new
    moment = now()
    return entry.new.is_view, old.created or moment, old.updated or moment


def validation_failure(collection: Collection, errors: Mapping[str, Any]) -> FieldError:
    details = json.dumps(plain_errors(errors), indent=2, ensure_ascii=False, sort_keys=True)
    return FieldError(
        CODE, f'Data validations failed for collection "{collection.name}" ({collection.id}):\n{details}.'
    )


def raw_failure(text: str) -> Invalid:
    message = f"Failed to import the collections configuration. Raw error:\n{text}"
    return Invalid(FAILED, {"collections": FieldError(CODE, message)})


def plain_errors(errors: Mapping[str, Any]) -> dict[str, Any]:
    """Only the sentences of an error tree, as they are before they are made into sentences."""
    plain: dict[str, Any] = {}
    for key, error in errors.items():
        if isinstance(error, FieldError):
            plain[key] = error.message[:1].lower() + error.message[1:].removesuffix(".")
        else:
            plain[key] = plain_errors(error)
    return plain
