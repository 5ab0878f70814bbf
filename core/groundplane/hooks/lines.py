"""The events that wait for plugins: one line per plugin and hook, worked off apart from the requests."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from typing import Any

from groundplane.context import REQUEST_ID
from groundplane.errors import GroundplaneError
from groundplane.hooks.implementation import Implementation, PluginFailed, Surroundings, described

NOTIFY_S = 10.0
MAX_WAITING = 10_000  # events per implementation of a notify hook; beyond, the oldest is dropped and counted


class Line:
    """The events that wait for one implementation, and the task that works them off in order."""

    def __init__(self, implementation: Implementation, surroundings: Surroundings) -> None:
        self._of = implementation
        self._surroundings = surroundings
        self._waiting: deque[tuple[dict[str, Any], str]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, given: dict[str, Any], request_id: str) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._of.counters.dropped += 1
        self._waiting.append((given, request_id))
        if self._task is None or self._task.done():
            # An empty context: the task must not take the request's transaction for its own.
            self._task = asyncio.get_running_loop().create_task(self._work(), context=Context())

    async def _work(self) -> None:
        while self._waiting:
            given, request_id = self._waiting.popleft()
            REQUEST_ID.set(request_id)
            try:
                result = await self._of.answer(self._surroundings, given, NOTIFY_S)
                if result is not None:
                    self._of.failed(f"it returned {type(result).__name__} where nothing is expected")
            except PluginFailed:
                continue  # logged and counted where it was raised
            except GroundplaneError as error:
                self._of.failed(described(error), error)

    async def finished(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def cancel(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
