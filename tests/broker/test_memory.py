"""The broker of a single process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from groundplane.broker.broker import Broker
from groundplane.broker.memory import MemoryBroker
from groundplane.testing.broker import BrokerSuite, MakeBroker


class TestMemoryBroker(BrokerSuite):
    @pytest.fixture
    async def broker(self) -> AsyncIterator[MemoryBroker]:
        broker = MemoryBroker()
        yield broker
        await broker.close()

    @pytest.fixture
    def make_broker(self, broker: MemoryBroker) -> MakeBroker:
        async def make() -> Broker:
            return broker

        return make

    @pytest.fixture
    def take_away(self, broker: MemoryBroker) -> Callable[[], Awaitable[None]]:
        return broker.close
