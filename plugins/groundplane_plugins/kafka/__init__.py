"""Passes changes of records on to Kafka, with an idempotent producer, keyed by record."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal

from groundplane.hooks import hookimpl
from groundplane.hooks.checks import BadPlugin
from groundplane.hooks.events import HealthCheck
from groundplane.services import Services
from groundplane.sinks.choice import Choice
from groundplane.sinks.sink import EventSink
from groundplane.sinks.template import Template
from groundplane.sinks.tls import TLS

API_VERSION = 1

if find_spec("aiokafka") is None:
    raise BadPlugin('it needs the library aiokafka: pip install "groundplane[kafka]"')


class Config(Choice, frozen=True, kw_only=True):
    """The section `[plugins.kafka]`; what is not here is in `Choice`.

    `servers`       addresses of some brokers, host:port; the others are found by them
    `topic`         a template
    `compression`   of the batches that the producer sends
    `security`      how brokers are spoken to: in the clear or with TLS, with a password (sasl) or without
    `mechanism`     how the password is proven
    `user`, `password`   for sasl
    `timeout_s`     seconds for connecting, and for the confirmation of a message
    `tls`           whom to trust, and our own certificate
    """

    servers: tuple[str, ...] = ("127.0.0.1:9092",)
    topic: str = "groundplane.{collection}"
    compression: Literal["none", "gzip"] = "none"
    security: Literal["plain", "tls", "sasl_plain", "sasl_tls"] = "plain"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-256"
    user: str = ""
    password: str = ""
    timeout_s: float = 10.0
    tls: TLS = TLS()

    def __repr__(self) -> str:
        return f"Config(servers={self.servers!r}, topic={self.topic!r}, …)"


@hookimpl
def register_event_sinks(config: Config) -> list[EventSink]:
    # Imported here, not above: what is said there about a missing library must come first.
    from groundplane_plugins.kafka.sink import KafkaSink

    if not config.servers:
        raise ValueError("servers must name at least one broker")
    sink = KafkaSink(
        servers=config.servers,
        topic=Template(config.topic),
        compression=config.compression,
        security=config.security,
        mechanism=config.mechanism,
        user=config.user,
        password=config.password,
        tls=config.tls,
        timeout_s=config.timeout_s,
    )
    return [
        EventSink(
            sink=sink,
            choice=config,
            address=",".join(config.servers),
            secrets=(config.password,),
            timeout_s=config.timeout_s,
        )
    ]


@hookimpl
async def health_checks(services: Services) -> Sequence[HealthCheck]:
    return await services.sinks.health("kafka")
