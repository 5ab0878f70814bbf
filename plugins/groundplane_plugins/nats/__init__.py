"""Passes changes of records on to a stream of NATS JetStream, which drops repetitions by their id."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from groundplane.hooks import hookimpl
from groundplane.hooks.checks import BadPlugin
from groundplane.hooks.events import HealthCheck
from groundplane.services import Services
from groundplane.sinks.address import secrets_of, without_password
from groundplane.sinks.choice import Choice
from groundplane.sinks.sink import EventSink
from groundplane.sinks.template import PLACE, Template
from groundplane.sinks.tls import TLS

API_VERSION = 1

if find_spec("nats") is None:
    raise BadPlugin('it needs the library nats-py: pip install "groundplane[nats]"')


class Config(Choice, frozen=True, kw_only=True):
    """The section `[plugins.nats]`; what is not here is in `Choice`.

    `servers`        addresses, nats:// or tls://, with user and password where one is needed
    `subject`        a template
    `stream`         the stream that must keep the messages; "" is whichever takes the subject
    `create_stream`  make that stream, on disk, when it is not there
    `duplicates_s`   seconds for which a stream that we make knows the ids of messages
    `token`          proves who we are, instead of user and password
    `credentials`    path of a .creds file, instead of both
    `timeout_s`      seconds for connecting, and for the confirmation of a message
    `tls`            whom to trust, and our own certificate; for tls:// addresses
    """

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    subject: str = "groundplane.{collection}.{action}"
    stream: str = "GROUNDPLANE"
    create_stream: bool = True
    duplicates_s: float = 120.0
    token: str = ""
    credentials: str = ""
    timeout_s: float = 10.0
    tls: TLS = TLS()

    def __repr__(self) -> str:
        servers = tuple(without_password(server) for server in self.servers)
        return f"Config(servers={servers!r}, subject={self.subject!r}, …)"


def subjects_of(template: str) -> str:
    """Every subject that a template can become, as a stream is told it; raises ValueError."""
    if not PLACE.search(template):
        return template
    words = PLACE.split(template)[0].split(".")[:-1]
    if not words:
        raise ValueError("subject must begin with a word of its own, or create_stream be false")
    return ".".join([*words, ">"])


@hookimpl
def register_event_sinks(config: Config) -> list[EventSink]:
    # Imported here, not above: what is said there about a missing library must come first.
    from groundplane_plugins.nats.sink import NatsSink

    if not config.servers:
        raise ValueError("servers must name at least one server")
    creates = bool(config.stream) and config.create_stream
    sink = NatsSink(
        servers=config.servers,
        subject=Template(config.subject),
        stream=config.stream,
        subjects=subjects_of(config.subject) if creates else "",
        duplicates_s=config.duplicates_s,
        token=config.token,
        credentials=config.credentials,
        tls=config.tls,
        timeout_s=config.timeout_s,
    )
    secrets = [secret for server in config.servers for secret in secrets_of(server)]
    return [
        EventSink(
            sink=sink,
            choice=config,
            address=",".join(without_password(server) for server in config.servers),
            secrets=(*secrets, config.token),
            timeout_s=config.timeout_s,
        )
    ]


@hookimpl
async def health_checks(services: Services) -> Sequence[HealthCheck]:
    return await services.sinks.health("nats")
