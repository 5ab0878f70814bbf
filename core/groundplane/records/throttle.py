"""A random delay for callers who probe a list rule with filters that find nothing."""

from __future__ import annotations

import asyncio
import random
import time

WINDOW_S = 3.0
FREE = 3  # empty answers per window that are not delayed
MAX_DELAY_S = 0.5
MAX_CLIENTS = 10_000


class EmptyAnswers:
    """Counts, per collection and client address, filtered lists that came back empty.

    Kept in this process alone: it blurs the time an answer takes and decides nothing.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], tuple[float, int]] = {}

    async def noted(self, collection_id: str, ip: str) -> None:
        """Count one, and wait a little when there were too many."""
        moment = time.monotonic()
        key = collection_id, ip
        start, count = self.counts.get(key, (moment, 0))
        if moment - start >= WINDOW_S:
            start, count = moment, 0
        if len(self.counts) >= MAX_CLIENTS:
            self.counts.clear()
        self.counts[key] = start, count + 1
        if count >= FREE:
            await asyncio.sleep(random.random() * MAX_DELAY_S)  # noqa: S311  # no secret depends on it
