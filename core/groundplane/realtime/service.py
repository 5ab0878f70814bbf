"""Streams of changes: any worker takes a subscription, and whoever may see a record hears of it on any worker.

What happens with a change: its transaction writes it to the log (`log.py`) if anybody on any node listens to the
collection. After the commit the other processes are woken by a message. Each process that has such streams reads
what is new since its last reading, asks the database once for each rule who may hear of it (`judge.py`), and
queues one frame for each subscription (`clients.py`).

Alternatives: the change itself in the message costs every node its decoding, is lost with the sender, and does
not fit a notification; logical decoding needs a slot, a superuser and a restart of a database that is not ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context
from typing import Any

import msgspec

from groundplane.broker.broker import Broker
from groundplane.config import RealtimeConfig
from groundplane.context import Caller
from groundplane.db.engine import Database
from groundplane.errors import GroundplaneError
from groundplane.events.changes import Change, ChangeAction
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import RealtimeConnect, RealtimeSubscribe
from groundplane.realtime.channel_rules import ChannelRules
from groundplane.realtime.channels import Channels
from groundplane.realtime.clients import Client, Clients, Subscription, grouped, tail_of
from groundplane.realtime.deletions import Deletions
from groundplane.realtime.interest import Interest
from groundplane.realtime.judge import Judge
from groundplane.realtime.log import (
    LOADED,
    Event,
    EventLog,
    Position,
    age_s,
    position_of,
    read_cursor,
    standing,
)
from groundplane.realtime.telling import Telling, send
from groundplane.realtime.topics import read_topic
from groundplane.records.service import Records
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)

WAKE = "rt-wake"  # channel of the broker
LOOK_S = 2.0  # between two looks for what nobody told of: its sender may have died between commit and message
KEEP_UP_S = 30.0  # between two renewals of what this process wants to hear of
PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
MANY = 100  # frames of one reading, behind which the reader rests
REST_S, LONGEST_REST_S = 6e-5, 0.025  # for each of them, about twice what it has cost
WAKE_REST_S = 0.005  # between two messages that wake the other processes
MAX_READ = 1000  # changes at a time
MAX_REPLAYED = 5000  # events; a client that missed more than that loads afresh
CONNECT, REPLAY = "PB_CONNECT", "@replay"


class Realtime:
    """The realtime side of one process.

    `changes.listeners` has it as a listener; `subscribe` is for the streams of this process (`remote.py` finds
    the others).
    """

    def __init__(
        self,
        db: Database,
        schema: SchemaCache,
        records: Records,
        broker: Broker,
        config: RealtimeConfig,
        hooks: Hooks,
    ) -> None:
        self._db = db
        self._schema = schema
        self._records = records
        self._broker = broker
        self._hooks = hooks
        self.clients = Clients(broker.process, max_clients=config.max_clients)
        self.log = EventLog(db, schema)
        self.channels = Channels(ChannelRules(config.channels, db, schema), self.clients, broker)
        # Refuses what the caller's service key does not cover; set by whoever knows keys.
        self.check_topics: Callable[[Caller, Sequence[str]], None] | None = None
        self._telling = Telling(schema, records, Judge(db), hooks)
        self.deletions = Deletions(schema, self.log, self.clients, broker, self._telling.messages)
        self._telling.park(self.deletions.parked)
        self.interest = Interest(self.log, schema, self.clients, broker, config)
        self._snapshot = ""  # how far this process has read; "" while it has nobody to tell
        self._sent = 0  # frames, since the last rest
        self._read_at = 0.0  # when it began to read last, as `time.monotonic`
        self._begun: Position | None = None  # how far behind that, while it is in the middle of a reading
        self._reading = asyncio.Lock()
        self._woken = asyncio.Event()
        self._announcing: asyncio.Task[None] | None = None
        self._announce_again = False
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._seen_schema: Schema | None = None
        broker.subscribe(WAKE, self._on_wake)
        broker.on_reconnect(self._catch_up)

    async def start(self) -> None:
        """Learn what the other processes want to hear of, and begin to read."""
        await self.interest.load()
        await self.channels.start()
        for work in (self._read_on, self._keep_up):
            self._tasks.append(asyncio.create_task(work(), name="realtime"))

    async def close(self) -> None:
        """End all streams and stop."""
        self.end_streams()
        for client in self.clients:
            self.clients.close(client)  # the others hear at once who has left
        for task in self._tasks:
            task.cancel()
        if self._announcing is not None:
            self._tasks.append(self._announcing)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self.channels.close()

    def end_streams(self) -> None:
        """Close every stream, so that its client connects to another process; new ones are refused."""
        self._is_closed = True
        for client in self.clients:
            client.end("the server stops")

    # Writing: a listener of `events/changes.py`

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        return collection.id in self.interest.logged

    async def changed(self, change: Change) -> None:
        verdict = ""
        if change.action == "delete":
            verdict = self.deletions.name_of(change.collection, change.record["id"])
        await self.log.write(change, verdict)
        await self._db.after_commit(self._announce)

    async def deleting(self, collection: Collection, records: Sequence[Mapping[str, Any]]) -> None:
        """Before records are deleted: have it judged who may hear of it, where that cannot wait."""
        if self.interest.logged.get(collection.id) and records:
            await self.deletions.announce(collection, records)

    async def have_all_load_again(self) -> None:
        """Tell every client that more has changed than it will hear of; inside the transaction that changed it."""
        await self.log.write_loaded()
        await self._db.after_commit(self._announce)

    async def _announce(self) -> None:
        """Wake the readers, this process at once and the others by a message; many commits share one."""
        self._woken.set()
        self._announce_again = True
        if self._announcing is None or self._announcing.done():
            # An empty context: the task is nobody's transaction.
            self._announcing = asyncio.get_running_loop().create_task(self._send_wake(), context=Context())

    async def _send_wake(self) -> None:
        while self._announce_again:
            self._announce_again = False
            try:
                await self._broker.publish(WAKE, self.clients.process.encode())
            except GroundplaneError as error:
                log.warning("Other processes hear of changes some seconds later: %s", error)
            await asyncio.sleep(WAKE_REST_S)

    # Streams

    async def admit(self, request: RealtimeConnect) -> None:
        """Ask plugins whether there may be a stream; raises what refuses it."""
        if self._hooks.realtime_connect:
            await self._hooks.realtime_connect(event=request)

    async def open(self, ip: str, remote_ip: str, since: str = "", *, kind: type[Client] = Client) -> Client:
        """Make a stream; its first event is queued already. Raises Unavailable when there are too many."""
        client = self.clients.open(ip, remote_ip, since, kind)
        hello = {"clientId": client.id}
        with contextlib.suppress(GroundplaneError):
            # Where a client stands that has heard nothing yet.
            head = await self.log.head()
            hello["cursor"] = standing(head).cursor()
        client.put(CONNECT, msgspec.json.encode(hello))
        if self._is_closed:
            client.end("the server stops")
        return client

    async def subscribe(self, client: Client, caller: Caller | None, topics: Sequence[str]) -> None:
        """Bind a caller and replace the subscriptions; when it returns they are effective on every node."""
        hook = self._hooks.realtime_subscribe
        if not hook:
            await self._subscribe(client, caller, topics)
            return
        event = RealtimeSubscribe(client.id, caller, list(topics))
        async with hook(event=event):
            await self._subscribe(client, caller, [str(topic) for topic in event.topics])

    def sign_out(
        self, has_ended: Callable[[Caller], bool], collection_id: str = "", record_id: str = ""
    ) -> None:
        """Make guests of the streams whose caller's session or key has ended; those of one record, or of all."""
        bound = self.clients.bound
        keys = [(collection_id, record_id)] if collection_id else list(bound)
        for key in keys:
            for client in list(bound.get(key, ())):
                if client.caller is not None and has_ended(client.caller):
                    self.clients.bind(client, None)
                    self._leave_channels(client)

    def _leave_channels(self, client: Client) -> None:
        """Have the channels of a client looked at again, which takes a moment."""
        task = asyncio.create_task(self.channels.look_again([client]), context=Context())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _subscribe(self, client: Client, caller: Caller | None, topics: Sequence[str]) -> None:
        if caller is not None and self.check_topics is not None:
            self.check_topics(caller, topics)
        wanted = self.interest.ids(read_topic(topic).collection for topic in topics)
        if caller is not None:
            wanted.add(caller.collection_id)
        await self.interest.want(dict.fromkeys(wanted, False))
        asked = time.monotonic()
        async with self._reading:
            # What has happened before is told to those who were here before; requests that wait share a reading.
            with contextlib.suppress(GroundplaneError):
                while self._snapshot and self._read_at < asked:
                    await self._read()
            if not self._snapshot:
                self._snapshot = await self.log.head()
            if self._seen_schema is not self._schema.current:
                # Before it is bound: a collection made just now has not changed its secret.
                await self._on_schema()
            self.clients.bind(client, caller)
            self.clients.subscribe(client, topics)
            await self.interest.want(self.interest.depth(client.subscriptions.values()))
            if client.since and topics:
                since, client.since = client.since, ""
                await self._replay(client, since)
        await self.channels.settle(client)

    def send_once(self, client: Client, topic: str, data: bytes) -> bool:
        """Send one event of a topic and end that subscription; false when the client has none."""
        if topic not in client.subscriptions:
            return False
        client.put(topic, data)
        self.clients.subscribe(client, [text for text in client.subscriptions if text != topic])
        return True

    # Reading

    async def _on_wake(self, sender: bytes) -> None:
        if sender.decode() != self.clients.process:
            self._woken.set()

    async def _catch_up(self) -> None:
        await self.interest.load()
        self._woken.set()

    async def _read_on(self) -> None:
        """Tell what is new whenever something is; a failure is tried again and loses nothing."""
        pause_s, looked = PAUSE_S, 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            if (now := time.monotonic()) - looked >= LOOK_S:
                self.clients.look_at_the_clock()
                looked = now
            self._woken.clear()
            try:
                self._sent = 0
                async with self._reading:
                    await self._read()
                pause_s = PAUSE_S
                if self._sent >= MANY:
                    # Requests have their turn, and what happens meanwhile costs one reading, and one write for each.
                    await asyncio.sleep(min(self._sent * REST_S, LONGEST_REST_S))
            except Exception as error:
                if isinstance(error, GroundplaneError):
                    log.warning("Changes cannot be read yet: %s (%s)", error, error.__cause__)
                else:
                    log.exception("Changes could not be told")
                self._woken.set()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _read(self) -> None:
        if self._seen_schema is not self._schema.current:
            await self._on_schema()
        wanted = self.interest.here()
        if not wanted:
            self._snapshot, self._begun = "", None
            return
        if not self._snapshot:
            self._snapshot = await self.log.head()
            return
        # In parts, because an import or the end of a collection can be a million changes.
        begun = self._begun
        if begun is None:
            self._read_at = time.monotonic()
            upto, events = await self.log.since(self._snapshot, wanted, MAX_READ)
            begun = Position(self._snapshot, upto, 0, 0)
        else:
            events = await self.log.missed(begun, begun.upto, wanted, MAX_READ)
        while events:
            for part in self._between_changes_of_callers(events):
                await self._rebind(part)
                await self._tell(part, begun.before, begun.upto)
                # When the next part fails, the reading goes on from here, and nobody hears anything twice.
                self._begun = begun = position_of(begun.before, begun.upto, part[-1])
            if len(events) < MAX_READ:
                break
            events = await self.log.missed(begun, begun.upto, wanted, MAX_READ)
        self._snapshot, self._begun = begun.upto, None

    def _between_changes_of_callers(self, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
        """The events in parts that begin with a change of somebody who listens, who saw the others as before."""
        first = 0
        for place, event in enumerate(events):
            if place > first and (event.collection, event.record) in self.clients.bound:
                yield events[first:place]
                first = place
        if first < len(events):
            yield events[first:]

    async def _on_schema(self) -> None:
        """Collections may have come or gone, and with them who somebody is (contract, realtime §3.2)."""
        before, self._seen_schema = self._seen_schema, self._schema.current
        for (collection_id, _), clients in list(self.clients.bound.items()):
            if before is None or secret_of(before, collection_id) != secret_of(
                self._seen_schema, collection_id
            ):
                changed = list(clients) if before is not None else []
                for client in changed:
                    self.clients.bind(client, None)
                await self.channels.look_again(changed)
        await self.interest.want(self.interest.wants())

    async def _rebind(self, events: Sequence[Event]) -> None:
        """Take the newer version of records that clients act as, or make guests of them."""
        bound = self.clients.bound
        schema = self._schema.current
        for key in dict.fromkeys((event.collection, event.record) for event in events):
            clients = list(bound.get(key, ()))
            if not clients:
                continue
            collection = schema.by_id.get(key[0])
            record = None
            if collection is not None:
                record = await self._records.find_one(collection, 'r."id" = $1', key[1])
            for client in clients:
                caller = client.caller
                if caller is None:
                    continue
                same = record is not None and record["tokenKey"] == caller.record.get("tokenKey")
                self.clients.bind(client, msgspec.structs.replace(caller, record=record) if same else None)
            await self.channels.look_again(clients)

    async def _tell(self, events: Sequence[Event], before: str, upto: str) -> None:
        """Queue what everybody may hear of these events, in their order."""
        messages = await self._telling.told(
            events, lambda named, event: self.clients.interested(named.id, named.name, event.record)
        )
        told: set[Client] = set()
        self._sent += sum(len(each) for found in messages.values() for each, _ in found)
        for event in events:
            if event.seq in messages:
                told |= send(event, messages[event.seq], position_of(before, upto, event).cursor())
            elif event.collection == LOADED:
                told |= self._tell_to_load(position_of(before, upto, event).cursor())
        for client in told:
            client.flush()

    def _tell_to_load(self, cursor: str) -> set[Client]:
        """Queue for all who listen to records that they have to load them again; returns them."""
        data = replayed(cursor, complete=False)
        tail = tail_of(REPLAY, data)
        told = {client for client in self.clients if client.subscriptions}
        for client in told:
            client.queue(REPLAY, data, tail)
        return told

    async def _replay(self, client: Client, since: str) -> None:
        """Tell what happened since a cursor, under today's rules, then whether that was all of it."""
        by_base: dict[tuple[str, str], list[Subscription]] = {}
        for each in client.subscriptions.values():
            by_base.setdefault((each.topic.collection, each.topic.record), []).append(each)
        position = read_cursor(since)
        complete = False
        if position is not None:
            schema = self._schema.current
            ids = self.interest.ids(collection for collection, _ in by_base)
            kept_s = min((self.interest.kept_s(schema.by_id[id].name) for id in ids), default=0.0)
            events = await self.log.missed(position, self._snapshot, ids, MAX_REPLAYED + 1)
            complete = len(events) <= MAX_REPLAYED and (age_s(position) < kept_s or not ids)
            complete = complete and not any(event.collection == LOADED for event in events)
            if complete:
                groups = {base: grouped(each) for base, each in by_base.items()}
                messages = await self._telling.told(
                    events,
                    lambda named, event: [
                        each
                        for name in (named.name, named.id)
                        for record in ("", event.record)
                        for each in groups.get((name, record), ())
                    ],
                    again=True,
                )
                for event in events:
                    # Whoever is cut off in the middle of this asks for all of it again.
                    send(event, messages.get(event.seq, ()), since)
        client.put(REPLAY, replayed(standing(self._snapshot).cursor(), complete=complete))

    # Keeping

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(KEEP_UP_S)
            try:
                await self.interest.renew(self.interest.wants())
                await self.interest.load()
                if self.interest.logged:
                    await self.interest.forget()
            except GroundplaneError as error:
                log.warning("The log of changes was not looked after: %s", error)


def replayed(cursor: str, *, complete: bool) -> bytes:
    """What a client is told about what it has missed."""
    return msgspec.json.encode({"complete": complete, "cursor": cursor})


def secret_of(schema: Schema, collection_id: str) -> str | None:
    """The secret of a collection's auth tokens; None when there is no such collection."""
    collection = schema.by_id.get(collection_id)
    if collection is None or collection.options is None:
        return None
    return collection.options.auth_token.secret
