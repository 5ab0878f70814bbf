"""Messages inside one process."""

from __future__ import annotations

import asyncio
import logging
import secrets

from groundplane.broker.broker import Catcher, Handler
from groundplane.broker.channels import Channels
from groundplane.errors import Unavailable

log = logging.getLogger(__name__)


class MemoryBroker:
    """For one worker; never loses a message while it runs."""

    def __init__(self) -> None:
        self._channels = Channels()
        self._running = False
        self.process = secrets.token_hex(6)

    async def processes(self) -> set[str]:
        return {self.process}

    @property
    def trusted(self) -> bool:
        return self._running

    def subscribe(self, channel: str, handler: Handler) -> None:
        self._channels.subscribe(channel, handler)

    def on_reconnect(self, catch_up: Catcher) -> None:
        """Accept it and never call it: there is no connection to lose."""

    async def start(self) -> None:
        self._running = True

    async def close(self) -> None:
        self._running = False
        await self._channels.close()

    async def publish(self, channel: str, payload: bytes = b"") -> None:
        self._send(channel, payload)

    async def publish_and_wait(self, channel: str, payload: bytes = b"", timeout_s: float = 10) -> None:
        handled = self._send(channel, payload)
        try:
            async with asyncio.timeout(timeout_s):
                await handled.wait()
        except TimeoutError:
            log.warning("A message of the channel %s is still being handled", channel)

    def _send(self, channel: str, payload: bytes) -> asyncio.Event:
        if not self._running:
            raise Unavailable
        handled = asyncio.Event()

        async def load() -> bytes:
            return payload

        async def done(failure: BaseException | None) -> None:
            handled.set()

        self._channels.put(channel, load, done)
        return handled
