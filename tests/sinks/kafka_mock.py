"""A Kafka cluster for tests: librdkafka's mock, in a process of its own that ends with its standard input."""

from __future__ import annotations

import sys

from confluent_kafka import Producer

cluster = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "none", "log_level": 0})
brokers = cluster.list_topics(timeout=10).brokers.values()
sys.stdout.write(",".join(f"{broker.host}:{broker.port}" for broker in brokers) + "\n")
sys.stdout.flush()
sys.stdin.read()
