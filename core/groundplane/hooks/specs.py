"""Every hook, in the order in which things happen; this module is the contract with plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from groundplane.hooks import hookspec

if TYPE_CHECKING:
    import click

    from groundplane.hooks.events import (
        AccessRules,
        Actor,
        ActorRequest,
        AuthAttempt,
        AuthSucceeded,
        CollectionSaving,
        EventPublishing,
        FieldVisibility,
        HealthCheck,
        JobFailed,
        JobRun,
        ListQuery,
        PasswordCheck,
        PlanCheck,
        RealtimeConnect,
        RealtimeMessage,
        RealtimeSubscribe,
        RecordDeleted,
        RecordDeleting,
        RecordEnrich,
        RecordRequest,
        RecordSaved,
        RecordSaving,
        RecordWriteFailed,
        RequestFinished,
        SchemaApplied,
        SettingsSaved,
        SettingsSaving,
    )
    from groundplane.hooks.filters import FilterFunction
    from groundplane.hooks.routes import Route
    from groundplane.hooks.work import CronJob, JobKind
    from groundplane.schema.collection import Collection
    from groundplane.schema.fields.plugin import PluginField
    from groundplane.services import Services
    from groundplane.sinks.sink import EventSink

# Registration and start


@hookspec("collect")
def register_field_types() -> Sequence[type[PluginField]]:
    """Types for fields of collections: subclasses of `groundplane.schema.fields.plugin.PluginField`.

    Asked once, when the plugin is loaded; as all of these, one that raises, or returns something else, is
    broken and stays out. A name that is taken makes it broken too. Fields of a type whose plugin is gone are
    kept with their columns: they are read as what is stored, cannot be changed, and `groundplane doctor`
    names them.
    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("collect")
def register_filter_functions() -> Sequence[FilterFunction]:
    """Functions for filters and rules, such as `distance(title, 'word') < 3`; asked once, when loaded.

    A name that is taken makes the plugin broken. A rule that calls a function which is not there lets in
    nobody but superusers.
    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("collect")
def register_jobs() -> Sequence[JobKind]:
    """Kinds of jobs, added with `services.jobs.add("<plugin>.<name>", …)`; asked once, when loaded.

    Jobs of a kind whose plugin is gone wait until it is back; `groundplane doctor` counts them.
    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("collect")
def register_cron() -> Sequence[CronJob]:
    """Work by the clock, listed and run as `<plugin>.<name>`; asked once, when the plugin is loaded.

    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("collect")
def register_routes() -> Sequence[Route]:
    """Routes below `/api/x/<plugin>/`; asked once, when the plugin is loaded.

    A plugin that raises, or returns something else, is broken and stays out.
    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("collect")
def register_commands() -> Sequence[click.Command]:
    """Commands below `groundplane x <plugin>`; asked when such a command is looked for.

    They run outside of the server; `groundplane.cli.installation(config)` opens the services.
    Called by: groundplane/commands/plugins.py
    """
    raise NotImplementedError


@hookspec("collect")
def register_event_sinks(config: object, services: Services) -> Sequence[EventSink]:
    """Where committed changes of records are passed on to, as `groundplane.sinks.sink` describes it.

    Asked in every process once all plugins are started; only job workers open sinks, when there is something
    to send. A plugin that raises, or returns something else, is broken and stays out.

    `config`     the plugin's configuration, as in `startup`

    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("collect")
async def startup(config: object, collections: Mapping[str, object], services: Services) -> None:
    """The services are open: the database is migrated, schema and settings are loaded.

    Runs in every process that opens them, commands too, before the first request.
    A plugin that raises, or takes longer than 30 s, is broken and stays out; the server goes on.

    `config`        the plugin's configuration, an instance of its class `Config`; None without one
    `collections`   instances of its class `CollectionConfig` by name of the collection, as far as configured

    Called by: groundplane/hooks/manager.py
    """


@hookspec("notify")
async def ready(role: str, services: Services) -> None:
    """A process begins its work, and goes on with it meanwhile; not for commands.

    `role`   `web`: it answers requests; `jobs`: it runs jobs

    Called by: groundplane/app.py
    """


@hookspec("collect")
async def shutdown(services: Services) -> None:
    """The process ends; the services are still open. Stop what `startup` has begun, within 10 s.

    Only for plugins whose start-up went well, the last one started first. A failure is logged.
    Called by: groundplane/hooks/manager.py
    """


@hookspec("collect")
async def health_checks(services: Services) -> Sequence[HealthCheck]:
    """Findings for `groundplane doctor`, and for superusers at `GET /api/health`, which waits 3 s for them.

    An exception is a finding too: that the plugin fails.
    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


# The schema


@hookspec("before")
async def collection_saving(event: CollectionSaving, services: Services) -> None:
    """A collection was created, changed or deleted, by the API, a plan or an import.

    Runs inside the transaction of the change, behind all checks and the statements.
    Raise a `GroundplaneError` to refuse: everything is rolled back.

    `event.before`, `event.after`   not to be changed; None when there is none

    Called by: groundplane/collections/service.py
    """


@hookspec("before")
async def plan_check(event: PlanCheck, services: Services) -> None:
    """A plan was made of what differs between file and database, before it is shown or applied.

    Add a sentence to `event.problems` to have it refused, e.g. "posts.title is read by the app".
    Called by: groundplane/collections/plan.py
    """


@hookspec("notify")
async def schema_applied(event: SchemaApplied, services: Services) -> None:
    """The schema has changed, and every process knows it; called in the process that changed it.

    Called by: groundplane/collections/service.py
    """


# Access


@hookspec("first")
async def resolve_actor(event: ActorRequest, services: Services) -> Actor | None:
    """Nobody is known by a token: say who asks by other means, an API key perhaps, or None.

    The record that you name is looked up; when there is none, the request is a guest's. Raise `Unauthorized`
    to refuse a wrong key. A superuser is believed only if the plugin's section of the configuration says
    `superusers = true`.
    Every request without a token waits for you: say `headers=["X-Api-Key"]` at the marker, and only those
    with one of these headers do. Compare secrets with `hmac.compare_digest`.
    Called by: groundplane/api/gateway.py
    """


@hookspec("collect")
def access_rules(collection: Collection, action: str) -> AccessRules | None:
    """Who else may, or may not, do `action` (list, view, create, update, delete) in a collection.

    Asked once per version of the schema, never per request or record; the expressions become part of the
    statement that touches the record, on every path to it.
    What remains is (own rule or any grant) and no deny and every restrict, of all plugins: a grant
    never reaches beyond what another plugin restricts. Superusers stand above rules and above these.
    When a call fails, or an expression of deny or restrict does not compile, only superusers get in;
    a grant that does not compile grants nothing.
    Called by: groundplane/app.py
    """
    raise NotImplementedError


@hookspec("collect")
def field_visibility(collection: Collection) -> Sequence[FieldVisibility] | None:
    """Which fields of a collection not everybody sees who may see the record.

    Asked once per version of the schema, as `access_rules`; the expressions are evaluated on the rows of each
    answer: lists, views, what creating and changing answers, expanded records, signing in, realtime. Nobody
    but superusers filters or sorts by such a field, or follows it backwards; a file of it is sent to those
    with a file token who see its name. Who may write the field is up to the rules, and webhooks and event
    sinks tell it. Of several plugins all have to agree.
    A field whose expression does not compile is shown to superusers only. When a call fails, or names a field
    that is not there, that holds for all fields but the id.
    Called by: groundplane/app.py
    """
    raise NotImplementedError


# Requests for records


@hookspec("around")
def record_request(event: RecordRequest, services: Services) -> AsyncIterator[None]:
    """A request for records, of the API or an item of a batch: `async def` with one `yield`.

    What stands before the `yield` runs before any rule, what stands behind it after the commit.
    The request's exception is raised at the `yield`: let it pass, or raise a `GroundplaneError` instead;
    swallowing it changes nothing. Raise before the `yield` to refuse the request.
    Called by: groundplane/records/steps.py
    """
    raise NotImplementedError


@hookspec("before")
async def list_query(event: ListQuery, services: Services) -> None:
    """A list is about to be read, outside of a transaction.

    Change `event.query`: the parameters as the client sent them, with their rules and limits.
    Add expressions to `event.restrict`: only records that meet all of them are found. One that does not
    compile is answered 400. The collection's rule applies whatever you do.
    Called by: groundplane/records/reading.py
    """


@hookspec("before")
async def record_enrich(event: RecordEnrich, services: Services) -> None:
    """Records of one collection are about to be answered: a page, one record, or what an expand brought.

    Called once for all of them. Change the objects of `event.items` in place: add, change or remove
    members; `fields` of the request is applied afterwards. They are what the client may see already.
    Called by: groundplane/records/steps.py
    """


# Changing records


@hookspec("before")
async def password_check(event: PasswordCheck, services: Services) -> None:
    """A new password has passed its field's checks. Raise `Invalid` with a field error to refuse it.

    Not for passwords that are only compared. Runs before the transaction of a create, inside that of an update.
    Called by: groundplane/records/steps.py
    """


@hookspec("before")
async def record_saving(event: RecordSaving, services: Services) -> None:
    """A record is about to be written, by the API, a batch or a part of the server.

    Runs inside the transaction, after rules and field checks, before the statement.
    Change `event.record` in place; changed fields are checked again.
    Raise a `GroundplaneError` to refuse: the client gets its status and message, nothing is written.
    Any other exception refuses too, as a 500 that names the plugin in the log.

    `event.record`   dict, field name to value as stored: dates are aware UTC datetimes,
                     files are names (new ones: uploads), passwords are hashes
    `event.before`   the same for the stored record; None when it is new
    `event.caller`   who asks; None for guests, jobs and the command line
    `services`       the parts of the server; its calls join the open transaction

    Order: installed plugins before bundled ones, each group last registered first.
    Budget: you hold a database connection; anything slower than about 10 ms belongs in a job. After 5 s
    the call is ended and the write refused.
    Called by: groundplane/records/watchers.py
    """


@hookspec("before")
async def record_deleting(event: RecordDeleting, services: Services) -> None:
    """A record is about to be deleted, for itself or along with another.

    As `record_saving`: inside the transaction, raise to refuse. Refusing a cascade refuses all of it.
    Called by: groundplane/records/cascade.py
    """


@hookspec("notify")
async def record_saved(event: RecordSaved, services: Services) -> None:
    """A record was written and the transaction has committed.

    Each plugin gets its events one after another in the order of the commits in this process, apart
    from the request and from other plugins. At most once: what waits when a process is killed is lost.
    An exception, or more than 10 s, is logged and counted.
    Called by: groundplane/records/watchers.py
    """


@hookspec("notify")
async def record_deleted(event: RecordDeleted, services: Services) -> None:
    """A record was deleted and the transaction has committed; otherwise as `record_saved`.

    Called by: groundplane/records/cascade.py
    """


@hookspec("notify")
async def record_write_failed(event: RecordWriteFailed, services: Services) -> None:
    """A create, update or delete came to nothing: refused, or failed. The transaction is rolled back.

    Called by: groundplane/records/steps.py
    """


# Signing in


@hookspec("around")
def auth_attempt(event: AuthAttempt, services: Services) -> AsyncIterator[None]:
    """Somebody tries to sign in or to refresh a token: `async def` with one `yield`, as `record_request`.

    The refusal is raised at the `yield`; what refuses before it is answered instead of looking.
    Called by: groundplane/auth/service.py
    """
    raise NotImplementedError


@hookspec("notify")
async def auth_succeeded(event: AuthSucceeded, services: Services) -> None:
    """Somebody got a token, after every factor.

    Called by: groundplane/auth/service.py
    """


# Every answer


@hookspec("observe")
def request_finished(event: RequestFinished, services: Services) -> None:
    """A request was answered, whatever it was for and whatever came of it; a plain `def` that only counts.

    Not told are answers to `OPTIONS`, and redirects to the clean form of a path.

    Every request waits for it: no loops, no files, no database. What it raises is logged and counted.
    Called by: groundplane/api/finished.py
    """


# Telling others


@hookspec("before")
async def event_publishing(event: EventPublishing, services: Services) -> None:
    """A message about a change is about to be queued for a webhook or an event sink, inside the transaction.

    Change `event.message` in place, or set `event.is_dropped`: then this target does not get it. Raising
    undoes the change of the record.
    Called by: groundplane/hooks/publishing.py
    """


# Realtime


@hookspec("before")
async def realtime_connect(event: RealtimeConnect, services: Services) -> None:
    """A client is about to get a stream of changes. Raise a `GroundplaneError` to refuse it.

    A refusal is the answer to the request, also to that of a WebSocket.
    Called by: groundplane/realtime/service.py
    """


@hookspec("around")
def realtime_subscribe(event: RealtimeSubscribe, services: Services) -> AsyncIterator[None]:
    """A stream is about to hear of other topics than before: `async def` with one `yield`.

    Before the `yield` change `event.topics` in place, or raise a `GroundplaneError` to refuse; behind it they
    are effective on every node. Called in the process that holds the stream, once it is known that this
    caller may use it.
    Called by: groundplane/realtime/service.py
    """
    raise NotImplementedError


@hookspec("before")
async def realtime_message(event: RealtimeMessage, services: Services) -> None:
    """A change is about to be told to a group of subscribers that see the same record.

    Called once for the group, not for each of them, in each process that has such subscribers; `fields` of
    a topic is applied afterwards. Change `event.record` in place, or set `event.is_dropped`: then nobody of
    this group hears of it, and so it is when you raise. All messages of the process wait for you.
    Called by: groundplane/realtime/telling.py
    """


# Jobs


@hookspec("around")
def job_run(event: JobRun, services: Services) -> AsyncIterator[None]:
    """A job runs, of the server or a plugin: `async def` with one `yield`, as `record_request`.

    The exception of the run is raised at the `yield`. What you raise instead, or before, fails the run.
    Called by: groundplane/jobs/worker.py
    """
    raise NotImplementedError


@hookspec("notify")
async def job_failed(event: JobFailed, services: Services) -> None:
    """A run failed, and the job will be tried again.

    Called by: groundplane/jobs/queue.py
    """


@hookspec("notify")
async def job_dead(event: JobFailed, services: Services) -> None:
    """The last run failed, or the job gave up: nobody tries it again by itself.

    Called by: groundplane/jobs/queue.py
    """


# Settings


@hookspec("before")
async def settings_saving(event: SettingsSaving, services: Services) -> None:
    """Settings are about to be stored, by the API or a plan; inside the transaction, before the checks.

    Change `event.after` in place, or raise a `GroundplaneError` to refuse.
    Called by: groundplane/settings/service.py
    """


@hookspec("notify")
async def settings_saved(event: SettingsSaved, services: Services) -> None:
    """Settings were stored, and every process has them; called in the process that stored them.

    Called by: groundplane/settings/service.py
    """
