"""What routes the requests that are not for records: the API's application, and the console's once it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from litestar import Litestar

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

    from groundplane.services import Services

CONSOLE = "/_"


class Inside:
    """Two Litestar applications behind one door.

    The console's hundred routes and their modules take a fifth of a worker's memory and a tenth of a second, and
    most workers never show a page: `make_console` is called with the first request below `/_/`, in a thread.
    """

    def __init__(self, api: Litestar, make_console: Callable[[], Litestar] | None = None) -> None:
        self._api = api
        self._make_console = make_console
        self._console: Litestar | None = None
        self._making = asyncio.Lock()
        self._services: Services | None = None

    def attach(self, services: Services) -> None:
        """Answer with these parts from now on."""
        self._services = services
        for each in (self._api, self._console):
            if each is not None:
                each.state.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if self._make_console is not None and (path == CONSOLE or path.startswith(f"{CONSOLE}/")):
            await (await self._made())(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    async def _made(self) -> Litestar:
        if self._console is None:
            async with self._making:
                if self._console is None:
                    made: Any = await asyncio.to_thread(self._make_console)  # type: ignore[arg-type]  # asked before
                    made.state.services = self._services
                    self._console = made
        return self._console
