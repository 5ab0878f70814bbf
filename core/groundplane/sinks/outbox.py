"""Changes of records become jobs that pass them on, in the transaction of the change."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from groundplane.db.engine import Database
from groundplane.events.changes import Change, ChangeAction
from groundplane.events.envelope import body, envelope
from groundplane.hooks.publishing import published
from groundplane.jobs.queue import Jobs
from groundplane.query.errors import QueryError
from groundplane.records.conditions import meets
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.sinks.choice import Choice
from groundplane.sinks.sink import Message

log = logging.getLogger(__name__)

KIND_PREFIX = "sink:"


class Outbox:
    """Listens for all sinks of a process; `choices` by name of the sink.

    A rolled-back change leaves no job, a committed one leaves one for every sink that wants it.
    """

    def __init__(self, db: Database, schema: SchemaCache, jobs: Jobs, choices: Mapping[str, Choice]) -> None:
        self._db = db
        self._schema = schema
        self._jobs = jobs
        self._choices = choices
        self._complained: set[tuple[str, str, int]] = set()

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        return any(choice.concerns(collection, action) for choice in self._choices.values())

    async def changed(self, change: Change) -> None:
        collection = change.collection
        for name, choice in self._choices.items():
            if not choice.concerns(collection, change.action):
                continue
            if choice.condition and not await self._meets(name, change, choice.condition):
                continue
            described = await published(
                self._jobs.hooks,
                envelope(change, fields=choice.fields or None, before=choice.before),
                collection,
                f"sink:{name}",
            )
            if described is None:
                continue
            message = Message(
                id=change.id,
                type=described["type"],
                action=change.action,
                collection=collection.name,
                record=change.record["id"],
                at=int(change.at.timestamp() * 1000),
                body=body(described),
            )
            # By the collection's id: its name may change between two events of a record.
            key = f"{KIND_PREFIX}{name}/{collection.id}/{message.record}"
            await self._jobs.add(KIND_PREFIX + name, message.payload(), order_key=key)

    async def _meets(self, name: str, change: Change, condition: str) -> bool:
        """Whether the record meets the condition; one that does not fit the collection is met by none."""
        schema = self._schema.current
        try:
            return await meets(self._db, schema, change, condition)
        except QueryError as error:
            complaint = (name, change.collection.id, schema.version)
            if complaint not in self._complained:
                self._complained.add(complaint)
                log.error(
                    "The sink %s gets no events of %s: its condition does not fit: %s",
                    name,
                    change.collection.name,
                    error,
                )
            return False
