"""Every router of the server, on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from litestar import Litestar, Router
from litestar.exceptions import HTTPException
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from groundplane.api import (
    auth,
    auth_added,
    auth_mails,
    auth_oauth2,
    auth_otp,
    collections,
    files,
    health,
    jobs,
    logs,
    magic_links,
    openapi,
    passkeys,
    realtime,
    service_keys,
    sessions,
    settings,
    totp,
    webhooks,
)
from groundplane.api.batch import handle_batch
from groundplane.api.errors import on_exception, on_http_exception
from groundplane.api.exchange import DEFAULT_MAX_BODY
from groundplane.api.gateway import Gateway
from groundplane.api.inside import Inside
from groundplane.api.records import handle_quickly, handle_records

ROUTERS: tuple[Router, ...] = (
    auth.router,
    auth_added.router,
    auth_mails.router,
    auth_oauth2.redirect_router,
    auth_oauth2.router,
    auth_otp.router,
    collections.router,
    files.router,
    health.router,
    jobs.crons_router,
    jobs.jobs_router,
    logs.router,
    openapi.router,
    magic_links.router,
    passkeys.router,
    realtime.router,
    service_keys.router,
    sessions.router,
    settings.router,
    totp.router,
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


def make_litestar(routers: Sequence[Router]) -> Litestar:
    """An application that only routes: no documents of its own, no logging, no exception pages, no lifespan."""
    return Inner(
        route_handlers=routers,
        exception_handlers={HTTPException: on_http_exception, Exception: on_exception},
        openapi_config=None,
        logging_config=None,
    )


def make_inside(make_console: Callable[[], Litestar] | None = None) -> Inside:
    """Put together what routes the requests that are not for records.

    It takes a tenth of a second and knows nothing of a server but the services that the gateway attaches:
    several servers may have it one after another, never at once.
    """
    return Inside(make_litestar(ROUTERS), make_console)


def make_gateway(
    inside: Inside | None = None, *, origins: Sequence[str] = ("*",), max_body: int = DEFAULT_MAX_BODY
) -> Gateway:
    """Put the HTTP side together; `attach` gives it the services.

    `origins` are the sites whose pages may call us (see `api/cors.py`), `max_body` is in bytes.
    """
    return Gateway(
        inside if inside is not None else make_inside(),
        records=handle_records,
        quickly=handle_quickly,
        batch=handle_batch,
        origins=origins,
        max_body=max_body,
    )
