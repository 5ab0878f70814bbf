"""A stream may be held by another process than the one that takes its subscriptions: this finds it.

A client's id begins with the name of the process that holds it. What is meant for that process goes out on a
channel of the broker as `{"to", "from", "number", "ask", …}`, and its answer comes back on another one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from groundplane.broker.broker import Broker
from groundplane.context import Caller
from groundplane.errors import Forbidden, GroundplaneError, Invalid, NotFound, Unavailable
from groundplane.realtime.channel_words import Message
from groundplane.realtime.clients import Client
from groundplane.realtime.service import Realtime
from groundplane.records.service import Records
from groundplane.schema.cache import SchemaCache

log = logging.getLogger(__name__)

ASK, ANSWER = "rt-ask", "rt-answer"
ANSWER_S = 5.0
LOOK_AGAIN_S = 0.5  # for whether the other process is still there
DONE = 204
UNKNOWN_CLIENT = "Missing or invalid client id."
OTHER_ADDRESS = "Invalid realtime client."
OTHER_CALLER = "The current and the previous request authorization don't match."


class Refused(GroundplaneError):
    """The other process has refused, in its own words; those of a plugin among them."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Ask(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A question to one process; `caller` is the collection's and the record's id."""

    to: str
    sender: str
    number: int
    client: str
    ip: str = ""
    caller: tuple[str, str] | None = None
    mark: str = ""  # of the caller's token or key
    topics: list[str] | None = None
    event: str = ""
    data: str = ""
    message: Message | None = None  # for a channel that the client is in
    channel: str = ""  # where `data` is the client's state from now on


class Answer(msgspec.Struct, kw_only=True):
    to: str
    number: int
    status: int
    message: str = ""


class Desk:
    """Where requests about streams arrive: done here when the stream is here, else asked for."""

    def __init__(self, realtime: Realtime, broker: Broker, schema: SchemaCache, records: Records) -> None:
        self._realtime = realtime
        self._broker = broker
        self._schema = schema
        self._records = records
        self._process = realtime.clients.process
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        # Who acts with a service key, by its mark; set by whoever knows them.
        self.named: Callable[[str], Awaitable[Caller | None]] = nobody
        broker.subscribe(ASK, self._on_ask)
        broker.subscribe(ANSWER, self._on_answer)

    async def subscribe(self, client_id: str, ip: str, caller: Caller | None, topics: Sequence[str]) -> None:
        """Bind and subscribe (contract, realtime §3); raises NotFound, Invalid and Forbidden."""
        client = self._realtime.clients.get(client_id)
        if client is not None:
            await self._subscribe(client, ip, caller, topics)
            return
        mark = caller.mark if caller is not None else ""
        await self._ask(client_id, ip=ip, caller=key_of(caller), mark=mark, topics=list(topics))

    async def send(self, client_id: str, ip: str, event: str, data: bytes) -> bool:
        """Send one event to a client that subscribes to it, and end that subscription.

        False when there is none, or it is at another address than who has something for it.
        """
        client = self._realtime.clients.get(client_id)
        if client is not None:
            return client.ip in ("", ip) and self._realtime.send_once(client, event, data)
        try:
            await self._ask(client_id, ip=ip, event=event, data=data.decode())
        except NotFound:
            return False
        return True

    async def say(self, client_id: str, ip: str, caller: Caller | None, message: Message) -> None:
        """Send a message to a channel that the client is in; raises as `Channels.say` and `subscribe`."""
        client = self._realtime.clients.get(client_id)
        if client is None:
            await self._ask(client_id, ip=ip, caller=key_of(caller), message=message)
            return
        check_same(client, ip, key_of(caller))
        await self._realtime.channels.say(client, message)

    async def set_state(
        self, client_id: str, ip: str, caller: Caller | None, channel: str, state: str
    ) -> None:
        """Change how a client is seen in a channel; raises as `Channels.set_state` and `subscribe`."""
        client = self._realtime.clients.get(client_id)
        if client is None:
            await self._ask(client_id, ip=ip, caller=key_of(caller), channel=channel, data=state)
            return
        check_same(client, ip, key_of(caller))
        await self._realtime.channels.set_state(client, channel, state)

    async def _subscribe(self, client: Client, ip: str, caller: Caller | None, topics: Sequence[str]) -> None:
        # A guest's stream may become somebody's.
        check_same(client, ip, key_of(caller) if client.caller is not None else None)
        await self._realtime.subscribe(client, caller, topics)

    async def _ask(self, client_id: str, **what: Any) -> None:
        process = client_id[: len(self._process)]
        if process == self._process or process not in await self._broker.processes():
            raise NotFound(UNKNOWN_CLIENT)
        self._number += 1
        number = self._number
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        ask = Ask(to=process, sender=self._process, number=number, client=client_id, **what)
        try:
            await self._broker.publish(ASK, msgspec.json.encode(ask))
            answer = await self._answer(waiting, process)
        finally:
            del self._waiting[number]
        if answer.status == NotFound.status:
            raise NotFound(answer.message)
        if answer.status != DONE:
            raise Refused(answer.status, answer.message)

    async def _answer(self, waiting: asyncio.Future[Answer], process: str) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    done, _ = await asyncio.wait([waiting], timeout=LOOK_AGAIN_S)
                    if done:
                        return waiting.result()
                    if process not in await self._broker.processes():
                        raise NotFound(UNKNOWN_CLIENT)
        except TimeoutError:
            raise Unavailable() from None

    async def _on_ask(self, payload: bytes) -> None:
        ask = msgspec.json.decode(payload, type=Ask)
        if ask.to != self._process:
            return
        status, message = DONE, ""
        try:
            await self._do(ask)
        except GroundplaneError as error:
            status, message = error.status, error.message
        answer = Answer(to=ask.sender, number=ask.number, status=status, message=message)
        await self._broker.publish(ANSWER, msgspec.json.encode(answer))

    async def _do(self, ask: Ask) -> None:
        client = self._realtime.clients.get(ask.client)
        if client is None:
            raise NotFound(UNKNOWN_CLIENT)
        if ask.message is not None or ask.channel:
            check_same(client, ask.ip, ask.caller)
            if ask.message is not None:
                await self._realtime.channels.say(client, ask.message)
            else:
                await self._realtime.channels.set_state(client, ask.channel, ask.data)
            return
        if ask.topics is None:
            if client.ip not in ("", ask.ip) or not self._realtime.send_once(
                client, ask.event, ask.data.encode()
            ):
                raise NotFound(UNKNOWN_CLIENT)
            return
        await self._subscribe(client, ask.ip, await self._caller(ask.caller, ask.mark), ask.topics)

    async def _caller(self, key: tuple[str, str] | None, mark: str) -> Caller | None:
        """The caller whom the other process has recognised, as the record is now."""
        if key is None:
            return None
        if (named := await self.named(mark)) is not None:
            return named
        collection = self._schema.current.by_id.get(key[0])
        record = await self._records.find_one(collection, 'r."id" = $1', key[1]) if collection else None
        if collection is None or record is None:
            raise Forbidden(OTHER_CALLER)
        return Caller(
            id=record["id"],
            collection_id=collection.id,
            collection_name=collection.name,
            record=record,
            mark=mark,
        )

    async def _on_answer(self, payload: bytes) -> None:
        answer = msgspec.json.decode(payload, type=Answer)
        waiting = self._waiting.get(answer.number) if answer.to == self._process else None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


async def nobody(mark: str) -> Caller | None:
    return None


def key_of(caller: Caller | None) -> tuple[str, str] | None:
    return (caller.collection_id, caller.id) if caller is not None else None


def check_same(client: Client, ip: str, caller: tuple[str, str] | None) -> None:
    """Refuse whoever is not at the address and the record that the stream acts as."""
    if client.ip != ip:
        raise Invalid(OTHER_ADDRESS)
    if key_of(client.caller) != caller:
        raise Forbidden(OTHER_CALLER)
