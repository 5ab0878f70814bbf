"""One connection to RabbitMQ with publisher confirms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from groundplane.sinks.sink import BrokerAway, Message
from groundplane.sinks.template import Template
from groundplane.sinks.tls import TLS

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection, AbstractExchange
    from pamqp.common import FieldTable


class RabbitSink:
    """`exchange_type` "" means that the exchange must be there."""

    def __init__(
        self, *, url: str, tls: TLS, exchange: str, exchange_type: str, routing_key: Template, mandatory: bool
    ) -> None:
        self._url = url
        self._tls = tls
        self._exchange_name = exchange
        self._exchange_type = exchange_type
        self._routing_key = routing_key
        self._mandatory = mandatory
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None

    async def open(self) -> None:
        import aio_pika

        context = self._tls.context() if self._url.startswith("amqps://") else None
        properties: FieldTable = {"connection_name": "groundplane"}
        self._connection = await aio_pika.connect(
            self._url, ssl_context=context, client_properties=properties
        )
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        if not self._exchange_name:
            self._exchange = channel.default_exchange
        elif self._exchange_type:
            self._exchange = await channel.declare_exchange(
                self._exchange_name, self._exchange_type, durable=True
            )
        else:
            self._exchange = await channel.get_exchange(self._exchange_name)

    async def close(self) -> None:
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def send(self, message: Message) -> None:
        from aio_pika import DeliveryMode
        from aio_pika import Message as Publishing
        from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError

        if self._exchange is None:
            raise BrokerAway("the connection is closed")
        publishing = Publishing(
            message.body,
            message_id=message.id,
            type=message.type,
            timestamp=datetime.fromtimestamp(message.at / 1000, UTC),
            headers={"collection": message.collection, "record": message.record},
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
            app_id="groundplane",
        )
        key = self._routing_key.fill(message)
        try:
            await self._exchange.publish(publishing, key, mandatory=self._mandatory)
        except DeliveryError:
            # Nobody's queue, or the broker could not keep it: true of this message, for now.
            raise
        except (AMQPError, ChannelInvalidStateError) as error:
            raise BrokerAway(f"{type(error).__name__}: {error}") from error
