"""The event sinks of a server: who they are, and how they are doing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from groundplane.clock import wire_date
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.events.changes import Changes
from groundplane.hooks.events import HealthCheck
from groundplane.jobs.job import KIND
from groundplane.jobs.queue import Jobs
from groundplane.query.errors import QueryError
from groundplane.query.rules import check_rule
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.sinks.choice import ALL, Choice
from groundplane.sinks.delivery import Delivery
from groundplane.sinks.outbox import KIND_PREFIX, Outbox
from groundplane.sinks.sink import EventSink

QUERIES = load_queries("groundplane.sinks")


class SinkState(msgspec.Struct, frozen=True, kw_only=True):
    """How a sink is doing, as the queue knows it: the same in every process.

    `waiting`         events that are not delivered yet
    `failing_since`   when the oldest of those happened that could not be delivered at once; None: all is well
    `error`           what was said last time, "" while nothing fails
    `dead`            events that were given up and can be retried, as long as the queue keeps them
    """

    name: str
    address: str
    waiting: int
    failing_since: datetime | None
    error: str
    dead: int


class EventSinks:
    """The sinks that plugins have registered, by name; none until then, which costs writes nothing."""

    def __init__(self, db: Database, schema: SchemaCache, jobs: Jobs, changes: Changes) -> None:
        self._db = db
        self._schema = schema
        self._jobs = jobs
        self._changes = changes
        self._plugins: dict[str, list[str]] = {}
        self._choices: dict[str, Choice] = {}
        self.deliveries: dict[str, Delivery] = {}

    def register(self, plugin: str, registered: Sequence[EventSink]) -> None:
        """Take a plugin's sinks, once, before jobs are run; raises ValueError with a sentence."""
        names = [f"{plugin}.{each.name}" if each.name else plugin for each in checked(registered)]
        for name in names:
            if not KIND.fullmatch(KIND_PREFIX + name):
                raise ValueError(f"{name!r} is not a name for a sink")
            if name in self.deliveries or names.count(name) > 1:
                raise ValueError(f"there are two sinks with the name {name}")
        for name, each in zip(names, registered, strict=True):
            delivery = Delivery(name, each, self._jobs)
            delivery.register()
            self.deliveries[name] = delivery
            self._plugins.setdefault(plugin, []).append(name)
            if not self._choices:
                self._changes.listeners.append(Outbox(self._db, self._schema, self._jobs, self._choices))
            self._choices[name] = each.choice

    async def state(self, name: str) -> SinkState:
        """How a sink is doing; raises KeyError for one that there is not."""
        delivery = self.deliveries[name]
        row = await self._db.fetchrow(QUERIES["state"], delivery.kind)
        values = dict(row or {}) | {"error": (row and row["error"]) or ""}
        return SinkState(name=name, address=delivery.registered.address, **values)

    async def health(self, plugin: str) -> list[HealthCheck]:
        """What `groundplane doctor` says of a plugin's sinks; for its hook `health_checks`."""
        found: list[HealthCheck] = []
        for name in self._plugins.get(plugin, ()):
            state = await self.state(name)
            where = f" to {state.address}" if state.address else ""
            if state.failing_since is not None:
                found.append(
                    HealthCheck(
                        False,
                        f"the sink {name}{where} fails since {wire_date(state.failing_since)}, "
                        f"{state.waiting} events wait: {state.error or 'they are being tried again'}",
                    )
                )
            else:
                found.append(HealthCheck(True, f"the sink {name}{where} works, {state.waiting} events wait"))
            if state.dead:
                found.append(
                    HealthCheck(
                        False,
                        f"the sink {name} gave {state.dead} events up: see the dead jobs of the kind "
                        f"{KIND_PREFIX}{name}",
                    )
                )
            found += [HealthCheck(False, text) for text in self._problems(name)]
        return found

    def _problems(self, name: str) -> list[str]:
        """What is wrong with a sink's choice for the collections that there are now."""
        choice, schema = self._choices[name], self._schema.current
        problems = [
            f"the sink {name} wants events of {each}, and there is no such collection"
            for each in choice.collections
            if each != ALL and schema.get(each) is None
        ]
        for collection in schema:
            if problem := self._condition_problem(choice, collection):
                problems.append(f"the sink {name} gets no events of {collection.name}: {problem}")
        return problems

    def _condition_problem(self, choice: Choice, collection: Collection) -> str:
        wanted = any(choice.concerns(collection, action) for action in choice.actions)
        if choice.condition and wanted and not collection.is_view:
            try:
                check_rule(self._schema.current, collection, choice.condition)
            except QueryError as error:
                return f"its condition does not fit: {error}"
        return ""

    async def close(self) -> None:
        """Close what is open, at the end of the process."""
        for delivery in self.deliveries.values():
            await delivery.close()


def checked(registered: Any) -> Sequence[EventSink]:
    if not isinstance(registered, list | tuple) or not all(
        isinstance(each, EventSink) for each in registered
    ):
        raise ValueError("register_event_sinks must return a list of EventSink")
    return registered
