"""…/request-otp and …/auth-with-otp: signing in with a mailed code."""

from __future__ import annotations

from litestar import Response, Router, post

from groundplane.api.auth import answer, collection_of
from groundplane.api.exchange import AnyRequest, exchange, services_of
from groundplane.api.response import json_reply, to_response

REQUEST_FORM: dict[str, type] = {"email": str}
SIGN_IN_FORM: dict[str, type] = {"otpId": str, "password": str, "mfaId": str}


@post("/request-otp", status_code=200)
async def request_otp(request: AnyRequest) -> Response[bytes]:
    """Have a code mailed; the answer is the same for every address."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.require_otp(collection_of(ask))
    form = await ask.json_form(REQUEST_FORM)
    otp_id = await services.otp.request(collection.id, form["email"])
    return to_response(json_reply({"otpId": otp_id}, fields=ask.query.get("fields")))


@post("/auth-with-otp", status_code=200)
async def auth_with_otp(request: AnyRequest) -> Response[bytes]:
    """Sign in with the code."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.require_otp(collection_of(ask))
    form = await ask.json_form(SIGN_IN_FORM)
    info = ask.info(body=(await ask.form()).values, context="otp")
    outcome = await services.otp.sign_in(collection.id, form, info, expand=ask.query.get("expand", ""))
    return answer(outcome, ask)


router = Router("/api/collections/{collection:str}", route_handlers=[auth_with_otp, request_otp])
