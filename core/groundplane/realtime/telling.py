"""What each stream is sent for a change: who may hear of it, and the record as each of them may see it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from groundplane.context import RequestInfo
from groundplane.errors import GroundplaneError
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import RealtimeMessage
from groundplane.query.restricted import restricts
from groundplane.realtime.clients import Client, Group, Subscription, tail_of
from groundplane.realtime.judge import Judge
from groundplane.realtime.log import Event
from groundplane.records.project import BadFields, project
from groundplane.records.service import Records
from groundplane.records.wire import encode
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection

Look: TypeAlias = tuple[bool, str, str, str]  # superuser, collection and id of the caller, expand
Message: TypeAlias = "tuple[Sequence[Subscription], bytes]"  # of one topic, and the record for them
Interested: TypeAlias = Callable[[Collection, Event], Sequence[Group]]


class Telling:
    """Makes messages; `parked` knows those of deletions that were judged before (`deletions.py`)."""

    def __init__(self, schema: SchemaCache, records: Records, judge: Judge, hooks: Hooks) -> None:
        self._schema = schema
        self._records = records
        self._judge = judge
        self._hooks = hooks
        self._parked: Callable[[Event], list[Message] | None] = lambda event: None

    def park(self, parked: Callable[[Event], list[Message] | None]) -> None:
        """Use these messages where there are any."""
        self._parked = parked

    async def told(
        self,
        events: Sequence[Event],
        interested: Interested,
        *,
        again: bool = False,
    ) -> dict[int, list[Message]]:
        """Who hears of events, by their numbers; `again` says that others have heard of them before."""
        by_collection: dict[str, list[Event]] = {}
        for event in events:
            by_collection.setdefault(event.collection, []).append(event)
        messages: dict[int, list[Message]] = {}
        for collection_id, group in by_collection.items():
            collection = self._schema.current.by_id.get(collection_id)
            if collection is None:
                continue
            concerned: dict[int, Sequence[Group]] = {}
            for event in group:
                parked = None if again else self._parked(event)
                if parked is None:
                    concerned[event.seq] = interested(collection, event)
                else:
                    messages[event.seq] = parked
            messages |= await self.messages(collection, group, concerned)
        return messages

    async def messages(
        self, collection: Collection, events: Sequence[Event], concerned: Mapping[int, Sequence[Group]]
    ) -> dict[int, list[Message]]:
        """Who hears of these events of one collection, and the record as each may see it."""
        schema = self._schema.current
        numbers: dict[Group, set[int]] = {}
        for seq, groups in concerned.items():
            for group in groups:
                numbers.setdefault(group, set()).add(seq)
        if not numbers:
            return {}
        allowed = await self._judge.allowed(schema, collection, events, numbers)
        heard = sorted({seq for each in allowed.values() for seq in each})
        if not heard:
            return {}
        rows = await self._judge.rows(schema, collection, heard)
        looks: dict[Look, dict[int, dict[str, Any]]] = {}
        bodies: dict[tuple[Look, str, int], bytes] = {}
        messages: dict[int, list[Message]] = {}
        for look, subscriptions, seqs in self._by_look(collection, allowed):
            subscription = subscriptions[0]
            if look not in looks:
                shown = await self._shown(collection, rows, subscription)
                looks[look] = await self._edited(collection, events, shown, is_superuser=look[0])
            fields = subscription.topic.query.get("fields", "")
            for seq in seqs:
                if seq not in looks[look]:
                    continue  # it was removed from the log meanwhile, or a plugin drops it
                body = bodies.get((look, fields, seq))
                if body is None:
                    body = bodies[look, fields, seq] = body_of(looks[look][seq], fields)
                messages.setdefault(seq, []).append((subscriptions, body))
        return messages

    def _by_look(
        self, collection: Collection, allowed: Mapping[Group, set[int]]
    ) -> Iterator[tuple[Look, Sequence[Subscription], set[int]]]:
        """The groups as they are; each subscription alone where a plugin's word on fields may part them."""
        is_restricted = restricts(self._schema.current)
        for group, seqs in allowed.items():
            if not is_restricted:
                yield self._look(collection, group.leader), group.members, seqs
                continue
            for each in group.members:
                yield self._look(collection, each), [each], seqs

    def _look(self, collection: Collection, subscription: Subscription) -> Look:
        """What decides how a record looks: who has the same gets the same bytes."""
        caller = subscription.client.caller
        expand = subscription.topic.query.get("expand", "")
        is_superuser = caller is not None and caller.is_superuser
        if not is_superuser and restricts(self._schema.current):
            # A plugin's word on fields may depend on anything of the request that subscribed.
            return is_superuser, "", f"{id(subscription):x}", expand
        if caller is None or not (collection.is_auth or expand or not self._records.reads_are_plain):
            return is_superuser, "", "", expand
        return is_superuser, caller.collection_id, caller.id, expand

    async def _shown(
        self, collection: Collection, rows: Mapping[int, dict[str, Any]], subscription: Subscription
    ) -> dict[int, dict[str, Any]]:
        expand = subscription.topic.query.get("expand", "")
        info: RequestInfo = subscription.info
        shown = await self._records.enrich(collection, list(rows.values()), info, expand=expand)
        return dict(zip(rows, shown, strict=True))

    async def _edited(
        self,
        collection: Collection,
        events: Sequence[Event],
        shown: dict[int, dict[str, Any]],
        *,
        is_superuser: bool,
    ) -> dict[int, dict[str, Any]]:
        """The records as plugins leave them, without those that they drop."""
        hook = self._hooks.realtime_message
        if not hook or not hook.concerns(collection):
            return shown
        left: dict[int, dict[str, Any]] = {}
        for each in events:
            if each.seq not in shown:
                continue
            # Plain values, and the plugins' own: others may be shown the same lists.
            record = msgspec.json.decode(encode(shown[each.seq]))
            event = RealtimeMessage(collection, each.action, record, is_superuser)

            def check(event: RealtimeMessage = event) -> None:
                msgspec.convert(event.record, dict[str, Any], strict=True)
                encode(event.record)

            # Who refuses, or fails, must not hold up what others hear; a failure is logged where it happens.
            with contextlib.suppress(GroundplaneError):
                await hook(collection, check=check, event=event)
                if not event.is_dropped:
                    left[each.seq] = event.record
        return left


def body_of(item: Mapping[str, Any], fields: str) -> bytes:
    """The record's JSON; `fields` picks from it, and a list of fields that cannot be read picks everything."""
    value: Any = item
    if fields:
        with contextlib.suppress(BadFields):
            value = project(item, fields)
    return encode(value).rstrip(b"\n")


def send(event: Event, messages: Iterable[Message], cursor: str) -> set[Client]:
    """Queue an event for those who hear of it; returns them, to be flushed when all events are queued."""
    ending = b',"action":"%b","cursor":"%b"}' % (event.action.encode(), cursor.encode())
    made: dict[tuple[str, int], tuple[bytes, bytes]] = {}
    clients: set[Client] = set()
    for subscriptions, body in messages:
        if not subscriptions:
            continue
        text = subscriptions[0].topic.text
        key = (text, id(body))
        shared = made.get(key)
        if shared is None:
            data = b'{"record":' + body + ending
            shared = made[key] = data, tail_of(text, data)
        data, tail = shared
        for each in subscriptions:
            client = each.client
            client.queue(text, data, tail)
            clients.add(client)
    return clients
