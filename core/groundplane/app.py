"""Puts the server together: the only module that knows every part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files as packaged
from typing import TYPE_CHECKING, Any

from groundplane.auth.actors import Actors
from groundplane.auth.service import Auth
from groundplane.auth.superusers import Superusers
from groundplane.broker.broker import Broker
from groundplane.broker.memory import MemoryBroker
from groundplane.broker.postgres import PostgresBroker
from groundplane.broker.valkey import ValkeyBroker
from groundplane.collections.file import read_document
from groundplane.collections.plan import Plan, Planner
from groundplane.collections.service import Collections
from groundplane.config import Config
from groundplane.db.engine import Database, LaneSizes
from groundplane.db.migrate import migrate
from groundplane.errors import Unavailable
from groundplane.events.changes import Changes
from groundplane.files.chosen import ChosenFiles
from groundplane.files.local import LocalFiles
from groundplane.files.service import Files
from groundplane.files.thumbs import Thumbs
from groundplane.hooks.manager import Plugins
from groundplane.housekeeping import register_housekeeping
from groundplane.jobs.plugins import register_work
from groundplane.jobs.queue import Jobs
from groundplane.jobs.schedule import Crons
from groundplane.logs.handler import logging_to
from groundplane.logs.service import Logs
from groundplane.query.access import ask_plugins
from groundplane.query.functions import add_function, remove_function
from groundplane.query.visibility import ask_about_fields
from groundplane.realtime.remote import Desk
from groundplane.realtime.service import Realtime
from groundplane.records.service import Records
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.fields.registry import add_type, remove_type
from groundplane.services import Services
from groundplane.settings.service import Settings
from groundplane.sinks.service import EventSinks
from groundplane.webhooks.addresses import Reach
from groundplane.webhooks.declared import DeclaredWebhooks
from groundplane.webhooks.service import Webhooks

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.types import HTTPScope, Receive, Scope, Send

    from groundplane.api.direct import Asked, Done
    from groundplane.api.gateway import Gateway

SCHEMA, SETTINGS, WEBHOOKS = "schema", "settings", "webhooks"  # channels of the broker


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
    add_words(plugins)
    database = await Database.connect(
        database_url,
        min_size=1 if small else config.database.pool_min,
        max_size=config.database.pool_max,
        statement_timeout_s=config.database.statement_timeout_s,
        acquire_timeout_s=config.database.acquire_timeout_s,
        lanes=LaneSizes(config.database.read_lanes, config.database.list_lanes, config.database.write_lanes),
        pooled=config.database.pooled,
        direct_url=config.database.direct_url,
    )
    broker = broker_of(config, database, database_url, alone=alone)
    try:
        await migrate(database, functions_sql())
        services = connect_parts(config, database, broker, plugins)
        # Listen first, read afterwards: a change in between is then either heard or read.
        await broker.start()
        await services.collections.load()
        await services.settings.load()
        await services.webhooks.load()
        await services.realtime.start()
        await plugins.start(services, database)
        plugins.collect_event_sinks(services.sinks.register)
        register_work(services.jobs, services.crons, plugins)
        for missed in plugins.missed:
            raise Unavailable(f"Plugin {missed.name} is required and broken: {missed.reason}")
        connect_access(services)
        if not small:
            services.logs.writer.start()
        try:
            with logging_to(services.logs.writer):
                yield services
        finally:
            await services.files.close()
            await services.realtime.close()
            await services.sinks.close()
            await services.webhooks.close()
            await services.logs.writer.close()
    finally:
        await plugins.stop()
        remove_words(plugins)
        await broker.close()
        await database.close()


def add_words(plugins: Plugins) -> None:
    """Make the plugins' field types and filter functions known to this process, before it reads the schema."""
    for plugin in plugins.loaded:
        problems = [add_type(plugin.name, field_type) for field_type in plugin.field_types]
        problems += [add_function(plugin.name, function) for function in plugin.filter_functions]
        for problem in filter(None, problems):
            plugins.drop(plugin.name, problem)


def remove_words(plugins: Plugins) -> None:
    for plugin in plugins.all:
        for field_type in plugin.field_types:
            remove_type(field_type)
        for function in plugin.filter_functions:
            remove_function(function)


def broker_of(config: Config, database: Database, database_url: str, *, alone: bool) -> Broker:
    """What carries messages between the processes, as configured."""
    if config.broker.url:
        return ValkeyBroker(config.broker.url, database, prefix=config.broker.prefix)
    if alone:
        return MemoryBroker()
    return PostgresBroker(database, config.database.direct_url or database_url)


def connect_access(services: Services) -> None:
    """Have plugins asked about access for this version of the schema and every later one."""
    plugins, schema = services.plugins, services.schema
    rules, fields = plugins.hooks.access_rules, plugins.hooks.field_visibility
    rules_lost, fields_lost = plugins.has_lost(rules.name), plugins.has_lost(fields.name)
    if not (rules or fields or rules_lost or fields_lost):
        return

    def prepare(new: Schema) -> None:
        if rules or rules_lost:
            ask_plugins(new, rules, closed=rules_lost)
        if fields or fields_lost:
            ask_about_fields(new, fields, closed=fields_lost)

    schema.prepare = prepare
    prepare(schema.current)


def connect_parts(config: Config, database: Database, broker: Broker, plugins: Plugins) -> Services:
    """Make the parts and connect what must act together."""
    hooks = plugins.hooks
    schema = SchemaCache()

    async def announce(channel: str, version: int) -> None:
        await broker.publish_and_wait(channel, str(version).encode())

    settings = Settings(
        database,
        encryption_key=config.security.encryption_key,
        announce=partial(announce, SETTINGS),
        hooks=hooks,
    )
    storage = ChosenFiles(LocalFiles(config.files_folder), settings)
    files = Files(storage, Thumbs(database, storage, config.files))
    changes = Changes()
    records = Records(database, schema, files, hooks, changes)

    async def forget_files(collection: Collection) -> None:
        await files.delete_collection(collection.id)

    realtime = Realtime(database, schema, records, broker, config.realtime, hooks)
    changes.listeners.append(realtime)
    changes.before_deletion.append(realtime.deleting)
    collections = Collections(
        database,
        schema,
        partial(announce, SCHEMA),
        delete_record=records.delete_internal,
        renamed=settings.rename_collection,
        deleted=forget_files,
        hooks=hooks,
    )
    jobs = Jobs(database, hooks=hooks)
    auth = Auth(database, schema, settings, records, hooks)
    webhooks = Webhooks(
        database,
        schema,
        jobs,
        reach=Reach(
            allow_http=config.outgoing.allow_http,
            allow_private=config.outgoing.allow_private,
            networks=tuple(config.outgoing.allow_networks),
        ),
        encryption_key=config.security.encryption_key,
        announce=partial(announce, WEBHOOKS, 0),
        keep_days=config.outgoing.keep_days,
        suspend_after_days=config.outgoing.suspend_after_days,
    )
    changes.listeners.append(webhooks.outbox)
    services = Services(
        config=config,
        db=database,
        broker=broker,
        schema=schema,
        settings=settings,
        files=files,
        collections=collections,
        planner=Planner(collections, settings, DeclaredWebhooks(webhooks)),
        changes=changes,
        records=records,
        realtime=realtime,
        streams=Desk(realtime, broker, schema, records),
        auth=auth,
        actors=Actors(auth.callers, schema, hooks, plugins.may_name_superusers),
        superusers=Superusers(database, schema, changes),
        jobs=jobs,
        crons=Crons(database, jobs),
        logs=Logs(database, settings),
        sinks=EventSinks(database, schema, jobs, changes),
        webhooks=webhooks,
        plugins=plugins,
    )
    register_housekeeping(services)

    async def new_schema(payload: bytes) -> None:
        await collections.refresh(int(payload))

    async def new_settings(payload: bytes) -> None:
        await settings.load(int(payload))

    async def new_webhooks(_: bytes) -> None:
        await webhooks.load()

    broker.subscribe(SCHEMA, new_schema)
    broker.subscribe(SETTINGS, new_settings)
    broker.subscribe(WEBHOOKS, new_webhooks)
    broker.on_reconnect(services.catch_up)
    return services


async def prepare(services: Services) -> Plan:
    """Bring the database to what the configuration declares, as far as nothing is lost; returns what is left.

    Raises `collections.file.BadFile` and `collections.plan.NotApplied`.
    """
    config = services.config
    if not config.collections and not config.settings and not config.webhooks:
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

    def begin_shutdown(self) -> None:
        """End the streams, for which a stopping HTTP server would otherwise wait."""
        if self.services is not None:
            self.services.realtime.end_streams()

    def directly(self, scope: HTTPScope, done: Done) -> Asked | None:
        """Take on a request without ASGI, as `api.direct.DirectReads`; None: call this application with it."""
        if self.services is None or not self.services.broker.trusted or self._gateway.direct is None:
            return None
        if scope["method"] == "POST":
            creates = self._gateway.direct_creates
            return creates.begin(scope, done) if creates is not None else None
        return self._gateway.direct.begin(scope, done)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        async with open_services(
            self._config, self._database_url, alone=self._alone, plugins=self._plugins
        ) as services:
            self.services = services
            self._gateway.attach(services)
            services.plugins.hooks.ready(role="web")
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
