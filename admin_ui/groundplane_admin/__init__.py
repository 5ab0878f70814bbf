"""The admin console under `/_/`: for now the page that makes the first superuser."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, Router, get
from litestar.params import FromPath

from groundplane import __version__
from groundplane.errors import NotFound

if TYPE_CHECKING:
    from jinja2 import Environment

# Nothing from other origins, nothing inline: a stored value that looks like a script stays text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
ASSETS = {"setup.css": "text/css", "setup.js": "text/javascript", "tokens.css": "text/css"}


@cache
def templates() -> Environment:
    """The pages' templates; their engine is loaded with the first page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("groundplane_admin")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


@get("/_")
async def start(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Answer with the set-up page; its script reads the one-time token from the address's fragment.

    Litestar takes `/_` and `/_/` for one path; the page's own address ends with the slash.
    """
    sent: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    if not sent.partition(b"?")[0].endswith(b"/"):
        return Response(b"", status_code=307, headers={"Location": "/_/"})
    html = templates().get_template("setup.html").render(version=__version__)
    return Response(html.encode(), media_type="text/html", headers=PAGE_HEADERS)


@get("/_/static/{name:str}")
async def asset(name: FromPath[str]) -> Response[bytes]:
    """Answer with a style or a script by its exact name."""
    media_type = ASSETS.get(name)
    if media_type is None:
        raise NotFound("File not found.")
    body = (files("groundplane_admin") / "static" / name).read_bytes()
    return Response(body, media_type=media_type, headers={"Cache-Control": "max-age=3600"})


def router() -> Router:
    """The console's routes, for `app.py`."""
    return Router("/", route_handlers=[start, asset])
