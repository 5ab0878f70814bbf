"""Greets new records in their titles, and counts the greetings of each collection."""

from __future__ import annotations

from typing import Any

import msgspec

from groundplane.errors import Invalid
from groundplane.hooks import hookimpl
from groundplane.hooks.events import RecordSaving
from groundplane.hooks.routes import PluginRequest, Route
from groundplane.hooks.work import JobKind
from groundplane.jobs.job import Job
from groundplane.services import Services
from groundplane_hello.tables import Greeting

API_VERSION = 1


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What `[plugins.hello]` may say; `collections` are names."""

    word: str = "hello"
    collections: tuple[str, ...] = ()


_config = Config()


@hookimpl
async def startup(config: Config) -> None:
    global _config
    _config = config


@hookimpl
def register_routes() -> list[Route]:
    return [
        Route("GET", "/greetings/{collection}", greetings, access="everyone"),
        Route("DELETE", "/greetings/{collection}", forget),
    ]


@hookimpl
def register_jobs() -> list[JobKind]:
    return [JobKind(name="forget", handler=forget_greetings)]


@hookimpl
async def record_saving(event: RecordSaving, services: Services) -> None:
    name = event.collection.name
    if name not in _config.collections or event.before is not None:
        return
    if not event.record["title"]:
        raise Invalid("Nobody can be greeted without a title.")
    event.record["title"] = f"{_config.word} {event.record['title']}"
    # In the transaction of the record: a greeting is counted when it is there, and only then.
    await services.db.execute(
        "INSERT INTO x_hello.greetings (collection, count) VALUES ($1, 1) "
        "ON CONFLICT (collection) DO UPDATE SET count = greetings.count + 1",
        name,
    )


async def greetings(request: PluginRequest, services: Services) -> dict[str, Any]:
    """GET /api/x/hello/greetings/{collection}: how many records were greeted."""
    found = await Greeting.objects().first().where(Greeting.collection == request.params["collection"])
    return {"count": found.count if found is not None else 0}


async def forget(request: PluginRequest, services: Services) -> dict[str, Any]:
    """DELETE /api/x/hello/greetings/{collection}: count anew, as soon as a worker comes to it."""
    return {"job": await services.jobs.add("hello.forget", {"collection": request.params["collection"]})}


async def forget_greetings(job: Job, services: Services) -> None:
    await Greeting.delete().where(Greeting.collection == job.payload["collection"])
