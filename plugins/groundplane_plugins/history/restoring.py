"""Bringing back what a record was, by the way that every change takes: its checks, hooks and events."""

from __future__ import annotations

import secrets
from collections.abc import Collection as Names
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from groundplane.errors import Invalid, NotFound
from groundplane.records.values import Submitted
from groundplane.services import Services
from groundplane_plugins.history.entries import QUERIES, is_automatic, is_secret, shown

if TYPE_CHECKING:
    from groundplane.context import RequestInfo
    from groundplane.schema.collection import Collection

AT_ONCE = 500  # entries that are undone with one statement
LAST = 2**63 - 1
UNKNOWN = "The history of the record has no such entry."


class Restored(NamedTuple):
    """`gone` are files that the version names and that are no more, by field."""

    record: Any
    gone: dict[str, list[str]]
    is_new: bool


async def restore(
    services: Services,
    name: str,
    record_id: str,
    info: RequestInfo,
    *,
    version: int = 0,
    fields: Names[str] = (),
) -> Restored:
    """Give a record the values that it had after entry `version`, of a deletion: before it.

    A record that is no more is made again, with its id; without `version` it is what it last was. `fields`
    brings back only these of a record that is there. Raises NotFound, and what creating and updating raise.
    """
    collection = services.schema.current.find(name)
    if "\x00" in record_id:
        raise NotFound()
    stored = await services.records.find_one(collection, 'r."id" = $1', record_id)
    if not version:
        if stored is not None:
            raise Invalid("The record is there: say which version is wanted.")
        version = int(await services.db.fetchval(QUERIES["last_deletion"], collection.id, record_id) or 0)
    current = None
    if stored is not None:
        current = {field.name: shown(field, stored[field.name]) for field in collection.fields}
    state = await state_after(services, collection, record_id, version, current)
    if wrong := sorted(set(fields) - state.keys()):
        raise Invalid(f"The version has no field {wrong[0]}.")
    wanted = {key: value for key, value in state.items() if not fields or key in fields}
    values, gone = submitted(collection, wanted, current)
    if current is not None:
        answer = await services.records.update(collection.name, record_id, Submitted(values), {}, info)
        return Restored(answer.record, gone, False)
    values["id"] = record_id
    if collection.is_auth:
        # Nobody knows it: whoever the account belongs to asks for a new one.
        values["password"] = values["passwordConfirm"] = secrets.token_urlsafe(32)
    answer = await services.records.create(collection.name, Submitted(values), {}, info)
    return Restored(answer.record, gone, True)


async def state_after(
    services: Services,
    collection: Collection,
    record_id: str,
    version: int,
    current: dict[str, Any] | None,
) -> dict[str, Any]:
    """Undo, from what is there now, all entries behind a version; raises NotFound."""
    if not 0 < version < LAST:
        raise NotFound(UNKNOWN)
    row = await services.db.fetchrow(QUERIES["entry"], collection.id, record_id, version)
    if row is None:
        raise NotFound(UNKNOWN)
    if row["action"] == "delete":
        return dict(msgspec.json.decode(row["before"]))
    state = dict(current) if current is not None else {}
    end = LAST
    while True:
        found = await services.db.fetch(QUERIES["later"], collection.id, record_id, version, end, AT_ONCE)
        for later in found:
            before = msgspec.json.decode(later["before"])
            # A deletion holds all that there was; a creation in between leaves nothing.
            state = state | before if later["action"] == "update" else before
        if len(found) < AT_ONCE:
            return state
        end = found[-1]["id"]


def submitted(
    collection: Collection, state: dict[str, Any], current: dict[str, Any] | None
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The values as a client would send them, and the files that cannot be brought back.

    Fields that are no more are left out, and what only the server sets.
    """
    values: dict[str, Any] = {}
    gone: dict[str, list[str]] = {}
    for field in collection.fields:
        if field.name not in state or field.name == "id":
            continue
        if is_automatic(field) or is_secret(collection, field):
            continue
        value = state[field.name]
        match field.type_name:
            case "file":
                there = listed(current[field.name]) if current is not None else []
                wanted = listed(value)
                values[field.name] = [each for each in wanted if each in there]
                if missing := [each for each in wanted if each not in there]:
                    gone[field.name] = missing
            case "json":
                # As text: a string that looks like JSON would be read as what it looks like.
                values[field.name] = msgspec.json.encode(value).decode()
            case _:
                values[field.name] = value
    return values, gone


def listed(value: Any) -> list[str]:
    if isinstance(value, list):
        return value
    return [value] if value else []
