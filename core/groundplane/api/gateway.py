"""The outermost application: what happens to every request before a handler sees it, in the contract's order."""

from __future__ import annotations

import asyncio
import html
import posixpath
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import quote

from groundplane.api.caller import token_of
from groundplane.api.cors import Cors
from groundplane.api.direct import ASKED_KEY, DirectReads
from groundplane.api.direct_creates import CALLER_KEY, FAILED_KEY, DirectCreates
from groundplane.api.errors import failure_reply
from groundplane.api.exchange import DEFAULT_MAX_BODY, SCOPE_KEY, Disconnected, Exchange, Reply
from groundplane.api.finished import tell
from groundplane.api.key_scopes import check_key
from groundplane.api.limits import Limits, collection_route
from groundplane.api.plugins import handle_plugin
from groundplane.api.realtime import serve_stream
from groundplane.api.realtime_socket import SOCKET, check_origin, open_socket, refuse_socket, serve_socket
from groundplane.api.uploads import capabilities, conceal, handle_uploads, is_uploads
from groundplane.auth.service_keys import PREFIX
from groundplane.context import REQUEST_ID
from groundplane.db.lanes import DEPARTURE, Departed, Departure
from groundplane.errors import Forbidden, NotFound, Unavailable
from groundplane.hooks.events import ActorRequest
from groundplane.security.addresses import client_ip, covers
from groundplane.security.ids import request_id

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Message, Receive, Scope, Send

    from groundplane.api.inside import Inside
    from groundplane.context import Caller
    from groundplane.services import Services
    from groundplane.settings.values import TrustedProxy

Header: TypeAlias = tuple[bytes, bytes]

SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-xss-protection", b"1; mode=block"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
)
Handler: TypeAlias = "Callable[[Exchange, Services], Awaitable[Reply]]"
QuickHandler: TypeAlias = "Callable[[Exchange, Services], Awaitable[Reply | None]]"
DEPARTURE_KEY = "groundplane.departure"  # in the scope, where the HTTP server tells when a client goes
DEFAULT_BATCH_BODY = 128 * 1024 * 1024  # bytes


def encoded(headers: Sequence[tuple[str, str]]) -> list[Header]:
    """Headers as ASGI wants them, with lower-case names."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]


class Gateway:
    """Wraps the Litestar application; `records` and `batch` answer their endpoints without it.

    `quickly` is asked first about records, before anybody has looked up who asks: it gives an answer of which
    it is sure, or None.

    Give it the services with `attach` before it is asked anything (it answers 503 until then).
    """

    def __init__(
        self,
        inside: Inside,
        *,
        records: Handler,
        batch: Handler,
        quickly: QuickHandler | None = None,
        origins: Sequence[str] = ("*",),
        max_body: int = DEFAULT_MAX_BODY,
    ) -> None:
        self.inside = inside
        self._records = records
        self._batch = batch
        self._quickly = quickly
        self._max_body = max_body
        self._cors = Cors(origins)
        self._services: Services | None = None
        self._limits: Limits | None = None
        self.direct: DirectReads | None = None
        self.direct_creates: DirectReads | None = None

    def attach(self, services: Services) -> None:
        """Start to answer with these parts."""
        self.inside.attach(services)
        self._limits = Limits(services.db, services.settings)
        self.direct = DirectReads(services, self._cors, SECURITY_HEADERS)
        self.direct_creates = DirectCreates(services, self._cors, SECURITY_HEADERS)
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind == "http":
            await self._http(cast("HTTPScope", scope), receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive)
        exchange.request_id = request_id()
        REQUEST_ID.set(exchange.request_id)
        if (departure := cast("dict[str, Departure]", scope).get(DEPARTURE_KEY)) is not None:
            departure.task = asyncio.current_task()
            DEPARTURE.set(departure)
        exchange.max_body = self._max_body
        headers = [(b"x-request-id", exchange.request_id.encode())]
        if (clean := clean_path(exchange)) is not None:
            await put_out(redirect(clean, exchange), headers, exchange, send)
            return
        headers += self._cors.headers(
            exchange.method,
            exchange.headers.get("origin", ""),
            exchange.headers.get("access-control-request-headers"),
        )
        is_tus = is_uploads(exchange.segments)
        if exchange.method == "OPTIONS":
            await put_out(capabilities(self._services) if is_tus else Reply(204), headers, exchange, send)
            return
        if is_tus:
            conceal(exchange)
        try:
            await self._answer(exchange, headers, scope, receive, send)
        except Disconnected:
            return
        finally:
            exchange.close()
            if exchange.status and self._services is not None:
                note(exchange, self._services)
                tell(exchange, self._services)

    async def _websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        """Open a stream over a WebSocket; one that is refused gets an answer as any other request."""
        exchange = Exchange({**scope, "method": "GET"}, receive)  # type: ignore[typeddict-item]  # as it was asked
        exchange.request_id = request_id()
        REQUEST_ID.set(exchange.request_id)
        headers = [(b"x-request-id", exchange.request_id.encode()), *SECURITY_HEADERS]
        try:
            if exchange.segments != SOCKET:
                raise NotFound()
            check_origin(exchange, self._cors)
            services = await self._admit(exchange)
            client = await open_socket(exchange, services)
        except Exception as error:  # noqa: BLE001  # nothing may get past this without an answer
            await put_out(failure_reply(error, exchange), headers, exchange, partial(refuse_socket, send))
            if self._services is not None:
                note(exchange, self._services)
                tell(exchange, self._services)
            return
        await serve_socket(client, exchange, services, headers, scope, receive, send)

    async def _answer(
        self,
        exchange: Exchange,
        headers: list[Header],
        scope: HTTPScope,
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            exchange.is_tried = ASKED_KEY in scope
            if FAILED_KEY in scope:
                exchange.caller = cast("dict[str, Any]", scope).get(CALLER_KEY)
                raise cast("dict[str, Exception]", scope)[FAILED_KEY]
            if is_records(exchange.segments) and not exchange.is_tried:
                quick = await self._quick(exchange)
                if quick is not None:
                    await put_out(quick, [*headers, *SECURITY_HEADERS], exchange, send)
                    return
            services = await self._admit(exchange)
            match exchange.segments:
                case ("api", "collections", _, "records") | ("api", "collections", _, "records", _):
                    reply = await self._records(exchange, services)
                case ("api", "batch"):
                    reply = await self._batch(exchange, services)
                case ("api", "realtime") if exchange.method == "GET":
                    await serve_stream(
                        exchange, services, [*headers, *SECURITY_HEADERS], scope, receive, send
                    )
                    return
                case ("api", "files", "uploads") | ("api", "files", "uploads", _):
                    reply = await handle_uploads(exchange, services)
                case ("api", "x", _, *_):
                    reply = await handle_plugin(exchange, services)
                case _:
                    await self._litestar(exchange, headers, scope, receive, send)
                    return
        except Disconnected:
            raise
        except Departed as error:
            raise Disconnected from error
        except Exception as error:  # noqa: BLE001  # nothing may get past this without an answer
            reply = failure_reply(error, exchange)
        await put_out(reply, [*headers, *SECURITY_HEADERS], exchange, send)

    async def _quick(self, exchange: Exchange) -> Reply | None:
        if self._services is None or self._quickly is None:
            return None
        return await self._quickly(exchange, self._services)

    async def _admit(self, exchange: Exchange) -> Services:
        """Find out who asks and from where; refuse what the settings refuse."""
        services, limits = self._services, self._limits
        if services is None or limits is None:
            raise Unavailable()
        exchange.limits = limits
        settings = services.settings.current
        proxy = settings.trusted_proxy
        exchange.ip = ip_of(exchange, proxy)
        if token := token_of(exchange.headers.get("authorization", "")):
            if token.startswith(PREFIX):
                exchange.caller = await services.keys.caller(token)
            elif (caller := await services.auth.callers.caller(token)) is not None:
                exchange.caller = caller
                services.sessions.saw(caller, exchange.ip, exchange.headers.get("user-agent", ""))
        if exchange.caller is None and services.plugins.hooks.resolve_actor:
            exchange.caller = await named_by_plugins(exchange, services)
        if (
            settings.superuser_ips
            and exchange.caller is not None
            and exchange.caller.is_superuser
            and not covers(settings.superuser_ips, exchange.ip)
        ):
            raise Forbidden()
        check_key(exchange, services)
        match exchange.segments:
            case ("api", "collections", _, "records") | ("api", "collections", _, "records", _):
                # These know their collection's limits and check them themselves, in their own order.
                return services
            case ("api", "files", "uploads") | ("api", "files", "uploads", _):
                exchange.max_body = None  # they know better how much may come
            case ("api", "batch"):
                exchange.max_body = settings.batch.max_body_size or DEFAULT_BATCH_BODY
        route = collection_route("GET" if exchange.method == "HEAD" else exchange.method, exchange.segments)
        if route is None:
            await limits.check_path(exchange)
        else:
            collection = services.schema.current.find(
                route.collection, "Missing or invalid collection context."
            )
            await limits.check_action(exchange, collection, *route.tags)
        exchange.check_declared_size()
        return services

    async def _litestar(
        self,
        exchange: Exchange,
        headers: list[Header],
        scope: HTTPScope,
        receive: Receive,
        send: Send,
    ) -> None:
        if len(exchange.segments) > 1 and exchange.segments[-1] == "" and exchange.segments[0] == "api":
            raise NotFound()  # Litestar would take a trailing slash for none
        inner: dict[str, Any] = dict(scope)
        inner[SCOPE_KEY] = exchange
        # Each part stays one part, whatever it is made of: an encoded slash stays encoded here.
        inner["path"] = "/" + "/".join(part.replace("/", "%2F") for part in exchange.segments)
        inner["raw_path"] = exchange.raw_path.encode("latin-1", "replace")
        if exchange.method == "HEAD":
            inner["method"] = "GET"
        extra = [*headers, *SECURITY_HEADERS]

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                present = {name.lower() for name, _ in message["headers"]} | exchange.left_out
                added = [(name, value) for name, value in extra if name not in present or name == b"vary"]
                message["headers"] = [*message["headers"], *added]
            elif exchange.method == "HEAD" and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        try:
            await self.inside(inner, receive, send_on)  # type: ignore[arg-type]  # a copy of the scope with our key
        finally:
            exchange.route = inner.get("path_template", "")


def is_records(segments: tuple[str, ...]) -> bool:
    """Whether the path is that of a collection's records or one of them."""
    return (
        4 <= len(segments) <= 5
        and segments[3] == "records"
        and segments[1] == "collections"
        and segments[0] == "api"
    )


def clean_path(exchange: Exchange) -> str | None:
    """The path without empty, `.` and `..` parts when it has any; None when it is clean."""
    path = exchange.raw_path
    if path[:1] == "/" and "//" not in path and "/." not in path:
        return None
    parts = path.split("/")[1:]
    if path.startswith("/") and not any(part in (".", "..") for part in parts) and "" not in parts[:-1]:
        return None
    clean = "/" + posixpath.normpath("/" + path).strip("/")
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def redirect(path: str, exchange: Exchange) -> Reply:
    """Send the client to the clean path; a backslash is written so that no browser takes it for a slash."""
    target = quote(path, safe="/%:@!$&'()*+,;=~-._")
    if exchange.raw_query:
        target += "?" + quote(exchange.raw_query.decode("latin-1"), safe="/?%:@!$&'()*+,;=~-._[]")
    page = f'<a href="{html.escape(target)}">Temporary Redirect</a>.\n\n'
    return Reply(307, page.encode(), (("Location", target),), "text/html; charset=utf-8")


def ip_of(exchange: Exchange, proxy: TrustedProxy) -> str:
    """The client's address, from the headers of proxies that the settings trust."""
    named = (exchange.last_header(name) for name in proxy.headers)
    return client_ip(exchange.remote_ip, named, leftmost=proxy.use_leftmost_ip)


async def named_by_plugins(exchange: Exchange, services: Services) -> Caller | None:
    """Who asks by the word of a plugin, where no token says so."""
    request = ActorRequest(exchange.method, exchange.path, exchange.headers, exchange.ip)
    return await services.actors.resolve(request)


def note(exchange: Exchange, services: Services) -> None:
    """Put an answered request into the log."""
    headers = exchange.headers
    proxy = services.settings.current.trusted_proxy
    services.logs.writer.seen(
        (
            exchange.started,
            perf_counter(),
            exchange.method,
            exchange.raw_path.encode("latin-1", "replace"),
            exchange.raw_query,
            exchange.status,
            headers.get("referer", "").encode("latin-1"),
            headers.get("user-agent", "").encode("latin-1"),
            exchange.caller,
            ip_of(exchange, proxy) if proxy.headers else exchange.ip,
            exchange.remote_ip,
            exchange.failure,
        )
    )


async def put_out(reply: Reply, general: list[Header], exchange: Exchange, send: Send) -> None:
    """Send a whole answer: the reply's own headers before the general ones, no body to HEAD or with 204."""
    headers = general
    exchange.status = reply.status
    if reply.headers:
        own = encoded(reply.headers)
        names = {name for name, _ in own}
        headers = [*own, *(header for header in general if header[0] not in names or header[0] == b"vary")]
    if reply.status not in (204, 304):
        headers.append((b"content-type", reply.content_type.encode("latin-1", "replace")))
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = b"" if exchange.method == "HEAD" or reply.status in (204, 304) else reply.body
    await send({"type": "http.response.body", "body": body, "more_body": False})
