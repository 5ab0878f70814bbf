"""Every router of the server, on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from litestar import Litestar, Router
from litestar.exceptions import HTTPException

from groundplane.api import auth, auth_refusals, collections, files, health, jobs, openapi, settings
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
    openapi.router,
    settings.router,
)


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
    inner = Litestar(
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
