"""Events to the mock cluster of librdkafka, the one Kafka that these tests can have."""

from __future__ import annotations

import pytest

from groundplane.testing.event_sinks import EventSinkSuite, OpenSink


@pytest.fixture
def open_sink(open_kafka: OpenSink) -> OpenSink:
    return open_kafka


class TestKafka(EventSinkSuite):
    pass
