"""One connection to NATS; JetStream acknowledges a message when its stream has it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from groundplane.sinks.sink import BrokerAway, Message, MessageRefused
from groundplane.sinks.template import Template
from groundplane.sinks.tls import TLS

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)


class NatsSink:
    """`subjects` are those of a stream that is made when it is missing; "" makes none."""

    def __init__(
        self,
        *,
        servers: Sequence[str],
        subject: Template,
        stream: str,
        subjects: str,
        duplicates_s: float,
        token: str,
        credentials: str,
        tls: TLS,
        timeout_s: float,
    ) -> None:
        self._servers = list(servers)
        self._subject = subject
        self._stream = stream
        self._subjects = subjects
        self._duplicates_s = duplicates_s
        self._token = token
        self._credentials = credentials
        self._tls = tls
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._stream_context: JetStreamContext | None = None

    async def open(self) -> None:
        import nats

        options: dict[str, Any] = {}
        if self._token:
            options["token"] = self._token
        if self._credentials:
            options["user_credentials"] = self._credentials
        if any(server.startswith("tls://") for server in self._servers):
            options["tls"] = self._tls.context()
        self._client = await nats.connect(
            self._servers,
            name="groundplane",
            allow_reconnect=False,  # we do that ourselves, like for every sink
            connect_timeout=max(int(self._timeout_s), 1),
            error_cb=self._heard_error,
            **options,
        )
        self._stream_context = self._client.jetstream(timeout=self._timeout_s)
        if self._subjects:
            await self._ensure_stream(self._stream_context)

    async def _heard_error(self, error: Exception) -> None:
        # What it means for a message is said where that is sent.
        log.debug("NATS: %s", type(error).__name__)

    async def _ensure_stream(self, context: JetStreamContext) -> None:
        from nats.js.api import StreamConfig
        from nats.js.errors import NotFoundError

        try:
            await context.stream_info(self._stream)
        except NotFoundError:
            await context.add_stream(
                StreamConfig(
                    name=self._stream, subjects=[self._subjects], duplicate_window=self._duplicates_s
                )
            )

    async def close(self) -> None:
        client, self._client, self._stream_context = self._client, None, None
        if client is not None:
            await client.close()

    async def send(self, message: Message) -> None:
        from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError
        from nats.js.errors import NoStreamResponseError

        if self._stream_context is None:
            raise BrokerAway("the connection is closed")
        headers = {
            "Nats-Msg-Id": message.id,
            "Type": message.type,
            "Collection": message.collection,
            "Record": message.record,
        }
        try:
            await self._stream_context.publish(
                self._subject.fill(message),
                message.body,
                stream=self._stream or None,
                headers=headers,
                timeout=self._timeout_s,
            )
        except MaxPayloadError as error:
            raise MessageRefused("the message is larger than the server takes") from error
        except NoStreamResponseError as error:
            raise LookupError(f"no stream takes the subject {self._subject.fill(message)}") from error
        except (ConnectionClosedError, OutboundBufferLimitError) as error:
            raise BrokerAway(f"{type(error).__name__}: {error}") from error
