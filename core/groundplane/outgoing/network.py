"""The network as httpcore sees it: a name is resolved once, and only addresses that may be reached are connected to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

import httpcore

Addresses: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that `addresses` gives for a host and port.

    The certificate is checked against the name all the same: httpcore passes it on when TLS begins.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._system = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's name
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._addresses(host, port)
        except (OSError, UnicodeError) as error:
            # Names that no name server could have heard of are refused while they are encoded.
            raise httpcore.ConnectError(f"{host} is not known") from error
        failure = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._system.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = (
                    error if isinstance(error, httpcore.ConnectError) else httpcore.ConnectError(str(error))
                )
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's name
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.UnsupportedProtocol("there are only connections over the network")

    async def sleep(self, seconds: float) -> None:
        await self._system.sleep(seconds)
