"""One change of a record as it is kept, and reading what was kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from groundplane.db.sql import load_queries
from groundplane.services import Services

if TYPE_CHECKING:
    from datetime import datetime

    from groundplane.events.changes import Change, ChangeAction
    from groundplane.schema.collection import Collection
    from groundplane.schema.fields.base import Field

QUERIES = load_queries("groundplane_plugins.history")
MAX_PER_PAGE = 500


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Whose changes are kept, without which fields, and for how long.

    `collections`  names; `["*"]` is all but the system's, which are kept when they are named
    `leave_out`    fields that are never kept, as `posts.body`
    `keep_days`    older entries are removed; 0 keeps all
    """

    collections: tuple[str, ...] = ("*",)
    leave_out: tuple[str, ...] = ()
    keep_days: int = 0

    def __post_init__(self) -> None:
        if self.keep_days < 0:
            raise ValueError("keep_days is 0 or more")
        if wrong := [name for name in self.leave_out if name.count(".") != 1]:
            raise ValueError(f"{wrong[0]} in leave_out: write collection.field")


def is_secret(collection: Collection, field: Field) -> bool:
    """Whether the value is never kept, not even as a hash."""
    return field.type_name == "password" or (collection.is_auth and field.name == "tokenKey")


def is_automatic(field: Field) -> bool:
    """Whether the server alone sets the field, with every change: a difference in it says nothing."""
    return field.type_name == "autodate"


def shown(field: Field, value: Any) -> Any:
    """A stored value as the API shows it."""
    if field.type_name == "file":
        return [str(name) for name in value] if isinstance(value, list) else str(value)
    return field.to_wire(value)


def as_json(values: Mapping[str, Any]) -> str:
    return msgspec.json.encode(values, enc_hook=str).decode()


class Keeper:
    """Writes an entry for each change that is to be kept, in the transaction of that change."""

    def __init__(self, services: Services, config: Config) -> None:
        self._db = services.db
        self._config = config

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        wanted = self._config.collections
        return collection.name in wanted or ("*" in wanted and not collection.system)

    def kept(self, collection: Collection) -> list[Field]:
        """The fields whose values are kept."""
        return [
            field
            for field in collection.fields
            if not is_secret(collection, field)
            and f"{collection.name}.{field.name}" not in self._config.leave_out
        ]

    async def changed(self, change: Change) -> None:
        collection, record = change.collection, change.record
        fields = self.kept(collection)
        secrets: list[str] = []
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        match change.action:
            case "create":
                after = {field.name: shown(field, record[field.name]) for field in fields}
            case "delete":
                before = {field.name: shown(field, record[field.name]) for field in fields}
            case "update":
                old = change.before or {}
                differing = [
                    field
                    for field in fields
                    if not is_automatic(field) and record[field.name] != old.get(field.name)
                ]
                before = {field.name: shown(field, old.get(field.name)) for field in differing}
                after = {field.name: shown(field, record[field.name]) for field in differing}
                secrets = [
                    field.name
                    for field in collection.fields
                    if is_secret(collection, field) and record[field.name] != old.get(field.name)
                ]
                if not differing and not secrets:
                    return
        caller = change.caller
        await self._db.execute(
            QUERIES["add_entry"],
            change.at,
            collection.id,
            record["id"],
            change.action,
            caller.collection_name if caller is not None else "",
            caller.id if caller is not None else "",
            as_json(before),
            as_json(after),
            change.is_cascade,
            secrets,
        )


class Page(NamedTuple):
    items: list[dict[str, Any]]
    total: int


async def page(
    services: Services,
    collection: Collection,
    *,
    record: str = "",
    action: str = "",
    limit: int = MAX_PER_PAGE,
    offset: int = 0,
) -> Page:
    """Entries as JSON objects, the newest first; an empty `record` or `action` is every one."""
    chosen = (collection.id, record, action)
    if any("\x00" in text for text in chosen):
        return Page([], 0)
    rows = await services.db.fetch(QUERIES["page"], *chosen, limit, offset)
    total = int(await services.db.fetchval(QUERIES["count"], *chosen))
    return Page([entry(row) for row in rows], total)


class Recent(NamedTuple):
    """That a record was changed, without what was in it; the caller's collection and id are "" for the server."""

    id: int
    collection: str
    record: str
    at: datetime
    action: str
    caller_collection: str
    caller_id: str


async def recent(services: Services, limit: int) -> list[Recent]:
    """The newest entries of all collections that are still there, as many as `limit`."""
    known = [each.id for each in services.schema.current]
    rows = await services.db.fetch(QUERIES["recent"], known, limit)
    return [Recent(*(row[name] for name in Recent._fields)) for row in rows]


def entry(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "record": row["record"],
        "at": row["at"],
        "action": row["action"],
        "cascade": row["cascade"],
        "callerCollection": row["caller_collection"],
        "callerId": row["caller_id"],
        "before": msgspec.json.decode(row["before"]),
        "after": msgspec.json.decode(row["after"]),
        "secrets": list(row["secrets"]),
    }
