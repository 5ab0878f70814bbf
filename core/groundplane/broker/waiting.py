"""Waiting until every process has handled a message."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.2


class Waiting:
    """Who has not yet answered a message."""

    def __init__(self, missing: set[str]) -> None:
        self.missing = missing
        self.answered = asyncio.Event()

    def remove(self, processes: set[str]) -> None:
        """These have answered, or are gone."""
        self.missing -= processes
        if not self.missing:
            self.answered.set()

    async def finished(
        self, channel: str, processes: Callable[[], Awaitable[set[str]]], timeout_s: float
    ) -> None:
        """Return when nobody is missing any more, or after `timeout_s`; `processes` says who is there."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.answered.is_set() and self.missing:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_AGAIN_S):
                            await self.answered.wait()
                            return
                    # Whoever is gone since then needs no news: it reads everything afresh when it is back.
                    self.remove(self.missing - await processes())
        except TimeoutError:
            log.warning("No answer on %s from: %s", channel, ", ".join(sorted(self.missing)))
