"""Writing what a form says: only what was changed in it, and only onto the version that was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from groundplane.records.values import Submitted
from groundplane_admin.records.inputs import INPUT, BadInput, editable, fingerprint, read, to_api, value_of

if TYPE_CHECKING:
    from groundplane.api.exchange import Upload
    from groundplane.schema.collection import Collection
    from groundplane_admin.visits import Form

BASE, VERSION, TAKE = "_base", "_version", "take:"


class Typed(NamedTuple):
    """What a form says: every value, which of them differ from what was read, files, and what is no value."""

    values: dict[str, Any]
    changed: list[str]
    uploads: list[tuple[str, Upload]]
    errors: dict[str, str]


class Clash(NamedTuple):
    """One field that differs between what was read, what is stored now, and what was typed."""

    name: str
    base: Any
    theirs: Any
    mine: Any
    is_mine: bool
    is_conflict: bool


def base_of(collection: Collection, record: Mapping[str, Any], *, is_new: bool) -> dict[str, Any]:
    """What the form shows, for the comparison when it comes back."""
    return {
        field.name: fingerprint(value_of(field, record))
        for field in editable(collection, is_new=is_new)
        if field.type_name != "password"
    }


def encoded_base(collection: Collection, record: Mapping[str, Any], *, is_new: bool) -> str:
    return msgspec.json.encode(base_of(collection, record, is_new=is_new)).decode()


def sent_base(form: Form) -> dict[str, Any]:
    """The form's own account of what it was made from; it decides nothing but what is written."""
    try:
        return msgspec.json.decode(form.text(BASE, "{}"), type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def typed(collection: Collection, form: Form, current: Mapping[str, Any], *, is_new: bool) -> Typed:
    """Read a form against its base; what it does not mention is as it is in `current`."""
    base = sent_base(form)
    values: dict[str, Any] = {}
    changed: list[str] = []
    errors: dict[str, str] = {}
    uploads = [
        (name.removeprefix(INPUT), upload)
        for name, upload in form.uploads
        if name.startswith(INPUT) and (upload.size or upload.filename)
    ]
    for field in editable(collection, is_new=is_new):
        before = value_of(field, current)
        if form.text(TAKE + field.name) == "theirs":
            values[field.name] = before
            continue
        try:
            value = read(field, form, before)
        except BadInput as error:
            errors[field.name] = str(error)
            values[field.name] = form.text(INPUT + field.name)
            changed.append(field.name)
            continue
        values[field.name] = value
        was = base.get(field.name, fingerprint(before))
        if field.type_name == "password":
            is_changed = bool(value)
        else:
            is_changed = fingerprint(value) != was
        if is_changed or any(name == field.name for name, _ in uploads):
            changed.append(field.name)
    return Typed(values, changed, uploads, errors)


def body_of(collection: Collection, said: Typed, current: Mapping[str, Any], names: list[str]) -> Submitted:
    """A body for the API with these fields only."""
    values: dict[str, Any] = {}
    uploads: list[tuple[str, Upload]] = []
    for name in names:
        field = collection.by_name[name]
        value = said.values[name]
        if field.type_name == "file":
            stored = value_of(field, current)
            kept = value if isinstance(value, list) else ([value] if value else [])
            had = stored if isinstance(stored, list) else ([stored] if stored else [])
            new = [upload for key, upload in said.uploads if key == name]
            if removed := [each for each in had if each not in kept]:
                values[f"{name}-"] = removed
            uploads += [(f"{name}+" if field.is_multiple else name, each) for each in new]
            continue
        values[name] = to_api(field, value)
        if field.type_name == "password":
            values[f"{name}Confirm"] = value
    return Submitted(values, uploads)


def clashes(collection: Collection, form: Form, said: Typed, stored: Mapping[str, Any]) -> list[Clash]:
    """Where the stored record has moved away from what the form was made from, or the form has."""
    base = sent_base(form)
    found = []
    for field in editable(collection, is_new=False):
        if field.type_name == "password" or field.name not in base:
            continue
        theirs, mine, was = value_of(field, stored), said.values.get(field.name), base[field.name]
        is_mine, is_theirs = field.name in said.changed, fingerprint(theirs) != was
        if not is_mine and not is_theirs:
            continue
        conflict = is_mine and is_theirs and fingerprint(theirs) != fingerprint(mine)
        found.append(Clash(field.name, was, theirs, mine, is_mine, conflict))
    return found
