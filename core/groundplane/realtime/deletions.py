"""Deletions are judged before they happen: a rule may look at what goes along with the record.

The transaction that deletes waits while every process that has concerned streams asks who may hear of it, on
connections of their own, which see all that is still there (contract, realtime §4.1). What they find is parked
under a name; the change in the log carries the name, and is told to those who were found. That is done only for
collections to which somebody listens with a rule, a filter or an expansion that reads other records.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from groundplane.broker.broker import Broker
from groundplane.errors import GroundplaneError
from groundplane.realtime.clients import Clients, Group, Subscription
from groundplane.realtime.log import Event, EventLog
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.security.ids import record_id

log = logging.getLogger(__name__)

JUDGE = "rt-judge"
PATIENCE_S = 2.0  # that a deletion waits for the other processes
PARKED_S = 60.0
MAX_PARKED = 10_000
UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)

Message: TypeAlias = "tuple[Sequence[Subscription], bytes]"
Messages: TypeAlias = Callable[
    [Collection, Sequence[Event], Mapping[int, Sequence[Group]]], Awaitable[dict[int, list[Message]]]
]


class Doomed(msgspec.Struct):
    """What is judged: records of a collection by their ids, and the numbers under which they were written."""

    name: str
    collection: str
    records: dict[str, int]


class Deletions:
    """Both ends of it: the process that deletes, and those that have streams."""

    def __init__(
        self, schema: SchemaCache, log: EventLog, clients: Clients, broker: Broker, messages: Messages
    ) -> None:
        self._schema = schema
        self._log = log
        self._clients = clients
        self._broker = broker
        self._messages = messages
        self._names: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._parked: OrderedDict[str, tuple[float, dict[str, list[Message]]]] = OrderedDict()
        broker.subscribe(JUDGE, self._on_judge)

    async def announce(self, collection: Collection, records: Sequence[Mapping[str, Any]]) -> None:
        """Have it judged who may hear that these records go; inside the transaction that deletes them."""
        # Another task, because this one's statements would be part of the transaction.
        task = asyncio.get_running_loop().create_task(self._judged(collection, records), context=Context())
        try:
            name = await task
        except GroundplaneError as error:
            log.warning("A deletion is judged when it has happened: %s", error)
            return
        for record in records:
            self._names[collection.id, record["id"]] = name
        while len(self._names) > MAX_PARKED:
            self._names.popitem(last=False)

    async def _judged(self, collection: Collection, records: Sequence[Mapping[str, Any]]) -> str:
        name = record_id()
        numbers = {record["id"]: await self._log.write_doomed(collection, record) for record in records}
        doomed = msgspec.json.encode(Doomed(name, collection.id, numbers))
        await self._broker.publish_and_wait(JUDGE, doomed, timeout_s=PATIENCE_S)
        return name

    def name_of(self, collection: Collection, record: str) -> str:
        """The name under which a deleted record was judged, once; "" when it was not."""
        return self._names.pop((collection.id, record), "")

    def parked(self, event: Event) -> list[Message] | None:
        """Who was found to hear of a deletion; None when this process has not judged it."""
        found = self._parked.get(event.verdict) if event.verdict else None
        if found is None:
            return None
        return [
            ([each for each in subscriptions if is_open(each)], body)
            for subscriptions, body in found[1].get(event.record, ())
        ]

    async def _on_judge(self, payload: bytes) -> None:
        now = time.monotonic()
        while self._parked and (
            len(self._parked) > MAX_PARKED or next(iter(self._parked.values()))[0] < now - PARKED_S
        ):
            self._parked.popitem(last=False)
        doomed = msgspec.json.decode(payload, type=Doomed)
        collection = self._schema.current.by_id.get(doomed.collection)
        if collection is None:
            return
        concerned = {
            number: self._clients.interested(collection.id, collection.name, record)
            for record, number in doomed.records.items()
        }
        if not any(concerned.values()):
            return
        events = [
            Event(number, UNKNOWN_TIME, collection.id, record, "delete", "")
            for record, number in doomed.records.items()
        ]
        messages = await self._messages(collection, events, concerned)
        by_record = {record: messages.get(number, []) for record, number in doomed.records.items()}
        self._parked[doomed.name] = (now, by_record)


def is_open(subscription: Subscription) -> bool:
    """Whether the client still has this subscription."""
    return subscription.client.subscriptions.get(subscription.topic.text) is subscription
