"""Sign-in endpoints whose method is not there yet: their refusals, which are the whole answer where it is off.

Where a collection allows such a method the endpoint is not found, until its own module replaces it here.
"""

from __future__ import annotations

from litestar import Response, Router, post

from groundplane.api.auth import collection_of
from groundplane.api.caller import require_same_collection
from groundplane.api.exchange import AnyRequest, exchange, services_of
from groundplane.auth.service import NO_PASSWORDS
from groundplane.errors import Invalid, NotFound

VERIFIED = "All superusers are verified by default."
OWN_EMAILS = "All superusers can change their emails directly."


@post("/auth-with-oauth2")
async def auth_with_oauth2(request: AnyRequest) -> Response[bytes]:
    services_of(request).auth.require_oauth2(collection_of(exchange(request)))
    raise NotFound()


@post(["/auth-with-otp", "/request-otp"])
async def otp(request: AnyRequest) -> Response[bytes]:
    services_of(request).auth.require_otp(collection_of(exchange(request)))
    raise NotFound()


@post(["/confirm-verification", "/request-verification"])
async def verification(request: AnyRequest) -> Response[bytes]:
    services_of(request).auth.require_ordinary(collection_of(exchange(request)), VERIFIED)
    raise NotFound()


@post("/request-password-reset")
async def request_password_reset(request: AnyRequest) -> Response[bytes]:
    collection = services_of(request).auth.collection(collection_of(exchange(request)))
    if collection.options is None or not collection.options.password_auth.enabled:
        raise Invalid(NO_PASSWORDS)
    raise NotFound()


@post("/request-email-change")
async def request_email_change(request: AnyRequest) -> Response[bytes]:
    ask, services = exchange(request), services_of(request)
    require_same_collection(ask, services.schema.current, collection_of(ask))
    services.auth.require_ordinary(collection_of(ask), OWN_EMAILS)
    raise NotFound()


@post("/confirm-email-change")
async def confirm_email_change(request: AnyRequest) -> Response[bytes]:
    services_of(request).auth.require_ordinary(collection_of(exchange(request)), OWN_EMAILS)
    raise NotFound()


router = Router(
    "/api/collections/{collection:str}",
    route_handlers=[
        auth_with_oauth2,
        confirm_email_change,
        otp,
        request_email_change,
        request_password_reset,
        verification,
    ],
)
