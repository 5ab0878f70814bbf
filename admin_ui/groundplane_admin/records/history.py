"""What the bundled plugin `history` keeps of a record, where it is switched on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from groundplane.errors import NotFound
from groundplane_admin.records.display import json_shown, number_shown, parse_wire

if TYPE_CHECKING:
    from datetime import datetime

    from groundplane.schema.collection import Collection
    from groundplane_admin.visits import Visit

PLUGIN = "history"
MOST = 100


class Difference(NamedTuple):
    name: str
    before: str
    after: str


class Entry(NamedTuple):
    id: int
    at: datetime | None
    action: str
    who: str
    differences: list[Difference]
    is_restorable: bool


def restores(visit: Visit, collection: Collection) -> bool:
    """Whether changes of the collection are kept, so that a deleted record can be brought back."""
    plugin = visit.services.plugins.get(PLUGIN)
    if plugin is None or plugin not in visit.services.plugins.loaded:
        return False
    wanted = tuple(getattr(plugin.config, "collections", ()) or ())
    return collection.name in wanted or ("*" in wanted and not collection.system)


async def entries_of(visit: Visit, collection: Collection, record_id: str) -> list[Entry]:
    """The changes of a record, the newest first."""
    from groundplane_plugins.history.entries import page

    found = await page(visit.services, collection, record=record_id, limit=MOST)
    names: dict[tuple[str, str], str] = {}
    entries = []
    for number, each in enumerate(found.items):
        who = await name_of_caller(visit, each["callerCollection"], each["callerId"], names)
        entries.append(
            Entry(
                each["id"],
                parse_wire(str(each["at"])) if isinstance(each["at"], str) else each["at"],
                each["action"],
                who,
                differences(each),
                is_restorable=number > 0 and each["action"] != "delete",
            )
        )
    return entries


def differences(entry: dict[str, Any]) -> list[Difference]:
    before, after = entry["before"], entry["after"]
    names = list(dict.fromkeys([*before, *after]))
    shown = [
        Difference(name, text_of(before.get(name)), text_of(after.get(name)))
        for name in names
        if entry["action"] == "update" or name in after or name in before
    ]
    return shown + [Difference(name, "••••", "••••") for name in entry["secrets"]]


def text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return number_shown(value)
    return value if isinstance(value, str) else json_shown(value)


async def name_of_caller(visit: Visit, collection: str, id: str, known: dict[tuple[str, str], str]) -> str:
    """The address of who made a change, as far as the account is still there; "" for the server itself."""
    if not id:
        return ""
    key = (collection, id)
    if key not in known:
        found = visit.services.schema.current.get(collection)
        record = await visit.services.auth.callers.record(found, id) if found is not None else None
        known[key] = str(record.get("email") or id) if record is not None else id
    return known[key]


async def restore_version(visit: Visit, collection: Collection, record_id: str, version: int) -> None:
    """Give a record the values that it had after an entry; raises what saving raises."""
    from groundplane_plugins.history.restoring import restore

    if not restores(visit, collection):
        raise NotFound()
    await restore(visit.services, collection.name, record_id, visit.info(), version=version)


async def restore_deleted(visit: Visit, collection: Collection, record_id: str) -> None:
    """Make a deleted record again, as it last was."""
    await restore_version(visit, collection, record_id, 0)
