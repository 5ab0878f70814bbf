"""Messages between the processes that serve one database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

Handler: TypeAlias = Callable[[bytes], Awaitable[None]]
Catcher: TypeAlias = Callable[[], Awaitable[None]]


class Broker(Protocol):
    """Carries small messages to every live process, this one included, at most once.

    Messages of one channel are handled one after another, in the order in which one sender sent them.
    A failing handler is logged; the others run. Subscribe before `start`.
    """

    @property
    def process(self) -> str:
        """The name of this end, 12 hexadecimal digits: another one for each process and start."""
        ...

    async def processes(self) -> set[str]:
        """The names of the ends that are there now; raises Unavailable."""
        ...

    @property
    def trusted(self) -> bool:
        """Whether this process hears everything now; while it does not, its caches may be old."""
        ...

    def subscribe(self, channel: str, handler: Handler) -> None:
        """Call `handler` with each message of `channel`. Channel names are short ASCII words."""
        ...

    def on_reconnect(self, catch_up: Catcher) -> None:
        """Call `catch_up` after messages may have been missed; trust returns when all of them succeeded."""
        ...

    async def start(self) -> None:
        """Begin to hear messages; raises Unavailable when that is not possible now."""
        ...

    async def close(self) -> None: ...

    async def publish(self, channel: str, payload: bytes = b"") -> None:
        """Send a message; inside a database transaction it leaves with the commit or not at all.

        Raises Unavailable when it cannot be sent.
        """
        ...

    async def publish_and_wait(self, channel: str, payload: bytes = b"", timeout_s: float = 10) -> None:
        """Send a message and return when every live process has handled it.

        A process that dies meanwhile is not waited for. After `timeout_s` the ones that are missing are
        logged. Not for use inside a transaction, nor in a handler of the same channel.
        """
        ...
