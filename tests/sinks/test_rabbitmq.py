"""Events to a real RabbitMQ."""

from __future__ import annotations

import pytest

from groundplane.testing.event_sinks import EventSinkSuite, OpenSink


@pytest.fixture
def open_sink(open_rabbit: OpenSink) -> OpenSink:
    return open_rabbit


class TestRabbitMQ(EventSinkSuite):
    pass
