"""The receiving end that all brokers share: a queue and a task for each channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from groundplane.broker.broker import Handler

log = logging.getLogger(__name__)

Load: TypeAlias = Callable[[], Awaitable[bytes]]
Done: TypeAlias = Callable[[BaseException | None], Awaitable[None]]


class Channels:
    """Hands each message to the channel's handlers, one message after another."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        self._queues: dict[str, asyncio.Queue[tuple[Load, Done]]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def subscribe(self, channel: str, handler: Handler) -> None:
        self._handlers.setdefault(channel, []).append(handler)

    def put(self, channel: str, load: Load, done: Done) -> None:
        """Queue a message: `load` gives its payload, `done` hears of the end and the last failure."""
        queue = self._queues.get(channel)
        if queue is None:
            queue = self._queues[channel] = asyncio.Queue()
            self._tasks.append(asyncio.create_task(self._work(channel, queue), name=f"broker:{channel}"))
        queue.put_nowait((load, done))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._queues.clear()

    async def _work(self, channel: str, queue: asyncio.Queue[tuple[Load, Done]]) -> None:
        while True:
            load, done = await queue.get()
            failure: Exception | None = None
            try:
                payload = await load()
                for handler in self._handlers.get(channel, ()):
                    try:
                        await handler(payload)
                    except Exception as error:
                        log.exception("A handler of the channel %s failed", channel)
                        failure = error
                await done(failure)
            except Exception:
                log.exception("A message of the channel %s was lost", channel)
