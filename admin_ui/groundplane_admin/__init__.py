"""The admin console under `/_/`: `mount` is all that app.py needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane_admin.mounting import make_routers, on_console_error

if TYPE_CHECKING:
    from litestar import Litestar


def mount(app: Litestar) -> None:
    """Add the console's routes to an application of its own, and its page for addresses that lead nowhere."""
    from litestar.exceptions import HTTPException

    for router in make_routers():
        app.register(router)
    app.exception_handlers[HTTPException] = on_console_error
