"""Keeps every change of the chosen collections: who, when, what; written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from groundplane.db.sql import load_queries
from groundplane.errors import Invalid
from groundplane.hooks import hookimpl
from groundplane.hooks.events import RecordDeleting, RecordSaving
from groundplane.hooks.routes import PluginRequest, Route
from groundplane.services import Services

API_VERSION = 1
QUERIES = load_queries(__name__)
MIGRATIONS = {"0001_entries": QUERIES["make_entries"]}
MAX_ENTRIES = 500  # per answer

HIDDEN = frozenset({"password", "tokenKey"})  # never kept, not even as hashes


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """`collections` are the names of those whose changes are kept; `["*"]` is all but the system's."""

    collections: tuple[str, ...] = ("*",)


# Set once per process by `startup`, before the first change.
_config = Config()


def is_kept(event: RecordSaving | RecordDeleting) -> bool:
    name, wanted = event.collection.name, _config.collections
    return name in wanted or ("*" in wanted and not event.collection.system)


def plain(event: RecordSaving | RecordDeleting, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON may hold them, without secrets."""
    secret = {field.name for field in event.collection.fields if field.type_name == "password"} | HIDDEN
    return {name: value for name, value in values.items() if name not in secret}


def as_json(values: Mapping[str, Any]) -> str:
    # PostgreSQL's jsonb holds no NUL; such texts come from clients only.
    return msgspec.json.encode(values, enc_hook=str).decode().replace("\\u0000", "")


@hookimpl
async def startup(config: Config) -> None:
    global _config
    _config = config


@hookimpl
def register_routes() -> list[Route]:
    return [Route("GET", "/{collection}/{record}", entries)]


# Last, so that what the others change is in the entry.
@hookimpl(after=["*"])
async def record_saving(event: RecordSaving, services: Services) -> None:
    if not is_kept(event):
        return
    after = plain(event, event.record)
    before = plain(event, event.before) if event.before is not None else {}
    changed = {name: value for name, value in after.items() if event.before is None or value != before[name]}
    if not changed:
        return
    await add(
        services,
        event,
        "create" if event.before is None else "update",
        {name: before[name] for name in changed if name in before},
        changed,
    )


@hookimpl(after=["*"])
async def record_deleting(event: RecordDeleting, services: Services) -> None:
    if is_kept(event):
        await add(services, event, "delete", plain(event, event.record), {})


async def add(
    services: Services,
    event: RecordSaving | RecordDeleting,
    action: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    caller = event.caller
    await services.db.execute(
        QUERIES["add_entry"],
        event.collection.id,
        event.record["id"],
        action,
        caller.collection_name if caller is not None else "",
        caller.id if caller is not None else "",
        as_json(before),
        as_json(after),
    )


async def entries(request: PluginRequest, services: Services) -> dict[str, Any]:
    """GET /api/x/history/{collection}/{record}: the changes of one record, the newest first."""
    name, record_id = request.params["collection"], request.params["record"]
    collection = services.schema.current.find(name)
    if "\x00" in record_id:
        raise Invalid()
    rows = await services.db.fetch(QUERIES["read_entries"], collection.id, record_id, MAX_ENTRIES)
    return {
        "items": [
            {
                "at": row["at"],
                "action": row["action"],
                "callerCollection": row["caller_collection"],
                "callerId": row["caller_id"],
                "before": msgspec.json.decode(row["before"]),
                "after": msgspec.json.decode(row["after"]),
            }
            for row in rows
        ]
    }
