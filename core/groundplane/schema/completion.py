"""What every saved collection has even if it was not submitted: ids, system fields, required indexes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import msgspec

from groundplane.schema import defaults
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.text import DEFAULT_ID_PATTERN, TextField
from groundplane.schema.indexes import rewrite_table, single_unique_index
from groundplane.schema.options import AuthOptions, MappedFields, Template
from groundplane.security.ids import random_text, secret

LONGEST_INDEX_NAME = 64


def checksum(text: str) -> int:
    return zlib.crc32(text.encode(errors="replace"))


def with_fields(fields: Iterable[Field]) -> list[Field]:
    """Put fields into a list one by one, as the API reads them.

    One without an id gets one made of type and name, or replaces an earlier entry of its name and takes that
    entry's id; one with the id of an earlier entry replaces it.
    """
    result: list[Field] = []
    positions: dict[str, int] = {}  # by field id
    by_name: dict[str, int] = {}
    for field in fields:
        if not field.id:
            same_name = by_name.get(field.name) if field.name else None
            if same_name is not None:
                field = msgspec.structs.replace(field, id=result[same_name].id)
            else:
                stem = f"{field.type_name}{checksum(field.name or random_text(5))}"
                field = msgspec.structs.replace(field, id=unused(stem, positions))
        position = positions.get(field.id)
        if position is None:
            positions[field.id] = position = len(result)
            result.append(field)
        else:
            result[position] = field
        by_name.setdefault(field.name, position)
    return result


def unused(stem: str, taken: Iterable[str]) -> str:
    """Return `stem`, or it with the first of 2, 3, … that makes it new."""
    taken = taken if isinstance(taken, (dict, set)) else set(taken)
    candidate, number = stem, 1
    while candidate in taken:
        number += 1
        candidate = f"{stem}{number}"
    return candidate


def completed(collection: Collection, schema: Schema, base: Collection | None) -> Collection:
    """Return the collection with everything added or set right that its owner cannot do without.

    `base` is the stored collection that is being changed, None for a new one.
    """
    id = collection.id
    if not id and base is None and collection.name:
        id = unused(f"pbc_{checksum(collection.type + collection.name)}", schema.by_id)
    fields: Sequence[Field] = collection.fields
    indexes = [rewrite_table(text, collection.name) for text in collection.indexes]
    options = collection.options
    if not collection.is_view:
        fields = with_id_field(fields, base)
    if collection.is_auth:
        fields = with_auth_fields(fields, base)
        indexes += missing_indexes(collection.name, id, indexes)
        options = settled(options or defaults.blank_auth_options(), collection, fields, base)
    return collection.replaced(id=id, fields=fields, indexes=indexes, options=options)


def with_id_field(fields: Sequence[Field], base: Collection | None) -> list[Field]:
    for position, field in enumerate(fields):
        if field.name == "id" and isinstance(field, TextField):
            proper = msgspec.structs.replace(
                field,
                system=True,
                required=True,
                primary_key=True,
                hidden=False,
                pattern=field.pattern or DEFAULT_ID_PATTERN,
            )
            return [*fields[:position], proper, *fields[position + 1 :]]
    missing = with_stored_id(defaults.id_field(), base)
    # Not if the stored field is still there under another name: that is a rename, which the checks refuse.
    if any(field.id == missing.id for field in fields):
        return list(fields)
    return with_fields([missing, *fields])


def with_auth_fields(fields: Sequence[Field], base: Collection | None) -> list[Field]:
    result = list(fields)
    for default in defaults.auth_fields():
        position = next((at for at, field in enumerate(result) if field.name == default.name), None)
        if position is None:
            missing = with_stored_id(default, base)
            # Renamed if its id is there; then the checks refuse that alone, and nothing else goes missing.
            renamed = any(field.id == missing.id for field in result)
            result = with_fields([*result, default if renamed else missing])
            continue
        field = result[position]
        if isinstance(field, type(default)):
            result[position] = msgspec.structs.replace(field, **defaults.FORCED_OPTIONS[default.name])
            continue
        # Of another type: the proper field takes its place. An id that only came from that type is of no use.
        generated = f"{field.type_name}{checksum(field.name)}"
        if field.id == generated:
            result[position] = with_stored_id(default, base)
        else:
            result[position] = msgspec.structs.replace(default, id=field.id)
    return result


def with_stored_id(default: Field, base: Collection | None) -> Field:
    """Give a default field the id of the stored system field it stands for, so that the data stays."""
    stored = base.field(default.name) if base is not None else None
    if stored is not None and stored.system and stored.type_name == default.type_name:
        return msgspec.structs.replace(default, id=stored.id)
    return with_fields([default])[0]


def missing_indexes(name: str, id: str, indexes: Sequence[str]) -> list[str]:
    """The unique indexes that an auth collection must have and that are not among `indexes`."""
    owner = id or name or random_text(10)
    missing = []
    for field, condition in (("tokenKey", ""), ("email", " WHERE `email` != ''")):
        if single_unique_index(tuple(indexes), field) is None:
            index = f"idx_{field}_{owner}"[:LONGEST_INDEX_NAME]
            missing.append(f"CREATE UNIQUE INDEX `{index}` ON `{name}` (`{field}`){condition}")
    return missing


def settled(
    options: AuthOptions, collection: Collection, fields: Sequence[Field], base: Collection | None
) -> AuthOptions:
    """Return auth options without what a save changes silently."""
    options = msgspec.convert(msgspec.to_builtins(options), AuthOptions)
    names = {field.name for field in fields}
    mapped: MappedFields = options.oauth2.mappedFields
    for attribute in MappedFields.__struct_fields__:
        if getattr(mapped, attribute) not in names:
            setattr(mapped, attribute, "")
    if collection.is_superusers:
        options.oauth2.enabled = False
        options.oauth2.providers = []
        options.password_auth.enabled = True
        if options.otp.enabled:
            options.mfa.enabled = True
    if options.magic_link.enabled and options.magic_link.email_template == Template():
        options.magic_link.email_template = defaults.copy(defaults.SIGN_IN_LINK)
    if base is not None and base.options is not None and base.options.auth_rule != options.auth_rule:
        # Whoever signed in under the old rule has to prove the new one.
        options.auth_token.secret = secret()
    return options
