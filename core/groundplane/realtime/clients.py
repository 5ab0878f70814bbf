"""The open streams of one process: what each wants to hear, and what waits to be sent to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from groundplane.context import Caller, RequestInfo
from groundplane.errors import Unavailable
from groundplane.realtime.topics import Topic, read_topic
from groundplane.schema.cache import Schema
from groundplane.security.ids import random_text

ID_LENGTH = 40
IDLE_S = 5 * 60.0  # without an event
LONGEST_S = 30 * 60.0
HEARTBEAT_S = 25.0  # below the usual 30 and 60 s after which proxies close a silent connection
HEARTBEAT = b":\n\n"
MAX_WAITING_BYTES = 1024 * 1024  # for one client; who reads slower than that is dropped
MAX_CLIENTS = 10_000  # of one process


class Subscription:
    """One topic of one client, with what was worked out for it at this version of the schema and caller."""

    __slots__ = ("check", "checked_for", "client", "topic")

    def __init__(self, client: Client, topic: Topic) -> None:
        self.client = client
        self.topic = topic
        self.checked_for: tuple[Schema, Caller | None] | None = None
        self.check: Any = None

    @property
    def info(self) -> RequestInfo:
        """What rules and filters see: the bound caller, and the topic's options."""
        client = self.client
        return RequestInfo(
            caller=client.caller,
            context="realtime",
            method="GET",
            query=self.topic.query,
            headers=self.topic.headers,
            ip=client.ip,
            remote_ip=client.remote_ip,
        )


class Group:
    """Subscriptions of which each hears the same: the same topic, and a caller who is the same to every rule."""

    __slots__ = ("leader", "members")

    def __init__(self, leader: Subscription) -> None:
        self.leader = leader
        self.members = [leader]


def grouped(subscriptions: Iterable[Subscription]) -> list[Group]:
    """Put those together of which each hears the same."""
    groups: dict[tuple[object, ...], Group] = {}
    for each in subscriptions:
        caller = each.client.caller
        key: tuple[object, ...] = (each.topic.text,)
        if caller is not None:
            # What is known of a caller without asking the database, which a newer version may change.
            known = (caller.record.get(name) for name in ("email", "emailVisibility", "verified"))
            key = (each.topic.text, caller.collection_id, caller.id, *known)
        group = groups.get(key)
        if group is None:
            groups[key] = Group(each)
        else:
            group.members.append(each)
    return list(groups.values())


class Client:
    """One open stream; `id` is a secret for as long as it lives."""

    has_heartbeat = True

    def __init__(self, id: str, ip: str, remote_ip: str, since: str = "") -> None:
        self.id = id
        self.ip = ip
        self.remote_ip = remote_ip
        self.since = since  # a cursor to replay from with the first subscriptions
        self.caller: Caller | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.ended = ""  # why, once it is
        # Set by who serves it: writes bytes at once if the connection takes them, and ends the connection.
        self.write: Callable[[bytes], bool] | None = None
        self.cut: Callable[[], None] | None = None
        self.is_stuck = False  # so far behind that what waits is not sent any more
        self._head = f"id:{id}\n".encode()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._sleeping: asyncio.Future[None] | None = None
        self._heartbeat = False
        self._opened = self._last_event = self._last_sign = time.monotonic()

    def put(self, event: str, data: bytes) -> None:
        """Queue an event; a client that reads too slowly is dropped instead of remembered for."""
        self.queue(event, data, tail_of(event, data))
        self._wake()

    def queue(self, event: str, data: bytes, tail: bytes) -> None:
        """As `put`, to be followed by `flush`; `tail` is `tail_of` the others, made once for many clients."""
        if self.ended:
            return
        frame = self._frame(event, data, tail)
        self._waiting_bytes += len(frame)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.is_stuck = True
            self.end("it reads too slowly")
            if self.cut is not None:
                # What waits in the socket would wait for a client that does not read.
                self.cut()
            return
        self._waiting.append(frame)
        self._last_event = self._last_sign = time.monotonic()

    def flush(self) -> None:
        """Send what is queued: at once where that is possible, since to wake a task costs more than to write."""
        if self.write is not None and self._waiting and self._sleeping is not None and not self.ended:
            # Its task sleeps, so nothing is on its way that must arrive before.
            frames = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
            if not self._sleeping.done() and self.write(frames):
                self._waiting.clear()
                self._waiting_bytes = 0
                return
        self._wake()

    def end(self, reason: str) -> None:
        """Close the stream, now or as soon as what waits is sent."""
        self.ended = self.ended or reason
        self._wake()

    def _frame(self, event: str, data: bytes, tail: bytes) -> bytes:
        return self._head + tail

    async def frames(self) -> bytes | None:
        """The bytes to send next, all that waits in one piece or a heartbeat; None when the stream ends."""
        waiting = await self.next()
        if waiting is None:
            return None
        return waiting[0] if len(waiting) == 1 else b"".join(waiting)

    async def next(self) -> list[bytes] | None:
        """The frames to send next, all that wait or a heartbeat; None when the stream ends."""
        while True:
            if self._waiting and not self.is_stuck:
                waiting, self._waiting = self._waiting, []
                self._waiting_bytes = 0
                return waiting
            if self.ended:
                return None
            if self._heartbeat:
                self._heartbeat = False
                return [HEARTBEAT]
            # A future and one clock for all clients: a timer for each event would cost more than the event.
            self._sleeping = asyncio.get_running_loop().create_future()
            try:
                await self._sleeping
            finally:
                self._sleeping = None

    def look_at_the_clock(self, now: float) -> None:
        """End the stream when its time has come, or keep proxies from closing it; `now` as `time.monotonic`."""
        if now - self._last_event >= IDLE_S or now - self._opened >= LONGEST_S:
            self.end("it is too old")
        elif self.has_heartbeat and now - self._last_sign >= HEARTBEAT_S:
            self._last_sign = now
            self._heartbeat = True
            self._wake()

    def _wake(self) -> None:
        sleeping = self._sleeping
        if sleeping is not None and not sleeping.done():
            sleeping.set_result(None)


def tail_of(event: str, data: bytes) -> bytes:
    """An event as every stream gets it, behind the line with its id."""
    return b"event:%b\ndata:%b\n\n" % (event.encode(), data)


class SocketClient(Client):
    """A stream over a WebSocket, which has a heartbeat of its own: each frame is one message, in JSON."""

    has_heartbeat = False

    def _frame(self, event: str, data: bytes, tail: bytes) -> bytes:
        return b'{"event":%b,"data":%b}' % (msgspec.json.encode(event), data)


class Clients:
    """The streams of this process, and the index from what happens to who wants to hear of it."""

    def __init__(self, process: str, *, max_clients: int = MAX_CLIENTS) -> None:
        self.process = process
        self._max_clients = max_clients
        self._by_id: dict[str, Client] = {}
        # By what stands before the `?` of the topic: the collection as it was named, and the record or "".
        self._by_base: dict[tuple[str, str], dict[Subscription, None]] = {}
        self._groups: dict[tuple[str, str], list[Group]] = {}  # of those, until they change
        # The clients that act as a record, by its collection's id and its own.
        self.bound: dict[tuple[str, str], dict[Client, None]] = {}
        self.version = 0  # another one whenever somebody wants to hear of something else
        self.closed: Callable[[Client], None] = lambda client: None  # told of each that goes

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._by_id.values()))

    def open(self, ip: str, remote_ip: str, since: str = "", kind: type[Client] = Client) -> Client:
        """Make a client; its id begins with the process that holds it. Raises Unavailable when there are too many."""
        if len(self._by_id) >= self._max_clients:
            raise Unavailable()
        id = self.process + random_text(ID_LENGTH - len(self.process))
        client = self._by_id[id] = kind(id, ip, remote_ip, since)
        return client

    def look_at_the_clock(self) -> None:
        """To be called every second or so."""
        now = time.monotonic()
        for client in self:
            client.look_at_the_clock(now)

    def get(self, id: str) -> Client | None:
        return self._by_id.get(id)

    def close(self, client: Client, reason: str = "") -> None:
        """Forget a client and its subscriptions."""
        client.end(reason or "it is closed")
        if self._by_id.pop(client.id, None) is not None:
            self.bind(client, None)
            self._remove(client.subscriptions.values())
            client.subscriptions = {}
            self.closed(client)

    def subscribe(self, client: Client, topics: Sequence[str]) -> None:
        """Give a client these topics instead of those it had."""
        before = client.subscriptions
        wanted = {text: before.get(text) for text in dict.fromkeys(topics) if text}
        client.subscriptions = {
            text: known or Subscription(client, read_topic(text)) for text, known in wanted.items()
        }
        self._remove(each for text, each in before.items() if text not in wanted)
        for each in client.subscriptions.values():
            base = (each.topic.collection, each.topic.record)
            self._by_base.setdefault(base, {})[each] = None
            self._groups.pop(base, None)
        self.version += 1

    def _remove(self, subscriptions: Iterable[Subscription]) -> None:
        for each in subscriptions:
            base = (each.topic.collection, each.topic.record)
            found = self._by_base.get(base)
            if found is not None:
                found.pop(each, None)
                self._groups.pop(base, None)
                if not found:
                    del self._by_base[base]

    def interested(self, collection_id: str, name: str, record: str) -> list[Group]:
        """The subscriptions that a change of this record concerns."""
        found: list[Group] = []
        for base in ((name, ""), (collection_id, ""), (name, record), (collection_id, record)):
            if base in self._by_base:
                groups = self._groups.get(base)
                if groups is None:
                    groups = self._groups[base] = grouped(self._by_base[base])
                found += groups
        return found

    def wanted(self) -> set[str]:
        """The collections, by name or id as they were written, that any topic names."""
        return {collection for collection, _ in self._by_base if collection}

    def bind(self, client: Client, caller: Caller | None) -> None:
        """Have a client act as a record from now on, or as a guest."""
        if client.caller is not None:
            key = (client.caller.collection_id, client.caller.id)
            self.bound[key].pop(client, None)
            if not self.bound[key]:
                del self.bound[key]
        client.caller = caller
        for each in client.subscriptions.values():
            self._groups.pop((each.topic.collection, each.topic.record), None)
        if caller is not None:
            self.bound.setdefault((caller.collection_id, caller.id), {})[client] = None
        self.version += 1
