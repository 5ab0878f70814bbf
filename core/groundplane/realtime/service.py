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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import Context
from typing import Any, TypeAlias

import msgspec

from groundplane.broker.broker import Broker
from groundplane.config import RealtimeConfig
from groundplane.context import Caller
from groundplane.db.engine import Database
from groundplane.errors import GroundplaneError
from groundplane.events.changes import Change, ChangeAction
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import RealtimeConnect, RealtimeSubscribe
from groundplane.realtime.clients import Client, Clients, Subscription
from groundplane.realtime.deletions import Deletions
from groundplane.realtime.judge import Check, Judge, check_of
from groundplane.realtime.log import Event, EventLog, Position, age_s, position_of, read_cursor, standing
from groundplane.realtime.telling import Telling, send
from groundplane.realtime.topics import named, read_topic
from groundplane.records.service import Records
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)

WAKE, INTEREST = "rt-wake", "rt-interest"  # channels of the broker
LOOK_S = 2.0  # between two looks for what nobody told of: its sender may have died between commit and message
KEEP_UP_S = 30.0  # between two renewals of what this process wants to hear of
SLACK_S = 90.0  # that an interest outlives its last renewal
SHORTEST_KEPT_S = 60.0  # of the log, for processes that are behind
PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
MAX_READ = 1000  # changes at a time
MAX_REPLAYED = 5000  # events; a client that missed more than that loads afresh
CONNECT, REPLAY = "PB_CONNECT", "@replay"

Look: TypeAlias = tuple[bool, str, str, str]  # superuser, collection and id of the caller, expand
Message: TypeAlias = "tuple[Subscription, bytes]"


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
        self._config = config
        self._hooks = hooks
        self.clients = Clients(broker.process, max_clients=config.max_clients)
        self.log = EventLog(db, schema)
        self._telling = Telling(schema, records, Judge(db), hooks)
        self.deletions = Deletions(schema, self.log, self.clients, broker, self._telling.messages)
        self._telling.park(self.deletions.parked)
        # Of all processes: changes of these collections are logged, and deletions judged before where it is true.
        self._interest: dict[str, bool] = {}
        self._snapshot = ""  # how far this process has read; "" while it has nobody to tell
        self._begun: Position | None = None  # how far behind that, while it is in the middle of a reading
        self._reading = asyncio.Lock()
        self._woken = asyncio.Event()
        self._announcing: asyncio.Task[None] | None = None
        self._announce_again = False
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False
        self._seen_schema: Schema | None = None
        self._wanted: set[str] = set()
        self._wanted_for: tuple[int, Schema | None] = (-1, None)
        broker.subscribe(WAKE, self._on_wake)
        broker.subscribe(INTEREST, self._on_interest)
        broker.on_reconnect(self._catch_up)

    async def start(self) -> None:
        """Learn what the other processes want to hear of, and begin to read."""
        self._interest = await self.log.interest()
        for work in (self._read_on, self._keep_up):
            self._tasks.append(asyncio.create_task(work(), name="realtime"))

    async def close(self) -> None:
        """End all streams and stop."""
        self.end_streams()
        for task in self._tasks:
            task.cancel()
        if self._announcing is not None:
            self._tasks.append(self._announcing)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def end_streams(self) -> None:
        """Close every stream, so that its client connects to another process; new ones are refused."""
        self._is_closed = True
        for client in self.clients:
            client.end("the server stops")

    # Writing: a listener of `events/changes.py`

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        return collection.id in self._interest

    async def changed(self, change: Change) -> None:
        verdict = ""
        if change.action == "delete":
            verdict = self.deletions.name_of(change.collection, change.record["id"])
        await self.log.write(change, verdict)
        await self._db.after_commit(self._announce)

    async def deleting(self, collection: Collection, records: Sequence[Mapping[str, Any]]) -> None:
        """Before records are deleted: have it judged who may hear of it, where that cannot wait."""
        if self._interest.get(collection.id) and records:
            await self.deletions.announce(collection, records)

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

    async def _subscribe(self, client: Client, caller: Caller | None, topics: Sequence[str]) -> None:
        wanted = self._ids(read_topic(topic).collection for topic in topics)
        if caller is not None:
            wanted.add(caller.collection_id)
        await self._want(dict.fromkeys(wanted, False))
        async with self._reading:
            if not self._snapshot:
                self._snapshot = await self.log.head()
            if self._seen_schema is not self._schema.current:
                # Before it is bound: a collection made just now has not changed its secret.
                await self._on_schema()
            self.clients.bind(client, caller)
            self.clients.subscribe(client, topics)
            await self._want(self._depth(client.subscriptions.values()))
            if client.since and topics:
                since, client.since = client.since, ""
                await self._replay(client, since)

    def send_once(self, client: Client, topic: str, data: bytes) -> bool:
        """Send one event of a topic and end that subscription; false when the client has none."""
        if topic not in client.subscriptions:
            return False
        client.put(topic, data)
        self.clients.subscribe(client, [text for text in client.subscriptions if text != topic])
        return True

    def _ids(self, names: Iterable[str]) -> set[str]:
        """The ids of the collections that topics name."""
        schema = self._schema.current
        return {found.id for name in names if (found := named(schema, name)) is not None}

    def _wanted_here(self) -> set[str]:
        """The ids of the collections of this process's subscriptions and callers."""
        key = (self.clients.version, self._schema.current)
        if self._wanted_for != key:
            bound = {collection_id for collection_id, _ in self.clients.bound}
            self._wanted, self._wanted_for = self._ids(self.clients.wanted()) | bound, key
        return self._wanted

    def _wants(self) -> dict[str, bool]:
        everybody = (each for client in self.clients for each in client.subscriptions.values())
        return dict.fromkeys(self._wanted_here(), False) | self._depth(everybody)

    def _depth(self, subscriptions: Iterable[Subscription]) -> dict[str, bool]:
        """The collections that subscriptions concern, and whether any of them reads other records."""
        schema = self._schema.current
        found: dict[str, bool] = {}
        for each in subscriptions:
            collection = named(schema, each.topic.collection)
            if collection is not None:
                verdict = check_of(schema, collection, each)
                deep = "expand" in each.topic.query or (isinstance(verdict, Check) and verdict.reads_others)
                found[collection.id] = found.get(collection.id, False) or deep
        return found

    async def _want(self, wanted: Mapping[str, bool]) -> None:
        """See to it that every process does from now on what changes of these collections need."""
        interest = self._interest
        if any(id not in interest or (deep and not interest[id]) for id, deep in wanted.items()):
            await self._renew(wanted)
            await self._broker.publish_and_wait(INTEREST)

    async def _renew(self, wanted: Mapping[str, bool]) -> None:
        names = self._schema.current.by_id
        kept = {
            id: (self._kept_s(names[id].name) + SLACK_S, deep) for id, deep in wanted.items() if id in names
        }
        if kept:
            await self.log.want(kept)

    def _kept_s(self, name: str) -> float:
        return max(self._config.replay.get(name, self._config.replay_s), 0.0)

    # Reading

    async def _on_wake(self, sender: bytes) -> None:
        if sender.decode() != self.clients.process:
            self._woken.set()

    async def _on_interest(self, _: bytes) -> None:
        self._interest = await self.log.interest()

    async def _catch_up(self) -> None:
        self._interest = await self.log.interest()
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
                async with self._reading:
                    await self._read()
                pause_s = PAUSE_S
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
        wanted = self._wanted_here()
        if not wanted:
            self._snapshot, self._begun = "", None
            return
        if not self._snapshot:
            self._snapshot = await self.log.head()
            return
        # In parts, because an import or the end of a collection can be a million changes.
        begun = self._begun
        if begun is None:
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
                for client in list(clients) if before is not None else ():
                    self.clients.bind(client, None)
        await self._want(self._wants())

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

    async def _tell(self, events: Sequence[Event], before: str, upto: str) -> None:
        """Queue what everybody may hear of these events, in their order."""
        messages = await self._telling.told(
            events, lambda named, event: self.clients.interested(named.id, named.name, event.record)
        )
        told: set[Client] = set()
        for event in events:
            if event.seq in messages:
                told |= send(event, messages[event.seq], position_of(before, upto, event).cursor())
        for client in told:
            client.flush()

    async def _replay(self, client: Client, since: str) -> None:
        """Tell what happened since a cursor, under today's rules, then whether that was all of it."""
        by_base: dict[tuple[str, str], list[Subscription]] = {}
        for each in client.subscriptions.values():
            by_base.setdefault((each.topic.collection, each.topic.record), []).append(each)
        position = read_cursor(since)
        complete = False
        if position is not None:
            schema = self._schema.current
            ids = self._ids(collection for collection, _ in by_base)
            kept_s = min((self._kept_s(schema.by_id[id].name) for id in ids), default=0.0)
            events = await self.log.missed(position, self._snapshot, ids, MAX_REPLAYED + 1)
            complete = len(events) <= MAX_REPLAYED and (age_s(position) < kept_s or not ids)
            if complete:
                messages = await self._telling.told(
                    events,
                    lambda named, event: [
                        each
                        for name in (named.name, named.id)
                        for record in ("", event.record)
                        for each in by_base.get((name, record), ())
                    ],
                    again=True,
                )
                for event in events:
                    # Whoever is cut off in the middle of this asks for all of it again.
                    send(event, messages.get(event.seq, ()), since)
        cursor = standing(self._snapshot).cursor()
        client.put(REPLAY, msgspec.json.encode({"complete": complete, "cursor": cursor}))

    # Keeping

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(KEEP_UP_S)
            try:
                await self._renew(self._wants())
                self._interest = await self.log.interest()
                if self._interest:
                    await self._forget()
            except GroundplaneError as error:
                log.warning("The log of changes was not looked after: %s", error)

    async def _forget(self) -> None:
        schema = self._schema.current
        others = {
            collection.id: max(kept_s, SHORTEST_KEPT_S)
            for name, kept_s in self._config.replay.items()
            if (collection := named(schema, name)) is not None
        }
        await self.log.forget(max(self._config.replay_s, SHORTEST_KEPT_S), others)


def secret_of(schema: Schema, collection_id: str) -> str | None:
    """The secret of a collection's auth tokens; None when there is no such collection."""
    collection = schema.by_id.get(collection_id)
    if collection is None or collection.options is None:
        return None
    return collection.options.auth_token.secret
