"""Routes and error pages: every handler of every screen behind its guard."""

from __future__ import annotations

from typing import Any, NamedTuple

from litestar import Response, Router, get
from litestar.exceptions import HTTPException
from litestar.params import FromPath

from groundplane.api.errors import failure_reply, translated
from groundplane.api.exchange import AnyRequest, exchange
from groundplane.errors import GroundplaneError, NotFound
from groundplane_admin.answers import html_answer, takes_gzip
from groundplane_admin.assets import FOREVER, assets, version
from groundplane_admin.guard import everyone, superusers_only
from groundplane_admin.registry import screens
from groundplane_admin.templates import render
from groundplane_admin.visits import SCOPE_KEY, Visit


class Problem(NamedTuple):
    """What an error page shows; `request_id` where it helps to find the log's entry."""

    status: int
    name: str
    message: str
    request_id: str


@get("/_/static/{build:str}/{path:path}", sync_to_thread=False)
def asset(request: AnyRequest, build: FromPath[str], path: FromPath[str]) -> Response[bytes]:
    """Answer with a style, a script, a font or an icon by its exact name."""
    found = assets().get(str(path).lstrip("/"))
    if found is None:
        raise NotFound("File not found.")
    # A page of a server that is being replaced asks for its own version: it gets ours, but not for good.
    lasting = FOREVER if build == version() else "no-cache"
    headers = {"Cache-Control": lasting, "Vary": "Accept-Encoding"}
    body = found.body
    if found.zipped and takes_gzip(request.headers.get("accept-encoding", "")):
        body, headers["Content-Encoding"] = found.zipped, "gzip"
    return Response(body, media_type=found.content_type, headers=headers)


def make_routers() -> list[Router]:
    """The console's routes by who gets to them."""
    guarded = [handler for screen in screens() for handler in screen.handlers]
    opened = [handler for screen in screens() for handler in screen.open_handlers]
    handlers: Any = {HTTPException: on_console_error, Exception: on_console_error}
    return [
        Router("/", route_handlers=[asset]),
        Router("/", route_handlers=guarded, before_request=superusers_only, exception_handlers=handlers),
        Router("/", route_handlers=opened, before_request=everyone, exception_handlers=handlers),
    ]


def on_console_error(request: AnyRequest, error: Exception) -> Response[bytes]:
    """A page, or a notice where the content would have been; logged as every failure."""
    ask = exchange(request)
    if isinstance(error, HTTPException):
        error = translated(error)
    reply = failure_reply(error, ask)
    if isinstance(error, GroundplaneError):
        message = error.message
    else:
        message = GroundplaneError.message
    name = f"errors.{reply.status}" if reply.status in (403, 404, 413, 429, 503) else "errors.other"
    if reply.status >= 500 and reply.status != 503:
        name = "errors.500"
    problem = Problem(reply.status, name, message, ask.request_id)
    visit: Visit | None = request.scope.get(SCOPE_KEY)  # type: ignore[assignment]  # our own key
    if visit is not None and visit.caller is not None:
        if visit.is_fragment and not visit.is_boosted:
            return visit.fragment("parts/_problem.html", problem, status=reply.status)
        return visit.page("error.html", problem, status=reply.status)
    is_part = "hx-request" in ask.headers and "hx-history-restore-request" not in ask.headers
    html = render("parts/_problem.html" if is_part else "outside_error.html", page=problem)
    accepted = ask.headers.get("accept-encoding", "")
    return html_answer(html, accepted=accepted, status=reply.status)
