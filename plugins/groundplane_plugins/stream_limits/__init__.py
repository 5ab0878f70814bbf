"""Limits for streams of changes: how many there may be, what they may hear of, and what messages leave out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from groundplane.errors import Forbidden, Invalid, TooManyRequests
from groundplane.hooks import hookimpl
from groundplane.hooks.events import RealtimeConnect, RealtimeMessage, RealtimeSubscribe
from groundplane.services import Services

__all__ = ["API_VERSION", "Config"]

API_VERSION = 1
TOO_MANY = "There are too many streams of yours. Close one of them."


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers count in one worker; 0 is no limit.

    `per_address`   open streams of one address
    `per_caller`    open streams that act as the same record
    `topics`        topics of one stream
    `guests`        false: only who is signed in may hear of anything
    `leave_out`     fields that messages do not carry, by collection
    """

    per_address: int = 0
    per_caller: int = 0
    topics: int = 0
    guests: bool = True
    leave_out: dict[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        if min(self.per_address, self.per_caller, self.topics) < 0:
            raise ValueError("a limit is negative")


# Set once per process by `startup`, before the first stream.
_config = Config()


@hookimpl
async def startup(config: Config) -> None:
    global _config
    _config = config


@hookimpl
async def realtime_connect(event: RealtimeConnect, services: Services) -> None:
    most = _config.per_address
    if most and sum(client.ip == event.ip for client in services.realtime.clients) >= most:
        raise TooManyRequests(TOO_MANY)


@hookimpl
async def realtime_subscribe(event: RealtimeSubscribe, services: Services) -> AsyncIterator[None]:
    caller = event.caller
    if caller is None and event.topics and not _config.guests:
        raise Forbidden()
    if _config.topics and len(event.topics) > _config.topics:
        raise Invalid(f"A stream may have at most {_config.topics} topics.")
    if _config.per_caller and caller is not None:
        bound = services.realtime.clients.bound.get((caller.collection_id, caller.id), ())
        if sum(client.id != event.client_id for client in bound) >= _config.per_caller:
            raise TooManyRequests(TOO_MANY)
    yield


@hookimpl
async def realtime_message(event: RealtimeMessage) -> None:
    for field in _config.leave_out.get(event.collection.name, ()):
        event.record.pop(field, None)
