"""The structs that hooks receive; what may be changed in them is said at the hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from groundplane.collections.plan import Plan
    from groundplane.context import Caller, RequestInfo
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
    """`method` is password or refresh; `identity` is what was typed, "" where nothing is."""

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


class SettingsSaving(msgspec.Struct):
    """`after` may be changed in place."""

    before: SettingsValues
    after: SettingsValues


class SettingsSaved(msgspec.Struct):
    """The settings that every process has from now on."""

    settings: SettingsValues
