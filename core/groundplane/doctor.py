"""Looks at an installation from outside and says, finding by finding, what is well and what is not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import AsyncIterator
from typing import NamedTuple

from groundplane import __version__
from groundplane.app import open_services
from groundplane.clock import wire_date
from groundplane.collections.file import BadFile, read_document
from groundplane.config import Config
from groundplane.db.unusable import DatabaseUnusable, without_password
from groundplane.errors import GroundplaneError
from groundplane.hooks.loading import Status
from groundplane.index_advice import advice
from groundplane.query.errors import QueryError
from groundplane.query.rules import check_rule
from groundplane.schema.fields.plugin import MissingField
from groundplane.schema.wire import RULE_ATTRIBUTES
from groundplane.services import Services
from groundplane.supervisor import database_of

# Those that somebody should have taken by now.
WAITING_JOBS = """
SELECT "kind", count(*) AS "count" FROM "_jobs"
 WHERE "state" = 'waiting' AND "run_at" < now() - interval '1 minute' GROUP BY "kind" ORDER BY "kind"
"""
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
    async for finding in examine_plugins(services):
        yield finding
    async for finding in examine_jobs(services):
        yield finding
    for sound, text in await services.webhooks.findings():
        yield Finding(sound, text)
    late = await services.files.removals.outbox.late()
    if late.removals:
        yield Finding(
            False,
            f"files wait to be removed, {late.removals} times, since {wire_date(late.oldest)}: {late.error}",
        )
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


async def examine_plugins(services: Services) -> AsyncIterator[Finding]:
    """Yield how plugins are, what they find themselves, and what is missing of those that are gone."""
    schema = services.schema.current
    for plugin in services.plugins.all:
        if plugin.status is not Status.DISABLED:
            reason = f": {plugin.reason}" if plugin.reason else ""
            yield Finding(not plugin.reason, f"plugin {plugin.name}: {plugin.status}{reason}")
        for name in plugin.collections:
            if schema.get(name) is None:
                yield Finding(
                    False, f"plugin {plugin.name}: it is configured for {name}, which is no collection"
                )
    for check in await services.plugins.findings():
        yield Finding(check.sound, f"plugin {check.plugin}: {check.text}")
    for collection in schema:
        for field in collection.fields:
            if isinstance(field, MissingField):
                where = f"{collection.name}.{field.name}"
                unknown = f"nobody knows the field type {field.type}"
                yield Finding(False, f"{where}: {unknown}; it can be read and not changed")
        for key, attribute in RULE_ATTRIBUTES.items():
            rule = getattr(collection, attribute)
            try:
                if rule:
                    check_rule(schema, collection, rule)
            except QueryError as error:
                # A function whose plugin is gone, most likely: saving a rule compiles it.
                yield Finding(False, f"{collection.name}.{key} lets in superusers only: {error}")


async def examine_jobs(services: Services) -> AsyncIterator[Finding]:
    """Yield whether somebody runs the jobs that wait."""
    waiting = {row["kind"]: int(row["count"]) for row in await services.db.fetch(WAITING_JOBS)}
    if waiting and services.config.jobs.workers == 0:
        late = sum(waiting.values())
        yield Finding(
            False, f"{late} jobs are due, and jobs.workers is 0: run `groundplane worker` somewhere"
        )
    for kind, count in waiting.items():
        if kind not in services.jobs.kinds:
            yield Finding(False, f"{count} jobs of the kind {kind} wait for a plugin that is not there")


async def index_lines(services: Services) -> AsyncIterator[str]:
    """Yield, for people, which indexes are missing and what they would save."""
    found = await advice(services)
    if not found:
        yield "No index is missing."
    for each in found:
        for line in each.lines():
            yield line
