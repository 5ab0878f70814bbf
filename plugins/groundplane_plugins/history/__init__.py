"""Keeps every change of the chosen collections: who, when, what; written in the transaction of the change.

It listens to `services.changes` and takes no part in the hooks before a statement: what is kept is what was
written, whatever other plugins have made of it, by requests, batches, cascades and parts of the server alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import rich_click as click

from groundplane.clock import now
from groundplane.errors import Invalid
from groundplane.hooks import hookimpl
from groundplane.hooks.routes import PluginRequest, Route
from groundplane.hooks.work import CronJob
from groundplane.services import Services
from groundplane_plugins.history.entries import MAX_PER_PAGE, QUERIES, Config, Keeper, page
from groundplane_plugins.history.restoring import restore

__all__ = ["API_VERSION", "MIGRATIONS", "Config"]

API_VERSION = 1
MIGRATIONS = {"0001_entries": QUERIES["make_entries"], "0002_secrets": QUERIES["add_secrets"]}
PER_PAGE = 30
AT_ONCE = 5000  # old entries that are removed with one statement
ACTIONS = ("create", "update", "delete")

# Set once per process by `startup`, before the first change.
_config = Config()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request to restore."""

    version: int = 0
    fields: tuple[str, ...] = ()


@hookimpl
async def startup(config: Config, services: Services) -> None:
    global _config
    _config = config
    services.changes.listeners.append(Keeper(services, config))


@hookimpl
def register_routes() -> list[Route]:
    return [
        Route("GET", "/{collection}", of_collection),
        Route("GET", "/{collection}/{record}", of_record),
        Route("DELETE", "/{collection}/{record}", forget_record),
        Route("POST", "/{collection}/{record}/restore", restore_record),
    ]


@hookimpl
def register_commands() -> Sequence[click.Command]:
    from groundplane_plugins.history.commands import list_command, restore_command

    return [list_command, restore_command]


@hookimpl
def register_cron() -> list[CronJob]:
    return [CronJob(name="forget", expression="43 * * * *", handler=forget_old)]


async def of_collection(request: PluginRequest, services: Services) -> dict[str, Any]:
    """GET /api/x/history/{collection}: the changes of all its records, the newest first."""
    return await listed(request, services, "")


async def of_record(request: PluginRequest, services: Services) -> dict[str, Any]:
    """GET /api/x/history/{collection}/{record}: the changes of one record, the newest first."""
    return await listed(request, services, request.params["record"])


async def listed(request: PluginRequest, services: Services, record: str) -> dict[str, Any]:
    query = request.info.query
    collection = services.schema.current.find(request.params["collection"])
    number = positive(query.get("page", ""), 1)
    per_page = min(positive(query.get("perPage", ""), PER_PAGE), MAX_PER_PAGE)
    action = query.get("action", "")
    if action and action not in ACTIONS:
        raise Invalid(f"action must be one of {', '.join(ACTIONS)}.")
    found = await page(
        services, collection, record=record, action=action, limit=per_page, offset=(number - 1) * per_page
    )
    return {
        "page": number,
        "perPage": per_page,
        "totalItems": found.total,
        "totalPages": -(-found.total // per_page),
        "items": found.items,
    }


def positive(text: str, default: int) -> int:
    """Read a number of the query; what is none, or none that makes sense, is the default."""
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) else default


async def forget_record(request: PluginRequest, services: Services) -> dict[str, Any]:
    """DELETE /api/x/history/{collection}/{record}: remove all that is kept about one record."""
    collection = services.schema.current.find(request.params["collection"])
    record = request.params["record"]
    if "\x00" in record:
        raise Invalid()
    return {"removed": await services.db.fetchval(QUERIES["forget_record"], collection.id, record)}


async def restore_record(request: PluginRequest, services: Services) -> dict[str, Any]:
    """POST /api/x/history/{collection}/{record}/restore: bring back a version, or a deleted record."""
    body = await request.body()
    try:
        wanted = msgspec.json.decode(body, type=Wanted) if body.strip() else Wanted()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"The body is wrong: {error}") from None
    name, record = request.params["collection"], request.params["record"]
    done = await restore(
        services, name, record, request.info, version=wanted.version, fields=frozenset(wanted.fields)
    )
    return {"record": done.record, "created": done.is_new, "gone": done.gone}


async def forget_old(services: Services) -> None:
    """Remove what is older than `keep_days`, a little at a time."""
    if not _config.keep_days:
        return
    oldest = now() - timedelta(days=_config.keep_days)
    while await services.db.fetchval(QUERIES["forget_old"], oldest, AT_ONCE) == AT_ONCE:
        pass
