"""Every router of the server, on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from litestar import Litestar, Router
from litestar.exceptions import HTTPException
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from groundplane.api import (
    auth,
    auth_refusals,
    collections,
    files,
    health,
    jobs,
    logs,
    openapi,
    realtime,
    settings,
    webhooks,
)
from groundplane.api.batch import handle_batch
from groundplane.api.errors import on_exception, on_http_exception
from groundplane.api.exchange import DEFAULT_MAX_BODY
from groundplane.api.gateway import Gateway
from groundplane.api.records import handle_quickly, handle_records

ROUTERS: tuple[Router, ...] = (
    auth.router,
    auth_refusals.router,
    collections.router,
    files.router,
    health.router,
    jobs.crons_router,
    jobs.jobs_router,
    logs.router,
    openapi.router,
    realtime.router,
    settings.router,
    webhooks.router,
)


class Inner(Litestar):
    """Litestar without what it adds for libraries that happen to be installed.

    Piccolo brings pydantic; to load it takes an eighth of a second of every start and sixteen megabytes of
    every worker, for models that no handler of ours has.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def make_gateway(
    *,
    lifespan: Sequence[Callable[[Litestar], AbstractAsyncContextManager[None]]] = (),
    origins: Sequence[str] = ("*",),
    max_body: int = DEFAULT_MAX_BODY,
) -> Gateway:
    """Put the HTTP side together; `attach` gives it the services, before or while `lifespan` starts.

    `origins` are the sites whose pages may call us (see `api/cors.py`), `max_body` is in bytes.
    Litestar only routes: no documents of its own, no logging, no exception pages.
    """
    inner = Inner(
        route_handlers=ROUTERS,
        lifespan=list(lifespan),
        exception_handlers={HTTPException: on_http_exception, Exception: on_exception},
        openapi_config=None,
        logging_config=None,
    )
    return Gateway(
        inner,
        records=handle_records,
        quickly=handle_quickly,
        batch=handle_batch,
        origins=origins,
        max_body=max_body,
    )
