"""The parts of a running server; all that handlers, the console and plugins receive."""

from __future__ import annotations

import msgspec

from groundplane.auth.actors import Actors
from groundplane.auth.added_methods import AddedMethods
from groundplane.auth.counters import Counters
from groundplane.auth.email_flows import EmailFlows
from groundplane.auth.mails import AccountMails
from groundplane.auth.otp import OneTimePasswords
from groundplane.auth.own_methods import OwnMethods
from groundplane.auth.service import Auth
from groundplane.auth.service_keys import ServiceKeys
from groundplane.auth.sessions import Sessions
from groundplane.auth.superusers import Superusers
from groundplane.broker.broker import Broker
from groundplane.collections.plan import Planner
from groundplane.collections.service import Collections
from groundplane.config import Config
from groundplane.console.preferences import Preferences
from groundplane.console.sql import SqlConsole
from groundplane.db.engine import Database
from groundplane.events.changes import Changes
from groundplane.files.service import Files
from groundplane.hooks.manager import Plugins
from groundplane.jobs.queue import Jobs
from groundplane.jobs.schedule import Crons
from groundplane.logs.service import Logs
from groundplane.mail.service import Mail
from groundplane.realtime.remote import Desk
from groundplane.realtime.service import Realtime
from groundplane.records.service import Records
from groundplane.schema.cache import SchemaCache
from groundplane.settings.service import Settings
from groundplane.sinks.service import EventSinks
from groundplane.webhooks.service import Webhooks


class Services(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Made by `app.py`; a call of one part inside a transaction of another joins it.

    `schema`      this process's snapshot of all collections (`schema.current`)
    `settings`    what administrators change while the server runs (`settings.current`)
    `actors`      who asks by the word of plugins
    `sessions`    who is signed in where, and how that ends
    `keys`        the keys with which programs sign in
    `mail`        sends any mail
    `mails`       mails to people who sign in, now or by a job
    `email_flows` verification, password reset and change of address
    `otp`         one-time passwords
    `counters`    how often something was tried or mailed lately
    `own_methods` code generators, passkeys and mailed links
    `added_methods` ways to sign in that plugins add
    `planner`     compares declared collections with the database
    `changes`     who listens to changes of records
    `realtime`    the streams of this process
    `streams`     the streams of all processes
    `jobs`        work for later, in the transaction that wants it
    `crons`       work by the clock
    `logs`        what requests happened, and entries of your own (`logs.add`)
    `sinks`       where plugins pass changes on to, and how that goes
    `webhooks`    where administrators have changes sent to, and every delivery
    `preferences` what the console remembers for superusers
    `sql`         runs statements that superusers type, confined
    `plugins`     which there are, how they are, and their routes
    """

    config: Config
    db: Database
    broker: Broker
    schema: SchemaCache
    settings: Settings
    files: Files
    collections: Collections
    planner: Planner
    changes: Changes
    records: Records
    realtime: Realtime
    streams: Desk
    auth: Auth
    actors: Actors
    sessions: Sessions
    keys: ServiceKeys
    mail: Mail
    mails: AccountMails
    email_flows: EmailFlows
    otp: OneTimePasswords
    counters: Counters
    own_methods: OwnMethods
    added_methods: AddedMethods
    superusers: Superusers
    jobs: Jobs
    crons: Crons
    logs: Logs
    sinks: EventSinks
    webhooks: Webhooks
    preferences: Preferences
    sql: SqlConsole
    plugins: Plugins

    async def catch_up(self) -> None:
        """Read again what messages would have told, after some may have been missed."""
        await self.collections.refresh()
        await self.settings.load()
        await self.webhooks.load()
        await self.keys.load()
        self.auth.callers.forget()
