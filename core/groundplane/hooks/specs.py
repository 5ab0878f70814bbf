"""Every hook, in the order in which things happen; this module is the contract with plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from groundplane.hooks import hookspec

if TYPE_CHECKING:
    import click

    from groundplane.hooks.events import (
        AccessRules,
        AuthAttempt,
        AuthSucceeded,
        CollectionSaving,
        HealthCheck,
        ListQuery,
        PasswordCheck,
        PlanCheck,
        RecordDeleted,
        RecordDeleting,
        RecordEnrich,
        RecordRequest,
        RecordSaved,
        RecordSaving,
        RecordWriteFailed,
        SchemaApplied,
        SettingsSaved,
        SettingsSaving,
    )
    from groundplane.hooks.routes import Route
    from groundplane.schema.collection import Collection
    from groundplane.services import Services

# Registration and start


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
    Called by: groundplane/cli.py
    """
    raise NotImplementedError


@hookspec("collect")
async def startup(config: object, services: Services) -> None:
    """The services are open: the database is migrated, schema and settings are loaded.

    Runs in every process that opens them, commands too, before the first request.
    A plugin that raises, or takes longer than 30 s, is broken and stays out; the server goes on.

    `config`     the plugin's configuration, an instance of its class `Config`; None without one

    Called by: groundplane/hooks/manager.py
    """


@hookspec("notify")
async def ready(services: Services) -> None:
    """A web worker begins to answer. Runs beside the first requests.

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
    """Findings for `groundplane doctor`. An exception is a finding too: that the plugin fails.

    Called by: groundplane/doctor.py
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


# Requests for records


@hookspec("around")
def record_request(event: RecordRequest, services: Services) -> AsyncIterator[None]:
    """A request for records, of the API or an item of a batch: `async def` with one `yield`.

    What stands before the `yield` runs before any rule, what stands behind it after the commit.
    The request's exception is raised at the `yield`: let it pass, or raise a `GroundplaneError` instead;
    swallowing it changes nothing. Raise before the `yield` to refuse the request.
    Called by: groundplane/records/service.py
    """
    raise NotImplementedError


@hookspec("before")
async def list_query(event: ListQuery, services: Services) -> None:
    """A list is about to be read, outside of a transaction.

    Change `event.query`: the parameters as the client sent them, with their rules and limits.
    Add expressions to `event.restrict`: only records that meet all of them are found. One that does not
    compile is answered 400. The collection's rule applies whatever you do.
    Called by: groundplane/records/service.py
    """


@hookspec("before")
async def record_enrich(event: RecordEnrich, services: Services) -> None:
    """Records of one collection are about to be answered: a page, one record, or what an expand brought.

    Called once for all of them. Change the objects of `event.items` in place: add, change or remove
    members; `fields` of the request is applied afterwards. They are what the client may see already.
    Called by: groundplane/records/service.py
    """


# Changing records


@hookspec("before")
async def password_check(event: PasswordCheck, services: Services) -> None:
    """A new password has passed its field's checks. Raise `Invalid` with a field error to refuse it.

    Not for passwords that are only compared. Runs before the transaction of a create, inside that of an update.
    Called by: groundplane/records/service.py
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
    Called by: groundplane/records/service.py
    """


@hookspec("before")
async def record_deleting(event: RecordDeleting, services: Services) -> None:
    """A record is about to be deleted, for itself or along with another.

    As `record_saving`: inside the transaction, raise to refuse. Refusing a cascade refuses all of it.
    Called by: groundplane/records/deleting.py
    """


@hookspec("notify")
async def record_saved(event: RecordSaved, services: Services) -> None:
    """A record was written and the transaction has committed.

    Each plugin gets its events one after another in the order of the commits in this process, apart
    from the request and from other plugins. At most once: what waits when a process is killed is lost.
    An exception, or more than 10 s, is logged and counted.
    Called by: groundplane/records/service.py
    """


@hookspec("notify")
async def record_deleted(event: RecordDeleted, services: Services) -> None:
    """A record was deleted and the transaction has committed; otherwise as `record_saved`.

    Called by: groundplane/records/deleting.py
    """


@hookspec("notify")
async def record_write_failed(event: RecordWriteFailed, services: Services) -> None:
    """A create, update or delete came to nothing: refused, or failed. The transaction is rolled back.

    Called by: groundplane/records/service.py
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
