"""What a webhook is, how it does, and what was delivered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

ACTIONS = ("create", "update", "delete")
EVERYTHING = "*"  # as a collection: all but system ones
STATES = ("waiting", "delivered", "failed")
TEST_TYPE = "webhook.test"

MINUTE, HOUR = 60.0, 3600.0
RETRIES = (5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
TIMEOUT_S = 15.0
CONCURRENCY = 4
REDACTED = "******"


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A signing secret, sealed at rest; it signs until `expires`, for ever when that is None."""

    value: str
    created: datetime
    expires: datetime | None = None


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What an administrator decides.

    `collections`   ids, or EVERYTHING
    `condition`     in the filter language; "" is always
    `fields`        of the record that are sent; empty: all that are not hidden
    `headers`       added to each request; the values are secret
    `retries`       seconds to wait after the first, second, … failed attempt; the delivery has failed after the last
    `timeout_s`     for one attempt, connecting and answer included
    `concurrency`   attempts at a time, over all processes
    """

    name: str
    url: str
    collections: tuple[str, ...]
    actions: tuple[str, ...] = ACTIONS
    condition: str = ""
    fields: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    enabled: bool = True
    timeout_s: float = TIMEOUT_S
    retries: tuple[float, ...] = RETRIES
    concurrency: int = CONCURRENCY

    def __repr__(self) -> str:
        # Headers hold tokens, and the URLs of some receivers are secrets themselves.
        return f"Definition(name={self.name!r}, …)"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How sending goes.

    `failures`    attempts that failed since the last success
    `open_until`  nothing is sent before; None while the receiver is well
    `error`       of the last failed attempt
    `problem`     what keeps events from being recorded as deliveries, e.g. a condition that no longer compiles
    """

    failures: int = 0
    failing_since: datetime | None = None
    open_until: datetime | None = None
    last_success: datetime | None = None
    last_failure: datetime | None = None
    error: str = ""
    problem: str = ""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A stored webhook; `suspended` says why the server itself stopped sending, "" when it did not.

    The values of headers and secrets may be sealed; `service.py` opens them for a sending.
    """

    id: str
    definition: Definition
    secrets: tuple[Secret, ...]
    suspended: str
    created: datetime
    updated: datetime
    health: Health = Health()

    @property
    def is_active(self) -> bool:
        """Whether changes are recorded for it."""
        return self.definition.enabled and not self.suspended

    def state(self, moment: datetime) -> str:
        """One word for people: active, failing, open (paused until a probe), suspended or disabled."""
        if not self.definition.enabled:
            return "disabled"
        if self.suspended:
            return "suspended"
        if self.health.open_until is not None and self.health.open_until > moment:
            return "open"
        return "failing" if self.health.failures or self.health.problem else "active"

    def __repr__(self) -> str:
        return f"Webhook(id={self.id!r}, name={self.definition.name!r}, …)"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one webhook.

    `event`         the event's id, which is sent as `webhook-id`: the same in every attempt and replay
    `attempts`      all attempts; `tries` those since it was queued the last time
    `status`        of the last answer; None when there was none
    `next_attempt`  when it is tried again; None when it is due or finished
    """

    id: str
    seq: int
    webhook: str
    event: str
    type: str
    collection: str
    record: str
    body: str
    state: str
    job: str
    attempts: int
    tries: int
    status: int | None
    error: str
    queued: datetime
    next_attempt: datetime | None
    created: datetime
    finished: datetime | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what came of it; `status` is None without an answer. Values of secret headers are redacted."""

    number: int
    started: datetime
    duration_ms: int
    url: str
    request_headers: Mapping[str, str]
    status: int | None
    answer_headers: list[tuple[str, str]]
    answer: str
    error: str

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def order_key(webhook: str, *record: str) -> str:
    """The key of the jobs that run in order, those of one record (collection and id) for one webhook.

    Without a record it is what the keys of all of the webhook's jobs begin with.
    """
    return "/".join(("webhook", webhook, *record)) + "/"


def definition_to_json(definition: Definition, names: Mapping[str, str]) -> dict[str, Any]:
    """A definition as the API and the file have it; `names` are those of collections by id."""
    return {
        "name": definition.name,
        "url": definition.url,
        "collections": [names.get(id, id) for id in definition.collections],
        "actions": list(definition.actions),
        "condition": definition.condition,
        "fields": list(definition.fields),
        "headers": dict(definition.headers),
        "enabled": definition.enabled,
        "timeout": definition.timeout_s,
        "retries": list(definition.retries),
        "concurrency": definition.concurrency,
    }
