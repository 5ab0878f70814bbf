"""Messages between processes on one Valkey (or Redis) server, by its publish and subscribe.

A process subscribes to the channel of all and to one of its own, whose existence says that it is alive. What a
message says, separated by spaces: sender, number, "+" if it wants answers, else "-", channel, payload. An answer,
on the sender's own channel: who answers, number.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable
from typing import Any, cast
from urllib.parse import urlsplit

from groundplane.broker.broker import Catcher, Handler
from groundplane.broker.channels import Channels
from groundplane.broker.waiting import Waiting
from groundplane.db.engine import Database
from groundplane.errors import Unavailable

log = logging.getLogger(__name__)

SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")
TIMEOUT_S = 5.0  # of one command
HEARTBEAT_S = 10.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0


class ValkeyBroker:
    """For many workers on many nodes; `prefix` keeps installations that share a server apart.

    `database` is there for messages that are sent in a transaction: they leave behind its commit.
    Raises ValueError for an address that is none.
    """

    def __init__(self, url: str, database: Database, *, prefix: str = "groundplane") -> None:
        # Half a second of imports that an installation without it need not pay.
        from valkey.asyncio import Valkey
        from valkey.exceptions import ValkeyError

        if urlsplit(url).scheme not in SCHEMES:
            raise ValueError(f"the broker's address begins with one of {', '.join(SCHEMES)}")
        self.process = secrets.token_hex(6)
        self._failures: tuple[type[BaseException], ...] = (ValkeyError, OSError, TimeoutError)
        self._client = Valkey.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, health_check_interval=HEARTBEAT_S
        )
        self._db = database
        self._everyone = f"{prefix}:all"
        self._own = f"{prefix}:process:"
        self._channels = Channels()
        self._catchers: list[Catcher] = []
        self._waiting: dict[int, Waiting] = {}
        self._number = 0
        self._trusted = False
        self._pubsub: Any = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def trusted(self) -> bool:
        return self._trusted

    def subscribe(self, channel: str, handler: Handler) -> None:
        if not channel.isascii() or " " in channel or not channel:
            raise ValueError("a channel's name is a short ASCII word")
        self._channels.subscribe(channel, handler)

    def on_reconnect(self, catch_up: Catcher) -> None:
        self._catchers.append(catch_up)

    async def start(self) -> None:
        try:
            await self._connect()
        except self._failures as error:
            raise Unavailable("The broker cannot be reached: look at broker.url.") from error
        self._trusted = True
        self._keeping = asyncio.create_task(self._keep_connected(), name="broker")

    async def close(self) -> None:
        self._trusted = False
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._drop()
        await self._client.aclose()
        await self._channels.close()

    # Sending

    async def publish(self, channel: str, payload: bytes = b"") -> None:
        self._number += 1
        message = self._message("-", self._number, channel, payload)
        if not self._db.in_transaction:
            await self._send(self._everyone, message)
            return

        async def send() -> None:
            await self._send(self._everyone, message)

        await self._db.after_commit(send)

    async def publish_and_wait(self, channel: str, payload: bytes = b"", timeout_s: float = 10) -> None:
        if self._db.in_transaction:
            raise RuntimeError("a message sent in a transaction leaves with its commit: nobody would answer")
        self._number += 1
        number = self._number
        waiting = self._waiting[number] = Waiting(await self.processes())
        try:
            await self._send(self._everyone, self._message("+", number, channel, payload))
            await waiting.finished(channel, self.processes, timeout_s)
        finally:
            del self._waiting[number]

    async def processes(self) -> set[str]:
        try:
            found = await cast("Awaitable[list[bytes]]", self._client.pubsub_channels(self._own + "*"))
        except self._failures as error:
            raise Unavailable() from error
        return {name.decode().removeprefix(self._own) for name in found}

    def _message(self, answers: str, number: int, channel: str, payload: bytes) -> bytes:
        return f"{self.process} {number} {answers} {channel} ".encode() + payload

    async def _send(self, to: str, message: bytes) -> None:
        try:
            await cast("Awaitable[int]", self._client.publish(to, message))
        except self._failures as error:
            raise Unavailable() from error

    # Listening

    async def _connect(self) -> None:
        pubsub = self._client.pubsub(ignore_subscribe_messages=False)
        try:
            await pubsub.subscribe(self._everyone, self._own + self.process)
            for _ in range(2):
                # Both are confirmed: from here on nothing is missed.
                if await pubsub.get_message(timeout=TIMEOUT_S) is None:
                    raise TimeoutError
        except BaseException:
            await pubsub.aclose()
            raise
        self._pubsub = pubsub

    async def _drop(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            try:
                await pubsub.aclose()
            except self._failures:
                log.debug("A lost connection could not be closed")

    async def _keep_connected(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            if self._pubsub is not None:
                await self._until_lost(self._pubsub)
                log.warning("The broker's connection was lost; caches are not trusted until it is back")
                self._trusted = False
                await self._drop()
            try:
                await self._connect()
                # Messages that come from now on wait in their queues or find the newer state: both are fine.
                for catch_up in self._catchers:
                    await catch_up()
                self._trusted = True
                pause_s = FIRST_PAUSE_S
                log.info("The broker's connection is back")
            except Exception as error:  # noqa: BLE001  # whatever it is, only trying again helps
                log.info("The broker cannot connect yet: %s", type(error).__name__)
                await self._drop()
                await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  # spreads the workers
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _until_lost(self, pubsub: Any) -> None:
        """Take messages until the connection is gone; a silent one is asked now and then."""
        while True:
            try:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=HEARTBEAT_S)
                if message is None:
                    await pubsub.ping()
                    continue
            except RuntimeError:
                return  # it was dropped meanwhile
            except self._failures:
                return
            if message["type"] == "message":
                self._take(message["channel"].decode(), message["data"])

    def _take(self, to: str, data: bytes) -> None:
        if to != self._everyone:
            process, _, number = data.decode().partition(" ")
            self._answered(process, int(number))
            return
        sender, number_text, answers, channel, payload = data.split(b" ", 4)

        async def load() -> bytes:
            return payload

        async def done(failure: BaseException | None) -> None:
            if isinstance(failure, Unavailable | OSError):
                # It could not read what is new. Start over as after a lost connection, which reads all.
                self._trusted = False
                await self._drop()
            if answers == b"+":
                await self._answer(sender.decode(), int(number_text))

        self._channels.put(channel.decode(), load, done)

    async def _answer(self, sender: str, number: int) -> None:
        if sender == self.process:
            self._answered(self.process, number)
        else:
            await self._send(self._own + sender, f"{self.process} {number}".encode())

    def _answered(self, process: str, number: int) -> None:
        if waiting := self._waiting.get(number):
            waiting.remove({process})
