"""Events to a real NATS with JetStream."""

from __future__ import annotations

import pytest

from groundplane.testing.event_sinks import EventSinkSuite, OpenSink


@pytest.fixture
def open_sink(open_nats: OpenSink) -> OpenSink:
    return open_nats


class TestNats(EventSinkSuite):
    pass
