"""Passes changes of records on to RabbitMQ; every message is confirmed before its event counts as delivered."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal

from groundplane.hooks import hookimpl
from groundplane.hooks.checks import BadPlugin
from groundplane.hooks.events import HealthCheck
from groundplane.services import Services
from groundplane.sinks.address import secrets_of, without_password
from groundplane.sinks.choice import Choice
from groundplane.sinks.sink import EventSink
from groundplane.sinks.template import Template
from groundplane.sinks.tls import TLS

API_VERSION = 1

if find_spec("aio_pika") is None:
    raise BadPlugin('it needs the library aio-pika: pip install "groundplane[rabbitmq]"')


class Config(Choice, frozen=True, kw_only=True):
    """The section `[plugins.rabbitmq]`; what is not here is in `Choice`.

    `url`             amqp:// or, with TLS, amqps://, with user, password and virtual host
    `exchange`        where messages are published; "" is the default exchange, whose keys are names of queues
    `exchange_type`   of the exchange, when it is declared
    `declare`         declare the exchange, durable; otherwise it must be there
    `routing_key`     a template
    `mandatory`       true: a message that reaches no queue counts as failed and is sent again
    `timeout_s`       seconds for connecting, and for the confirmation of a message
    `tls`             whom to trust, and our own certificate
    """

    url: str = "amqp://guest:guest@127.0.0.1:5672/"
    exchange: str = "groundplane"
    exchange_type: Literal["topic", "direct", "fanout", "headers"] = "topic"
    declare: bool = True
    routing_key: str = "{collection}.{action}"
    mandatory: bool = False
    timeout_s: float = 10.0
    tls: TLS = TLS()

    def __repr__(self) -> str:
        return f"Config(url={without_password(self.url)!r}, exchange={self.exchange!r}, …)"


@hookimpl
def register_event_sinks(config: Config) -> list[EventSink]:
    # Imported here, not above: what is said there about a missing library must come first.
    from groundplane_plugins.rabbitmq.sink import RabbitSink

    if not config.url.startswith(("amqp://", "amqps://")):
        raise ValueError("url must begin with amqp:// or amqps://")
    sink = RabbitSink(
        url=config.url,
        tls=config.tls,
        exchange=config.exchange,
        exchange_type=config.exchange_type if config.declare else "",
        routing_key=Template(config.routing_key),
        mandatory=config.mandatory,
    )
    return [
        EventSink(
            sink=sink,
            choice=config,
            address=without_password(config.url),
            secrets=secrets_of(config.url),
            timeout_s=config.timeout_s,
        )
    ]


@hookimpl
async def health_checks(services: Services) -> Sequence[HealthCheck]:
    return await services.sinks.health("rabbitmq")
