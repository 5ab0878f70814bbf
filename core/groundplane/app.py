"""Puts the server together: the only module that knows every part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files as packaged
from typing import TYPE_CHECKING, Any

from groundplane.auth.service import Auth
from groundplane.auth.superusers import Superusers
from groundplane.broker.broker import Broker
from groundplane.broker.memory import MemoryBroker
from groundplane.broker.postgres import PostgresBroker
from groundplane.collections.file import read_document
from groundplane.collections.plan import Plan, Planner
from groundplane.collections.service import Collections
from groundplane.config import Config
from groundplane.db.engine import Database
from groundplane.db.migrate import migrate
from groundplane.errors import Unavailable
from groundplane.events.changes import Changes
from groundplane.files.local import LocalFiles
from groundplane.files.service import Files
from groundplane.hooks.manager import Plugins
from groundplane.housekeeping import register_housekeeping
from groundplane.jobs.queue import Jobs
from groundplane.jobs.schedule import Crons
from groundplane.query.access import ask_plugins
from groundplane.records.service import Records
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.services import Services
from groundplane.settings.service import Settings

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.types import Receive, Scope, Send

    from groundplane.api.gateway import Gateway

SCHEMA, SETTINGS = "schema", "settings"  # channels of the broker


def functions_sql() -> str:
    """The SQL functions that compiled filters call."""
    source = packaged("groundplane.query") / "functions.sql"
    return source.read_text(encoding="utf-8") if source.is_file() else ""


@asynccontextmanager
async def open_services(
    config: Config,
    database_url: str,
    *,
    alone: bool = False,
    small: bool = False,
    plugins: Plugins | None = None,
) -> AsyncIterator[Services]:
    """Connect everything, with the schema and the settings loaded; raises DatabaseUnusable.

    `alone` says that no other process works on this database, `small` that one connection will do for now.
    `plugins` are those of the configuration, unless others are given.
    """
    plugins = plugins or Plugins.of(config)
    database = await Database.connect(
        database_url,
        min_size=1 if small else config.database.pool_min,
        max_size=config.database.pool_max,
        statement_timeout_s=config.database.statement_timeout_s,
        acquire_timeout_s=config.database.acquire_timeout_s,
    )
    broker: Broker = MemoryBroker() if alone else PostgresBroker(database, database_url)
    try:
        await migrate(database, functions_sql())
        services = connect_parts(config, database, broker, plugins)
        # Listen first, read afterwards: a change in between is then either heard or read.
        await broker.start()
        await services.collections.load()
        await services.settings.load()
        await plugins.start(services, database)
        for missed in plugins.missed:
            raise Unavailable(f"Plugin {missed.name} is required and broken: {missed.reason}")
        connect_access(services)
        yield services
    finally:
        await plugins.stop()
        await broker.close()
        await database.close()


def connect_access(services: Services) -> None:
    """Have plugins asked about access for this version of the schema and every later one."""
    plugins, schema = services.plugins, services.schema
    closed = plugins.has_lost_access_rules
    if plugins.hooks.access_rules or closed:
        schema.prepare = partial(ask_plugins, hook=plugins.hooks.access_rules, closed=closed)
        schema.prepare(schema.current)


def connect_parts(config: Config, database: Database, broker: Broker, plugins: Plugins) -> Services:
    """Make the parts and connect what must act together."""
    hooks = plugins.hooks
    schema = SchemaCache()
    files = Files(LocalFiles(config.files_folder))
    changes = Changes()
    records = Records(database, schema, files, hooks, changes)

    async def announce(channel: str, version: int) -> None:
        await broker.publish_and_wait(channel, str(version).encode())

    async def forget_files(collection: Collection) -> None:
        await files.delete_collection(collection.id)

    settings = Settings(
        database,
        encryption_key=config.security.encryption_key,
        announce=partial(announce, SETTINGS),
        hooks=hooks,
    )
    collections = Collections(
        database,
        schema,
        partial(announce, SCHEMA),
        delete_record=records.delete_internal,
        renamed=settings.rename_collection,
        deleted=forget_files,
        hooks=hooks,
    )
    jobs = Jobs(database)
    services = Services(
        config=config,
        db=database,
        broker=broker,
        schema=schema,
        settings=settings,
        files=files,
        collections=collections,
        planner=Planner(collections, settings),
        changes=changes,
        records=records,
        auth=Auth(database, schema, settings, records, hooks),
        superusers=Superusers(database, schema),
        jobs=jobs,
        crons=Crons(database, jobs),
        plugins=plugins,
    )
    register_housekeeping(services)

    async def new_schema(payload: bytes) -> None:
        await collections.refresh(int(payload))

    async def new_settings(payload: bytes) -> None:
        await settings.load(int(payload))

    broker.subscribe(SCHEMA, new_schema)
    broker.subscribe(SETTINGS, new_settings)
    broker.on_reconnect(services.catch_up)
    return services


async def prepare(services: Services) -> Plan:
    """Bring the database to what the configuration declares, as far as nothing is lost; returns what is left.

    Raises `collections.file.BadFile` and `collections.plan.NotApplied`.
    """
    config = services.config
    if not config.collections and not config.settings:
        return Plan()
    _, left = await services.planner.apply_safe(read_document(config.declared))
    return left


class Application:
    """The ASGI application of one web worker; `services` is there while its lifespan is on."""

    def __init__(
        self,
        config: Config,
        database_url: str,
        *,
        alone: bool = False,
        plugins: Plugins | None = None,
    ) -> None:
        # The HTTP side is half of the import time, and the command line does not need it.
        from groundplane.api.routes import make_gateway
        from groundplane_admin import router as console

        self._config = config
        self._database_url = database_url
        self._alone = alone
        self._plugins = plugins
        self._gateway: Gateway = make_gateway(
            lifespan=[self._lifespan],
            origins=config.server.allowed_origins,
            max_body=config.server.max_body_bytes,
        )
        self._gateway.inner.register(console())
        self._catching_up: asyncio.Task[None] | None = None
        self.services: Services | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.services is not None and not self.services.broker.trusted:
            await self._catch_up(self.services)
        await self._gateway(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        async with open_services(
            self._config, self._database_url, alone=self._alone, plugins=self._plugins
        ) as services:
            self.services = services
            self._gateway.attach(services)
            services.plugins.hooks.ready()
            yield

    async def _catch_up(self, services: Services) -> None:
        """Read what this process may not have heard of; requests that come meanwhile share one reading."""
        if self._catching_up is None:
            self._catching_up = asyncio.create_task(services.catch_up())
            self._catching_up.add_done_callback(self._caught_up)
        try:
            await asyncio.shield(self._catching_up)
        except Unavailable:
            # The database is away; the request finds that out itself and says so in its own words.
            return

    def _caught_up(self, task: asyncio.Task[Any]) -> None:
        self._catching_up = None
        if not task.cancelled():
            task.exception()


def build(
    config: Config, database_url: str, *, alone: bool = False, plugins: Plugins | None = None
) -> Application:
    """Return the ASGI application, its parts opened and closed by its lifespan; the rest as in `open_services`."""
    return Application(config, database_url, alone=alone, plugins=plugins)
