"""Stored files: how many and how large, which nobody can reach any more, and whether the store works."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import NamedTuple

from litestar import Response, get, post

from groundplane.api.exchange import AnyRequest
from groundplane.errors import Unavailable
from groundplane.files.orphans import Orphan, find_orphans
from groundplane.files.storage import StorageFailed
from groundplane.files.trial import Step, try_store
from groundplane_admin.registry import NavItem, Screen
from groundplane_admin.visits import Toast, Visit, visit_of

MIN_AGE = timedelta(hours=24)  # what is younger may belong to a record that is just being written
MAX_ORPHANS = 1000  # in one plan
SHOWN = 100
LOOK_S = 30.0


class Line(NamedTuple):
    """A collection's files; `name` is "" for one that is no more."""

    name: str
    id: str
    files: int
    bytes: int
    thumbs: int
    thumb_bytes: int


class Orphans(NamedTuple):
    """What was found; `is_all` is false when there may be more."""

    found: list[Orphan]
    shown: list[Orphan]
    bytes: int
    is_all: bool


class FilesPage(NamedTuple):
    lines: list[Line]
    files: int
    bytes: int
    measured: datetime | None
    store: str
    where: str
    orphans: Orphans | None
    steps: list[Step]
    problem: str


@get("/_/files")
async def files(request: AnyRequest) -> Response[bytes]:
    visit = visit_of(request)
    return visit.page("files/page.html", await page_of(visit))


@post("/_/files/count", status_code=303)
async def count(request: AnyRequest) -> Response[bytes]:
    """Look at every file now."""
    visit = visit_of(request)
    try:
        async with asyncio.timeout(LOOK_S):
            await visit.services.files.usage.count()
    except (StorageFailed, TimeoutError) as problem:
        return await failed(visit, problem)
    return visit.go_to("/_/files", toast=Toast("files.counted"))


@post("/_/files/test", status_code=200)
async def test(request: AnyRequest) -> Response[bytes]:
    """Write, read, list and delete a file of its own."""
    visit = visit_of(request)
    steps = await try_store(visit.services.files.storage)
    status = 422 if steps[-1].problem else 200
    return visit.page("files/page.html", await page_of(visit, steps=steps), status=status)


@post("/_/files/orphans", status_code=200)
async def plan(request: AnyRequest) -> Response[bytes]:
    """List what no record names; nothing is deleted."""
    visit = visit_of(request)
    try:
        return visit.page("files/page.html", await page_of(visit, orphans=await orphans_of(visit)))
    except (StorageFailed, TimeoutError) as problem:
        return await failed(visit, problem)


@post("/_/files/orphans/delete", status_code=303)
async def delete(request: AnyRequest) -> Response[bytes]:
    """Delete those of the plan that still are orphans."""
    visit = visit_of(request)
    planned = set((await visit.form()).all("key"))
    deleted = 0
    try:
        for orphan in (await orphans_of(visit)).found:
            if orphan.key in planned:
                await visit.services.files.storage.delete(orphan.key)
                deleted += 1
    except (StorageFailed, TimeoutError) as problem:
        return await failed(visit, problem)
    return visit.go_to("/_/files", toast=Toast("files.deleted", {"n": deleted}))


async def orphans_of(visit: Visit) -> Orphans:
    """Raises StorageFailed and TimeoutError."""
    services = visit.services
    found: list[Orphan] = []
    async with asyncio.timeout(LOOK_S):
        async for orphan in find_orphans(
            services.files.storage, services.db, services.schema.current, MIN_AGE
        ):
            found.append(orphan)
            if len(found) == MAX_ORPHANS:
                break
    return Orphans(found, found[:SHOWN], sum(each.size for each in found), len(found) < MAX_ORPHANS)


async def failed(visit: Visit, problem: Exception) -> Response[bytes]:
    text = str(problem) if isinstance(problem, StorageFailed) else Unavailable.message
    return visit.page("files/page.html", await page_of(visit, problem=text), status=503)


async def page_of(
    visit: Visit, *, orphans: Orphans | None = None, steps: list[Step] | None = None, problem: str = ""
) -> FilesPage:
    services = visit.services
    counted = await services.files.usage.last()
    names = {each.id: each.name for each in services.schema.current}
    lines = [Line(names.get(each.collection, ""), *each) for each in counted.collections]
    settings = services.settings.current.s3
    if services.config.files.store:
        store, where = "plugin", services.config.files.store
    elif settings.enabled:
        store, where = "s3", f"{settings.bucket} · {settings.endpoint}"
    else:
        store, where = "folder", str(services.config.files_folder)
    return FilesPage(
        lines=lines,
        files=sum(each.files + each.thumbs for each in lines),
        bytes=sum(each.bytes + each.thumb_bytes for each in lines),
        measured=counted.measured,
        store=store,
        where=where,
        orphans=orphans,
        steps=steps or [],
        problem=problem,
    )


SCREEN = Screen(
    handlers=[files, count, test, plan, delete],
    nav=[NavItem("operate", "files.title", "/_/files", "files", order=40)],
)
