"""One request to the console: who asks, what they sent, and how it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from litestar import Response
from litestar.datastructures import Cookie

from groundplane.api.exchange import AnyRequest, Exchange, Upload, exchange, services_of
from groundplane.context import Caller, RequestInfo
from groundplane_admin import forgery, formats
from groundplane_admin.answers import html_answer
from groundplane_admin.registry import settings_sections
from groundplane_admin.templates import render

if TYPE_CHECKING:
    from groundplane.services import Services

SESSION, VISITOR, THEME, ZONE, FLASH = "gp_session", "gp_visitor", "gp_theme", "gp_zone", "gp_flash"
SCOPE_KEY = "groundplane.visit"
THEMES = ("system", "light", "dark")
MAX_FLASH = 2000  # characters
YEAR_S = 365 * 24 * 3600


class Toast(msgspec.Struct, frozen=True, omit_defaults=True):
    """A short message: a name of the catalogue with its values. `kind` is ok, info or error.

    With `undo`, an address, it has a button that posts `undo_fields` there.
    """

    name: str
    values: dict[str, str | int] = {}
    kind: str = "ok"
    undo: str = ""
    undo_fields: dict[str, str] = {}


class Form(NamedTuple):
    """What a form sent: each name with all its texts, and the files."""

    texts: Mapping[str, Sequence[str]]
    uploads: Sequence[tuple[str, Upload]]

    def text(self, name: str, default: str = "") -> str:
        """The last text under a name: a checked box stands behind the hidden field that says it is not."""
        found = self.texts.get(name)
        return found[-1] if found else default

    def all(self, name: str) -> list[str]:
        return list(self.texts.get(name, ()))

    def has(self, name: str) -> bool:
        return name in self.texts


class Visit:
    """What a handler gets with `visit_of(request)`.

    `caller` is the superuser; None only in handlers for guests. `is_fragment` says that the browser swaps the
    answer into a page it has.
    """

    def __init__(self, request: AnyRequest, caller: Caller | None, secret: str) -> None:
        self.services: Services = services_of(request)
        self.ask: Exchange = exchange(request)
        self.caller = caller
        self._secret = secret
        self._form: Form | None = None
        self.cookies: list[Cookie] = []
        self.toasts: list[Toast] = []
        self._read_flash()

    # Who and with what

    @property
    def user(self) -> Caller:
        """The superuser; for handlers that only superusers get to."""
        if self.caller is None:
            raise RuntimeError("a guest has come to a page for superusers")
        return self.caller

    @cached_property
    def sent_cookies(self) -> dict[str, str]:
        return read_cookies(self.ask.headers.get("cookie", ""))

    @property
    def is_fragment(self) -> bool:
        headers = self.ask.headers
        return "hx-request" in headers and "hx-history-restore-request" not in headers

    @property
    def is_boosted(self) -> bool:
        """Whether the answer replaces the whole workspace beside the sidebar."""
        return self.is_fragment and self.ask.headers.get("hx-target", "").endswith("#workspace")

    @property
    def is_secure(self) -> bool:
        """Whether the browser speaks HTTPS, as far as the server or a trusted proxy can tell."""
        proto = self.ask.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
        app_url = self.services.settings.current.meta.app_url
        return proto == "https" or (not proto and urlsplit(app_url).scheme == "https" and self.is_at_app_url)

    @property
    def is_at_app_url(self) -> bool:
        host = self.ask.headers.get("host", "").lower()
        return host == urlsplit(self.services.settings.current.meta.app_url).netloc.lower()

    @property
    def theme(self) -> str:
        chosen = self.sent_cookies.get(THEME, "")
        return chosen if chosen in THEMES else "system"

    @property
    def zone(self) -> str:
        """The viewer's time zone by its name; "UTC" until the browser has said."""
        chosen = self.sent_cookies.get(ZONE, "")
        return chosen if formats.zone_of(chosen) is not None else "UTC"

    @property
    def csrf(self) -> str:
        """The token for a form of this answer."""
        return forgery.masked(self._secret)

    def accepts(self, token: str) -> bool:
        """Whether a token was made for this visitor."""
        return forgery.matches(self._secret, token)

    @property
    def path(self) -> str:
        return self.ask.raw_path

    @property
    def here(self) -> str:
        """The address that was asked for, with its query."""
        query = self.ask.raw_query.decode("latin-1")
        return self.ask.raw_path + (f"?{query}" if query else "")

    def info(self, *, body: Mapping[str, Any] | None = None, context: str = "default") -> RequestInfo:
        """The request as rules and hooks see it; the cookie and the page's own parameters stay out of it."""
        seen = self.ask.info(body=body, context=context, query={})
        headers = {name: value for name, value in seen.headers.items() if name != "cookie"}
        return msgspec.structs.replace(seen, headers=headers)

    async def form(self) -> Form:
        """The body as texts and files; raises what reading a body raises."""
        if self._form is None:
            pairs, uploads = await self.ask.texts()
            texts: dict[str, list[str]] = {}
            for name, value in pairs:
                texts.setdefault(name, []).append(value)
            self._form = Form(texts, uploads)
        return self._form

    # Answers

    def page(
        self, template: str, page: object, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response[bytes]:
        """A page in its frame, or without it where the browser has the frame already.

        The template begins with `{% extends frame %}` and fills the blocks `title` and `main`.
        """
        frame = "parts/_workspace.html" if self.is_boosted else "layout.html"
        html = render(template, frame=frame, page=page, visit=self, shell=Shell(self))
        return self._send(html, status, headers)

    def alone(self, template: str, page: object, *, status: int = 200) -> Response[bytes]:
        """A page without the frame, for guests; the template extends `alone.html`."""
        return self._send(render(template, page=page, visit=self), status, None)

    def fragment(
        self, template: str, page: object, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response[bytes]:
        """A part of a page, with the messages of this request behind it."""
        html = render(template, page=page, visit=self)
        if self.toasts:
            html += render("parts/_toasts.html", visit=self)
            self.toasts = []
        return self._send(html, status, headers)

    def go_to(self, address: str, *, toast: Toast | None = None) -> Response[bytes]:
        """Send the browser to another page of the console; a message goes along."""
        if toast is not None:
            self.toasts.append(toast)
        self.keep_messages()
        headers = {"Location": address, "Cache-Control": "no-store"}
        return Response(b"", status_code=303, headers=headers, cookies=self.cookies)

    def go_outside(self, address: str) -> Response[bytes]:
        """Have the browser load an address as a whole: after sign-in and sign-out."""
        if "hx-request" in self.ask.headers:
            headers = {"HX-Redirect": address, "Cache-Control": "no-store"}
            return Response(b"", status_code=200, headers=headers, cookies=self.cookies)
        return self.go_to(address)

    def cookie(
        self, name: str, value: str, *, max_age: int | None = None, path: str = "/_", readable: bool = False
    ) -> None:
        """Set a cookie with the answer; `max_age` in seconds, None until the browser is closed."""
        self.cookies.append(
            Cookie(
                key=name,
                value=value,
                path=path,
                max_age=max_age,
                httponly=not readable,
                secure=self.is_secure,
                samesite="lax",
            )
        )

    def forget_cookie(self, name: str) -> None:
        self.cookie(name, "", max_age=0)

    def _send(self, html: str, status: int, headers: Mapping[str, str] | None) -> Response[bytes]:
        accepted = self.ask.headers.get("accept-encoding", "")
        return html_answer(html, accepted=accepted, status=status, headers=headers, cookies=self.cookies)

    # Messages that outlive a redirect

    def _read_flash(self) -> None:
        text = self.sent_cookies.get(FLASH, "")
        if not text or self.ask.method not in ("GET", "HEAD"):
            return
        try:
            self.toasts = msgspec.json.decode(bytes.fromhex(text), type=list[Toast])
        except (ValueError, msgspec.DecodeError):
            self.toasts = []
        self.forget_cookie(FLASH)

    def keep_messages(self) -> None:
        """Leave the messages of this request to the next page."""
        if self.toasts:
            text = msgspec.json.encode(self.toasts).hex()
            if len(text) <= MAX_FLASH:
                self.cookie(FLASH, text, max_age=60)

    # What templates ask for

    def time(self, moment: datetime, *, seconds: bool = False, millis: bool = False) -> str:
        return formats.moment_in(moment, self.zone, seconds=seconds, millis=millis)


class Shell:
    """What the frame around a page shows: the sidebar."""

    def __init__(self, visit: Visit) -> None:
        from groundplane import __version__
        from groundplane_admin.sidebar import Sidebar

        self.version = __version__
        self.sidebar = Sidebar(visit.services.schema.current, visit.path)
        sections = settings_sections()
        self.settings = f"/_/settings/{sections[0].name}" if sections else ""
        settings = visit.services.settings.current
        self.app_name = settings.meta.app_name
        self.email = str(visit.caller.record.get("email", "")) if visit.caller is not None else ""


def visit_of(request: AnyRequest) -> Visit:
    """The visit that the guard has made for this request."""
    return cast("Visit", request.scope[SCOPE_KEY])  # type: ignore[literal-required]  # our own key


def read_cookies(header: str) -> dict[str, str]:
    """The cookies of a request; the first of a name counts."""
    found: dict[str, str] = {}
    for part in header.split(";"):
        name, sign, value = part.strip().partition("=")
        if sign and name:
            found.setdefault(name, value.strip('"'))
    return found


def sign_in_address(path: str) -> str:
    """Where a guest signs in, to come back afterwards."""
    return "/_/sign-in" if path in ("/_", "/_/") else f"/_/sign-in?next={quote(path, safe='/')}"


def safe_next(address: str) -> str:
    """An address to go on to after sign-in: a page of the console and nothing else."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or "\\" in address or not address.startswith("/_/"):
        return "/_/"
    return address if address.isprintable() and address.isascii() else "/_/"


def with_query(address: str, **values: str) -> str:
    """An address with parameters; empty ones are left out."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{address}?{query}" if query else address
