"""What every broker must do, as a suite of tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from groundplane.broker.broker import Broker
from groundplane.errors import Unavailable

MakeBroker: TypeAlias = Callable[[], Awaitable[Broker]]
LIMIT_S = 10


class Inbox:
    """Remembers what came in, and lets a test wait for it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._came = asyncio.Condition()

    async def __call__(self, payload: bytes) -> None:
        async with self._came:
            self.messages.append(payload)
            self._came.notify_all()

    async def holds(self, count: int) -> list[bytes]:
        async with asyncio.timeout(LIMIT_S), self._came:
            await self._came.wait_for(lambda: len(self.messages) >= count)
        return self.messages


class BrokerSuite:
    """Subclass it and give it a `make_broker` fixture: each call makes the end of one more process.

    A broker for one process only gives the same object again.
    """

    async def test_a_message_reaches_every_process_and_the_sender(self, make_broker: MakeBroker) -> None:
        one, two = await make_broker(), await make_broker()
        inboxes = {id(broker): (broker, Inbox()) for broker in (one, two)}
        for broker, inbox in inboxes.values():
            broker.subscribe("news", inbox)
            await broker.start()
        await one.publish("news", b"hello")
        for _, inbox in inboxes.values():
            assert await inbox.holds(1) == [b"hello"]

    @pytest.mark.parametrize(
        "payload",
        [b"", b"with  spaces ", "äöü\n'\"\\".encode(), b"\x00\xff\xfe", b"x" * 7890, b"\xff" * 100_000],
        ids=["empty", "spaces", "text", "bytes", "near the limit", "long"],
    )
    async def test_a_payload_arrives_as_it_was_sent(self, make_broker: MakeBroker, payload: bytes) -> None:
        broker, inbox = await make_broker(), Inbox()
        broker.subscribe("news", inbox)
        await broker.start()
        await broker.publish("news", payload)
        assert await inbox.holds(1) == [payload]

    async def test_messages_of_a_channel_are_handled_in_order(self, make_broker: MakeBroker) -> None:
        broker, inbox = await make_broker(), Inbox()

        async def slow_at_first(payload: bytes) -> None:
            if payload == b"0":
                await asyncio.sleep(0.05)
            await inbox(payload)

        broker.subscribe("news", slow_at_first)
        await broker.start()
        for number in range(20):
            await broker.publish("news", str(number).encode())
        assert await inbox.holds(20) == [str(number).encode() for number in range(20)]

    async def test_only_the_named_channel_hears_a_message(self, make_broker: MakeBroker) -> None:
        broker, news, weather = await make_broker(), Inbox(), Inbox()
        broker.subscribe("news", news)
        broker.subscribe("weather", weather)
        await broker.start()
        await broker.publish_and_wait("news", b"a")
        await broker.publish_and_wait("weather", b"b")
        await broker.publish_and_wait("sports", b"c")
        assert (news.messages, weather.messages) == ([b"a"], [b"b"])

    async def test_waiting_ends_when_every_process_has_handled_the_message(
        self, make_broker: MakeBroker
    ) -> None:
        one, two = await make_broker(), await make_broker()
        handled: list[int] = []

        async def slow(payload: bytes) -> None:
            await asyncio.sleep(0.1)
            handled.append(1)

        everyone = {id(broker): broker for broker in (one, two)}
        for broker in everyone.values():
            broker.subscribe("news", slow)
            await broker.start()
        await one.publish_and_wait("news", b"hello")
        assert len(handled) == len(everyone)

    async def test_waiting_for_a_handler_that_hangs_has_an_end(self, make_broker: MakeBroker) -> None:
        broker = await make_broker()
        started = asyncio.Event()

        async def hang(payload: bytes) -> None:
            started.set()
            await asyncio.Event().wait()

        broker.subscribe("news", hang)
        await broker.start()
        async with asyncio.timeout(LIMIT_S):
            await broker.publish_and_wait("news", timeout_s=0.1)
        assert started.is_set()

    async def test_a_failing_handler_stops_neither_the_other_nor_the_next_message(
        self, make_broker: MakeBroker
    ) -> None:
        broker, inbox = await make_broker(), Inbox()

        async def fail(payload: bytes) -> None:
            raise ZeroDivisionError

        broker.subscribe("news", fail)
        broker.subscribe("news", inbox)
        await broker.start()
        await broker.publish_and_wait("news", b"1")
        await broker.publish_and_wait("news", b"2")
        assert inbox.messages == [b"1", b"2"]
        assert broker.trusted

    async def test_a_broker_is_trusted_between_start_and_close(self, make_broker: MakeBroker) -> None:
        broker = await make_broker()
        assert not broker.trusted
        await broker.start()
        assert broker.trusted
        await broker.close()
        assert not broker.trusted

    async def test_publishing_with_the_service_gone_is_unavailable(
        self, make_broker: MakeBroker, take_away: Callable[[], Awaitable[None]]
    ) -> None:
        broker = await make_broker()
        await broker.start()
        await take_away()
        with pytest.raises(Unavailable):
            await broker.publish("news")
        with pytest.raises(Unavailable):
            await broker.publish_and_wait("news")
