"""Looks at an installation from outside and says, finding by finding, what is well and what is not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import AsyncIterator
from typing import NamedTuple

from groundplane import __version__
from groundplane.app import open_services
from groundplane.collections.file import BadFile, read_document
from groundplane.config import Config
from groundplane.db.engine import DatabaseUnusable, without_password
from groundplane.errors import GroundplaneError
from groundplane.hooks.loading import Status
from groundplane.services import Services
from groundplane.supervisor import database_of

LITTLE_SPACE_BYTES = 1_000_000_000


class Finding(NamedTuple):
    sound: bool
    text: str


async def examine(config: Config) -> AsyncIterator[Finding]:
    """Yield findings in the order in which one depends on the other."""
    yield Finding(
        True, f"groundplane {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    folder = config.data_folder
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    yield Finding(os.access(existing, os.W_OK), f"data folder {folder} can be written")
    free = shutil.disk_usage(existing).free
    yield Finding(free > LITTLE_SPACE_BYTES, f"{free / 1e9:.1f} GB free on its disk")
    try:
        async with database_of(config) as (url, embedded), open_services(config, url, small=True) as services:
            where = "embedded" if embedded else without_password(url)
            version = await services.db.fetchval("SHOW server_version")
            yield Finding(True, f"database: PostgreSQL {version} ({where})")
            async for finding in examine_services(services):
                yield finding
    except (DatabaseUnusable, GroundplaneError) as error:
        yield Finding(False, str(error))


async def examine_services(services: Services) -> AsyncIterator[Finding]:
    for plugin in services.plugins.all:
        if plugin.status is not Status.DISABLED:
            reason = f": {plugin.reason}" if plugin.reason else ""
            yield Finding(not plugin.reason, f"plugin {plugin.name}: {plugin.status}{reason}")
    for name, checks, error in await services.plugins.hooks.health_checks.gather():
        if error is not None:
            yield Finding(False, f"plugin {name}: {error}")
        for check in checks or ():
            yield Finding(bool(check.sound), f"plugin {name}: {check.text}")
    count = len(services.schema.current.collections)
    size = int(await services.db.fetchval("SELECT pg_database_size(current_database())"))
    yield Finding(True, f"{count} collections, {size / 1e6:.0f} MB in the database")
    superusers = len(await services.superusers.all())
    yield Finding(superusers > 0, f"superusers: {superusers}")
    try:
        plan = await services.planner.plan(read_document(services.config.declared))
    except BadFile as error:
        yield Finding(False, str(error))
        return
    if plan.steps:
        yield Finding(False, f"file and database differ in {len(plan.steps)} steps: see groundplane plan")
    else:
        yield Finding(True, "file and database agree")
