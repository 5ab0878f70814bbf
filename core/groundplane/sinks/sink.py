"""What a sink of events must do, and what it is handed: the contract with plugins that pass changes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from groundplane.sinks.choice import Choice


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to a broker.

    `id`           of the event; the same in every repetition, so that receivers know one
    `type`         record.created, record.updated or record.deleted
    `action`       create, update or delete
    `collection`   name of the record's collection
    `record`       id of the record: events with the same key must arrive in the order in which they are sent
    `at`           when it happened, milliseconds since 1970
    `body`         the JSON text, in UTF-8
    """

    id: str
    type: str
    action: str
    collection: str
    record: str
    at: int
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """What brokers with headers are told beside the body."""
        return {"type": self.type, "collection": self.collection, "record": self.record}

    def payload(self) -> dict[str, Any]:
        """The message as the payload of a job."""
        return msgspec.structs.asdict(self) | {"body": self.body.decode()}

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Message:
        """The message that `payload` made a payload of."""
        known = {name: payload[name] for name in cls.__struct_fields__}
        return cls(**(known | {"body": payload["body"].encode()}))


class BrokerAway(Exception):
    """The broker cannot be reached, or does not work at present: everything waits until it is back."""


class MessageRefused(Exception):
    """The broker will never take this message, however often it is sent: its job is dead at once."""


class Sink(Protocol):
    """A broker, or anything else that confirms what it was given.

    Used in job workers only, and opened when the first event is to be sent. What `open` raises, and from
    `send` a BrokerAway, a TimeoutError or another OSError, say that the broker is away: the sink is closed
    and opened again later, with growing pauses, as long as it takes. MessageRefused gives a message up. Any
    other exception of `send` is a failed attempt of that one message.
    """

    async def open(self) -> None:
        """Connect. Called again only after `close`."""

    async def close(self) -> None:
        """Let go of the connection, also of one that was never made or is broken."""

    async def send(self, message: Message) -> None:
        """Return when the broker has confirmed that it keeps the message, and not before.

        Called for several messages at the same time, but for one record only one after another.
        """


class EventSink(msgspec.Struct, frozen=True, kw_only=True):
    """A sink with what it is to be told, as `register_event_sinks` returns it.

    `sink`        who passes the events on
    `choice`      which events, and what of them
    `name`        tells several sinks of one plugin apart; "" is the plugin's own name
    `address`     where they go, for people: without a password
    `secrets`     texts that no log and no job may show
    `timeout_s`   seconds that opening, or the confirmation of a message, may take
    """

    sink: Sink
    choice: Choice = Choice()
    name: str = ""
    address: str = ""
    secrets: tuple[str, ...] = ()
    timeout_s: float = 10.0
