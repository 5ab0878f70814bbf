"""The structs that hooks receive; what may be changed in them is said at the hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from groundplane.collections.plan import Plan
    from groundplane.context import Caller, RequestInfo
    from groundplane.jobs.job import Job
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection
    from groundplane.settings.values import SettingsValues


class HealthCheck(msgspec.Struct, frozen=True):
    """One finding for `groundplane doctor`: whether it is well, and a sentence."""

    sound: bool
    text: str


class AccessRules(msgspec.Struct, frozen=True):
    """What a plugin says about who may do an action; expressions in the language of rules.

    `grant`      lets in whom the collection's own rule does not
    `deny`       keeps out whoever meets it
    `restrict`   keeps out whoever does not meet it
    """

    grant: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    restrict: tuple[str, ...] = ()


class ActorRequest(msgspec.Struct, frozen=True):
    """A request of which no token says who asks.

    `headers` have their first values by lower-case name, `Authorization` among them; `ip` is the client's.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    ip: str


class Actor(msgspec.Struct, frozen=True):
    """Who asks: a record of an auth collection, by the collection's name or id and the record's id."""

    collection: str
    id: str


class FieldVisibility(msgspec.Struct, frozen=True):
    """Who sees a field of a record; superusers always do.

    `visible`  an expression in the language of rules: where it holds the field is shown; "" shows it to nobody
    `mask`     what is shown instead; without one the field is left out, like a hidden one
    """

    field: str
    visible: str = ""
    mask: Any = msgspec.UNSET


class CollectionSaving(msgspec.Struct):
    """`before` is None for a new collection, `after` None for one that is deleted."""

    before: Collection | None
    after: Collection | None


class PlanCheck(msgspec.Struct):
    """`problems` are sentences; one is enough for the plan to be refused."""

    plan: Plan
    problems: list[str] = []


class SchemaApplied(msgspec.Struct):
    """The snapshot that this process has from now on."""

    schema: Schema


class RecordRequest(msgspec.Struct):
    """`action` is list, view, create, update or delete; `record_id` is "" for list and create."""

    action: str
    collection: Collection
    record_id: str
    info: RequestInfo


class RecordSaving(msgspec.Struct):
    """`record` and `before` map field names to stored values; `before` is None when the record is new."""

    collection: Collection
    record: dict[str, Any]
    before: Mapping[str, Any] | None
    caller: Caller | None = None
    info: RequestInfo | None = None


class RecordSaved(msgspec.Struct):
    """As RecordSaving, after the commit."""

    collection: Collection
    record: Mapping[str, Any]
    before: Mapping[str, Any] | None
    caller: Caller | None = None


class RecordDeleting(msgspec.Struct):
    """`record` holds the stored values; `is_cascade` says that another record's end takes it along."""

    collection: Collection
    record: Mapping[str, Any]
    is_cascade: bool = False
    caller: Caller | None = None


class RecordDeleted(msgspec.Struct):
    """As RecordDeleting, after the commit."""

    collection: Collection
    record: Mapping[str, Any]
    is_cascade: bool = False
    caller: Caller | None = None


class RecordWriteFailed(msgspec.Struct):
    """`error` is what the client was answered, or what became a 500; `record_id` is "" for create."""

    action: str
    collection: Collection
    record_id: str
    error: Exception
    caller: Caller | None = None


class ListQuery(msgspec.Struct):
    """`query` are the request's parameters (page, perPage, sort, filter, …); `restrict` are expressions."""

    collection: Collection
    query: dict[str, str]
    info: RequestInfo
    restrict: list[str] = []


class RecordEnrich(msgspec.Struct):
    """`items` are records of one collection as the client will get them."""

    collection: Collection
    items: Sequence[dict[str, Any]]
    info: RequestInfo


class AuthAttempt(msgspec.Struct):
    """`method` is password, oauth2, otp or refresh; `identity` is what was typed, for oauth2 the provider's name.

    For otp it is the id of the code, for refresh "".
    """

    collection: Collection
    method: str
    identity: str
    info: RequestInfo


class AuthSucceeded(msgspec.Struct):
    """`record` holds the stored values of who has signed in."""

    collection: Collection
    method: str
    record: Mapping[str, Any]
    info: RequestInfo


class PasswordCheck(msgspec.Struct):
    """`password` is the plain text: keep it nowhere. `record` holds the other values to be stored."""

    collection: Collection
    field: str
    password: str
    record: Mapping[str, Any]
    is_new: bool


class RequestFinished(msgspec.Struct, frozen=True):
    """`route` is the template of the path, "" for one that nobody serves; `path` is what was asked for.

    `duration_s` is from the arrival of the request's head to the end of the answer.
    """

    method: str
    route: str
    path: str
    status: int
    duration_s: float


class EventPublishing(msgspec.Struct):
    """`message` is what will be sent, `target` to whom: `webhook:<id>` or `sink:<plugin>.<name>`."""

    message: dict[str, Any]
    collection: Collection
    target: str
    is_dropped: bool = False


class RealtimeConnect(msgspec.Struct, frozen=True):
    """`caller` is who the request's token names, which the stream is not bound to; None for a guest.

    `headers` have their first values by lower-case name; `transport` is sse or websocket; `ip` is the client's.
    """

    transport: str
    ip: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    caller: Caller | None


class RealtimeSubscribe(msgspec.Struct):
    """`client_id` names the stream and is as secret as a token; `caller` is who it acts as from now on."""

    client_id: str
    caller: Caller | None
    topics: list[str]


class RealtimeMessage(msgspec.Struct):
    """`record` is as these subscribers may see it; `action` is create, update or delete."""

    collection: Collection
    action: str
    record: dict[str, Any]
    for_superusers: bool
    is_dropped: bool = False


class JobRun(msgspec.Struct):
    """`job.attempts` counts this run."""

    job: Job


class JobFailed(msgspec.Struct):
    """`outcome` is failed, timed_out or lost (its worker has died); `error` is a sentence."""

    job: Job
    outcome: str
    error: str


class SettingsSaving(msgspec.Struct):
    """`after` may be changed in place."""

    before: SettingsValues
    after: SettingsValues


class SettingsSaved(msgspec.Struct):
    """The settings that every process has from now on."""

    settings: SettingsValues
