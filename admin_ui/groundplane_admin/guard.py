"""Who may come in: a superuser with a session that still counts, from an address that may, with our own forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from litestar import Response

from groundplane.api.exchange import AnyRequest, exchange, services_of
from groundplane.context import Caller
from groundplane.errors import Forbidden
from groundplane.security.addresses import covers
from groundplane.security.ids import secret
from groundplane_admin import forgery
from groundplane_admin.catalogue import say
from groundplane_admin.visits import (
    SCOPE_KEY,
    SESSION,
    VISITOR,
    Toast,
    Visit,
    read_cookies,
    sign_in_address,
)

if TYPE_CHECKING:
    from groundplane.services import Services

SAFE = ("GET", "HEAD")
BODY_LIMIT = "body_limit"  # of a handler's `opt`: (Exchange, Services) -> bytes


async def superusers_only(request: AnyRequest) -> Response[Any] | None:
    """Before every page: make the visit, or send the guest to sign in."""
    visit = await begin(request)
    if visit.caller is None:
        return signed_out(visit)
    await refuse_forged(request, visit)
    return None


async def everyone(request: AnyRequest) -> Response[Any] | None:
    """Before the pages that are for guests, too."""
    await refuse_forged(request, await begin(request))
    return None


async def begin(request: AnyRequest) -> Visit:
    ask, services = exchange(request), services_of(request)
    cookies = read_cookies(ask.headers.get("cookie", ""))
    token = cookies.get(SESSION, "")
    caller = await caller_of(services, token, ask.ip)
    if caller is not None:
        visit = Visit(request, caller, token)
        ask.caller = caller
    else:
        visitor = cookies.get(VISITOR, "")
        known = 30 <= len(visitor) <= 100 and visitor.isalnum()
        if not known:
            visitor = secret(40)
        visit = Visit(request, None, visitor)
        if not known:
            visit.cookie(VISITOR, visitor)
    request.scope[SCOPE_KEY] = visit  # type: ignore[literal-required]  # our own key
    return visit


async def caller_of(services: Services, token: str, ip: str) -> Caller | None:
    """The superuser behind a session's token, from where superusers may come; None for anybody else.

    It is looked up every time: a session that was ended elsewhere is over with the next click.
    """
    if not token:
        return None
    caller = await services.auth.callers.caller(token)
    if caller is None or not caller.is_superuser:
        return None
    allowed = services.settings.current.superuser_ips
    return caller if not allowed or covers(allowed, ip) else None


async def refuse_forged(request: AnyRequest, visit: Visit) -> None:
    """Refuse what changes something and does not come from one of our own forms; raises Forbidden."""
    ask = visit.ask
    if ask.method in SAFE:
        return
    headers = ask.headers
    app_url = visit.services.settings.current.meta.app_url
    if not forgery.is_of_this_site(
        headers.get("origin", ""), headers.get("sec-fetch-site", ""), headers.get("host", ""), app_url
    ):
        raise Forbidden(say("frame.forged"))
    token = headers.get(forgery.HEADER, "")
    limit: Callable[..., int] | None = request.route_handler.opt.get(BODY_LIMIT)
    if limit is not None:
        ask.max_body = limit(ask, visit.services)
    if not token:
        token = (await visit.form()).text(forgery.FIELD)
    if not visit.accepts(token):
        raise Forbidden(say("frame.forged"))


def signed_out(visit: Visit) -> Response[bytes]:
    """Send a guest to the sign-in page; what was typed stays in the browser's draft."""
    had_session = bool(visit.sent_cookies.get(SESSION))
    back = visit.here if visit.ask.method in SAFE else ""
    if "hx-request" in visit.ask.headers:
        # The page that the browser shows, not the part of it that was asked for.
        shown = visit.ask.headers.get("hx-current-url", "")
        at = shown.find("/_/")
        back = shown[at:] if at >= 0 else back
    address = sign_in_address(back)
    if had_session:
        visit.forget_cookie(SESSION)
        visit.toasts = [Toast("session.ended", kind="info")]
    if "hx-request" in visit.ask.headers:
        visit.keep_messages()
        headers = {"HX-Redirect": address, "Cache-Control": "no-store"}
        return Response(b"", status_code=401, headers=headers, cookies=visit.cookies)
    return visit.go_to(address)
