"""Puts the server together: the only module that knows every part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files as packaged
from traceback import format_exc
from typing import TYPE_CHECKING, Any

from groundplane.auth.account_data import AccountData
from groundplane.auth.actors import Actors
from groundplane.auth.added_methods import AddedMethods
from groundplane.auth.attempts import Attempts
from groundplane.auth.callers import Callers
from groundplane.auth.counters import Counters
from groundplane.auth.email_flows import EmailFlows
from groundplane.auth.magic_links import MagicLinks
from groundplane.auth.mails import AccountMails
from groundplane.auth.otp import OneTimePasswords
from groundplane.auth.own_methods import OwnMethods
from groundplane.auth.passkeys import Passkeys
from groundplane.auth.service import Auth
from groundplane.auth.service_keys import ServiceKeys
from groundplane.auth.sessions import Sessions
from groundplane.auth.superusers import Superusers
from groundplane.auth.totp import Totp
from groundplane.broker.broker import Broker
from groundplane.broker.memory import MemoryBroker
from groundplane.broker.postgres import PostgresBroker
from groundplane.broker.valkey import ValkeyBroker
from groundplane.collections.file import read_document
from groundplane.collections.plan import Plan, Planner
from groundplane.collections.service import Collections
from groundplane.config import Config
from groundplane.console.preferences import Preferences
from groundplane.console.sql import SqlConsole
from groundplane.console.sql_roles import SqlRoles
from groundplane.db.engine import Database, LaneSizes
from groundplane.db.migrate import migrate
from groundplane.errors import Unavailable
from groundplane.events.changes import Changes
from groundplane.files.chosen import ChosenFiles
from groundplane.files.local import LocalFiles
from groundplane.files.outbox import Doomed
from groundplane.files.own import storage_of
from groundplane.files.removals import Removals
from groundplane.files.service import Files
from groundplane.files.thumbs import Thumbs
from groundplane.files.uploads import Uploads
from groundplane.hooks.manager import Plugins
from groundplane.housekeeping import register_housekeeping
from groundplane.jobs.plugins import register_work
from groundplane.jobs.queue import Jobs
from groundplane.jobs.schedule import Crons
from groundplane.logs.handler import logging_to
from groundplane.logs.service import Logs
from groundplane.mail.service import Mail
from groundplane.outgoing.addresses import Reach
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
from groundplane.webhooks.declared import DeclaredWebhooks
from groundplane.webhooks.service import Webhooks

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.types import HTTPScope, Receive, Scope, Send

    from groundplane.api.direct import Asked, Done
    from groundplane.api.gateway import Gateway
    from groundplane.api.inside import Inside

# channels of the broker
SCHEMA, SETTINGS, WEBHOOKS, SESSIONS, KEYS = "schema", "settings", "webhooks", "sessions", "keys"


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
        await services.keys.load()
        await services.realtime.start()
        await plugins.start(services, database)
        plugins.collect_event_sinks(services.sinks.register)
        plugins.collect_mailers(services.mail.register)
        plugins.collect_auth_methods(services.added_methods.register)
        plugins.collect_oauth_providers(services.auth.oauth2.providers.register)
        if config.files.store and isinstance(services.files.storage, ChosenFiles):
            services.files.storage.own = storage_of(plugins, config.files.store)
        register_work(services.jobs, services.crons, plugins)
        for missed in plugins.missed:
            raise Unavailable(f"Plugin {missed.name} is required and broken: {missed.reason}")
        connect_access(services)
        if not small:
            services.logs.writer.start()
            services.sessions.start()
            services.keys.start()
        try:
            with logging_to(services.logs.writer):
                yield services
        finally:
            await services.files.close()
            await services.sessions.close()
            await services.keys.close()
            await services.realtime.close()
            await services.sinks.close()
            await services.webhooks.close()
            await services.auth.oauth2.close()
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
    removals = Removals(database, storage, schema, hooks)
    thumbs = Thumbs(database, storage, config.files, hooks)
    files = Files(storage, removals, thumbs, Uploads(database, storage, config.uploads))
    changes = Changes()
    records = Records(database, schema, files, hooks, changes)

    account_data = AccountData(database)
    changes.listeners.append(account_data)

    async def forget_kept(collection: Collection) -> None:
        await removals.later([Doomed(collection.id)])
        await account_data.forget_collection(collection)

    realtime = Realtime(database, schema, records, broker, config.realtime, hooks)
    changes.listeners.append(realtime)
    changes.before_deletion.append(realtime.deleting)
    collections = Collections(
        database,
        schema,
        partial(announce, SCHEMA),
        delete_record=records.delete_internal,
        renamed=settings.rename_collection,
        deleted=forget_kept,
        hooks=hooks,
        encryption_key=config.security.encryption_key,
    )
    jobs = Jobs(database, hooks=hooks)
    reach = Reach(
        allow_http=config.outgoing.allow_http,
        allow_private=config.outgoing.allow_private,
        networks=tuple(config.outgoing.allow_networks),
    )
    callers = Callers(database, schema)

    async def tell_ended(payload: bytes) -> None:
        await broker.publish_and_wait(SESSIONS, payload)

    sessions = Sessions(
        database, schema, records, callers, hooks, announce=tell_ended, sign_out=realtime.sign_out
    )
    keys = ServiceKeys(
        database, schema, callers, announce=partial(announce, KEYS, 0), sign_out=realtime.sign_out
    )
    attempts = Attempts(database)
    totp = Totp(database, attempts, config.security.encryption_key)

    def public() -> tuple[str, str]:
        meta = settings.current.meta
        return meta.app_url, meta.app_name

    mail = Mail(settings, config.mail, config.outbox_folder, hooks, config.server.public_url)
    mails = AccountMails(schema, mail, jobs, config.mail.timeout_s)
    auth = Auth(database, schema, settings, records, callers, sessions, totp, hooks, reach, mails)
    counters = Counters(database)
    email_flows = EmailFlows(database, records, callers, mails, counters, hooks)
    otp = OneTimePasswords(database, schema, records, auth, mails, counters, hooks)
    passkeys = Passkeys(database, public)
    magic_links = MagicLinks(database, records, callers, mails, counters)
    own_methods = OwnMethods(database, auth, sessions, attempts, totp, passkeys, magic_links, hooks)
    added_methods = AddedMethods(auth, hooks)
    auth.added = added_methods.shown
    webhooks = Webhooks(
        database,
        schema,
        jobs,
        reach=reach,
        encryption_key=config.security.encryption_key,
        announce=partial(announce, WEBHOOKS, 0),
        keep_days=config.outgoing.keep_days,
        suspend_after_days=config.outgoing.suspend_after_days,
    )
    changes.listeners.append(webhooks.outbox)
    logs = Logs(database, settings)
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
        sessions=sessions,
        keys=keys,
        mail=mail,
        mails=mails,
        email_flows=email_flows,
        otp=otp,
        counters=counters,
        own_methods=own_methods,
        added_methods=added_methods,
        superusers=Superusers(database, schema, changes),
        jobs=jobs,
        crons=Crons(database, jobs),
        logs=logs,
        sinks=EventSinks(database, schema, jobs, changes),
        webhooks=webhooks,
        preferences=Preferences(database),
        sql=SqlConsole(SqlRoles(database, schema), logs.add),
        plugins=plugins,
    )
    register_housekeeping(services)
    connect_keys(services)

    async def new_schema(payload: bytes) -> None:
        await collections.refresh(int(payload))

    async def new_settings(payload: bytes) -> None:
        await settings.load(int(payload))

    async def new_webhooks(_: bytes) -> None:
        await webhooks.load()

    broker.subscribe(SCHEMA, new_schema)
    broker.subscribe(SETTINGS, new_settings)

    async def new_keys(_: bytes) -> None:
        await keys.load()

    broker.subscribe(WEBHOOKS, new_webhooks)
    broker.subscribe(SESSIONS, sessions.on_ended)
    broker.subscribe(KEYS, new_keys)
    broker.on_reconnect(services.catch_up)
    return services


def connect_keys(services: Services) -> None:
    """Have streams know who acts with a service key, and what that covers."""
    from groundplane.api.key_scopes import check_topics

    services.realtime.check_topics = partial(check_topics, services)
    services.streams.named = services.keys.named


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
        inside: Inside | None = None,
    ) -> None:
        # The HTTP side is half of the import time, and the command line does not need it.
        from groundplane.api.routes import make_gateway

        self._config = config
        self._database_url = database_url
        self._alone = alone
        self._plugins = plugins
        self._gateway: Gateway = make_gateway(
            inside if inside is not None else make_http(),
            origins=config.server.allowed_origins,
            max_body=config.server.max_body_bytes,
        )
        self._catching_up: asyncio.Task[None] | None = None
        self.services: Services | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind == "lifespan":
            await self._live(receive, send)
            return
        if self.services is not None and not self.services.broker.trusted:
            await self._catch_up(self.services)
        await self._gateway(scope, receive, send)

    def begin_shutdown(self) -> None:
        """End the streams, for which a stopping HTTP server would otherwise wait."""
        if self.services is not None:
            self.services.realtime.end_streams()

    @property
    def open_streams(self) -> int:
        """How many streams of realtime there are in this process."""
        return 0 if self.services is None else len(self.services.realtime.clients)

    def directly(self, scope: HTTPScope, done: Done) -> Asked | None:
        """Take on a request without ASGI, as `api.direct.DirectReads`; None: call this application with it."""
        if self.services is None or not self.services.broker.trusted or self._gateway.direct is None:
            return None
        if scope["method"] == "POST":
            creates = self._gateway.direct_creates
            return creates.begin(scope, done) if creates is not None else None
        return self._gateway.direct.begin(scope, done)

    def again(self, data: bytes, client: str, done: Done) -> Asked | None:
        """Take on a request that nobody has read, as `api.direct.DirectReads`; None: read it."""
        if self.services is None or not self.services.broker.trusted or self._gateway.direct is None:
            return None
        return self._gateway.direct.again(data, client, done)

    def remember(self, data: bytes, scope: HTTPScope) -> None:
        """Know the headers of a request that came as these bytes again."""
        if self._gateway.direct is not None:
            self._gateway.direct.remember(data, scope)

    async def _live(self, receive: Any, send: Any) -> None:
        """Be there for as long as the HTTP server, by ASGI's lifespan protocol."""
        await receive()
        up = False
        try:
            async with open_services(
                self._config, self._database_url, alone=self._alone, plugins=self._plugins
            ) as services:
                self.services = services
                self._gateway.attach(services)
                services.realtime.channels.follow()
                services.plugins.hooks.ready(role="web")
                up = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except BaseException:
            message = format_exc()
            if up:
                await send({"type": "lifespan.shutdown.failed", "message": message})
            else:
                await send({"type": "lifespan.startup.failed", "message": message})
            raise
        await send({"type": "lifespan.shutdown.complete"})

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


def make_http() -> Inside:
    """Return the routes of every part, the console's included; for one server at a time, see `make_inside`."""
    from groundplane.api.routes import make_inside

    return make_inside(make_console)


def make_console() -> Litestar:
    """The console's pages, whose modules are loaded with the first of them."""
    from groundplane.api.routes import make_litestar
    from groundplane_admin import mount

    made = make_litestar([])
    mount(made)
    return made


def build(
    config: Config,
    database_url: str,
    *,
    alone: bool = False,
    plugins: Plugins | None = None,
    inside: Inside | None = None,
) -> Application:
    """Return the ASGI application, its parts opened and closed by its lifespan; the rest as in `open_services`.

    `inside` is what `make_http` returned, of a server that has ended; without it a new one is made.
    """
    return Application(config, database_url, alone=alone, plugins=plugins, inside=inside)
