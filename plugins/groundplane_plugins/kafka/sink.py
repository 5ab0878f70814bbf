"""One idempotent producer; batches, retries and reconnects are the library's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from groundplane.sinks.sink import BrokerAway, Message, MessageRefused
from groundplane.sinks.template import Template
from groundplane.sinks.tls import TLS

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

PROTOCOLS = {"plain": "PLAINTEXT", "tls": "SSL", "sasl_plain": "SASL_PLAINTEXT", "sasl_tls": "SASL_SSL"}
# The library has to give a message up before we stop waiting: what nobody waits for any more could
# otherwise arrive behind the next event of the record.
SHARE_OF_TIMEOUT = 0.8
FLUSHING_S = 2.0


class KafkaSink:
    """Messages of a record go to one partition of the topic, in order."""

    def __init__(
        self,
        *,
        servers: Sequence[str],
        topic: Template,
        compression: str,
        security: str,
        mechanism: str,
        user: str,
        password: str,
        tls: TLS,
        timeout_s: float,
    ) -> None:
        self._servers = list(servers)
        self._topic = topic
        self._compression = None if compression == "none" else compression
        self._security = security
        self._mechanism = mechanism
        self._user = user
        self._password = password
        self._tls = tls
        self._timeout_ms = int(timeout_s * 1000 * SHARE_OF_TIMEOUT)
        self._producer: AIOKafkaProducer | None = None
        self._stopping: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        from aiokafka import AIOKafkaProducer

        with_password = self._security.startswith("sasl")
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            client_id="groundplane",
            acks="all",
            enable_idempotence=True,
            compression_type=self._compression,
            request_timeout_ms=self._timeout_ms,
            security_protocol=PROTOCOLS[self._security],
            ssl_context=self._tls.context() if self._security.endswith("tls") else None,
            sasl_mechanism=self._mechanism,
            sasl_plain_username=self._user if with_password else None,
            sasl_plain_password=self._password if with_password else None,
        )
        await self._producer.start()

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # It waits for what is on its way, which ends by itself; nobody has to wait for that here.
        stopping = asyncio.create_task(producer.stop(), name="kafka:stop")
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopped)
        await asyncio.wait([stopping], timeout=FLUSHING_S)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._stopping.discard(task)
        if not task.cancelled():
            task.exception()

    async def send(self, message: Message) -> None:
        from aiokafka.errors import (
            BrokerResponseError,
            InvalidTopicError,
            KafkaError,
            MessageSizeTooLargeError,
            RecordTooLargeError,
        )

        if self._producer is None:
            raise BrokerAway("the producer is closed")
        headers = [("id", message.id.encode())]
        headers += [(name, value.encode()) for name, value in message.headers.items()]
        try:
            await self._producer.send_and_wait(
                self._topic.fill(message),
                message.body,
                key=message.record.encode(),
                headers=headers,
                timestamp_ms=message.at,
            )
        except (MessageSizeTooLargeError, RecordTooLargeError, InvalidTopicError) as error:
            raise MessageRefused(f"{type(error).__name__}: {error}") from error
        except BrokerResponseError:
            # A topic that we may not write to, or that is not there: true of this message, for now.
            raise
        except KafkaError as error:
            raise BrokerAway(f"{type(error).__name__}: {error}") from error
