"""…/request-verification, …/request-password-reset, …/request-email-change and their confirmations."""

from __future__ import annotations

from litestar import Router, post

from groundplane.api.auth import collection_of
from groundplane.api.caller import require_same_collection
from groundplane.api.exchange import AnyRequest, exchange, services_of
from groundplane.auth.service import NO_PASSWORDS
from groundplane.errors import Invalid

VERIFIED = "All superusers are verified by default."
OWN_EMAILS = "All superusers can change their emails directly."
EMAIL_FORM: dict[str, type] = {"email": str}
TOKEN_FORM: dict[str, type] = {"token": str}
RESET_FORM: dict[str, type] = {"token": str, "password": str, "passwordConfirm": str}
NEW_EMAIL_FORM: dict[str, type] = {"newEmail": str}
CHANGE_FORM: dict[str, type] = {"token": str, "password": str}


@post("/request-verification", status_code=204)
async def request_verification(request: AnyRequest) -> None:
    """Have a mail sent that proves an address; the answer is the same for every address."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.require_ordinary(collection_of(ask), VERIFIED)
    form = await ask.json_form(EMAIL_FORM)
    await services.email_flows.request_verification(collection, form["email"])


@post("/confirm-verification", status_code=204)
async def confirm_verification(request: AnyRequest) -> None:
    """Take an address as proven, with the token from the mail."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.require_ordinary(collection_of(ask), VERIFIED)
    form = await ask.json_form(TOKEN_FORM)
    await services.email_flows.confirm_verification(collection, form["token"])


@post("/request-password-reset", status_code=204)
async def request_password_reset(request: AnyRequest) -> None:
    """Have a mail sent to choose a new password; the answer is the same for every address."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.collection(collection_of(ask))
    if collection.options is None or not collection.options.password_auth.enabled:
        raise Invalid(NO_PASSWORDS)
    form = await ask.json_form(EMAIL_FORM)
    await services.email_flows.request_password_reset(collection, form["email"])


@post("/confirm-password-reset", status_code=204)
async def confirm_password_reset(request: AnyRequest) -> None:
    """Set a new password with the token from the mail."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.collection(collection_of(ask))
    form = await ask.json_form(RESET_FORM, hide_cause=True)
    await services.email_flows.confirm_password_reset(
        collection, form["token"], form["password"], form["passwordConfirm"]
    )


@post("/request-email-change", status_code=204)
async def request_email_change(request: AnyRequest) -> None:
    """Send a mail to a new address of the caller, who has to confirm it."""
    ask, services = exchange(request), services_of(request)
    caller = require_same_collection(ask, services.schema.current, collection_of(ask))
    collection = services.auth.require_ordinary(collection_of(ask), OWN_EMAILS)
    form = await ask.json_form(NEW_EMAIL_FORM)
    await services.email_flows.request_email_change(collection, caller, form["newEmail"])


@post("/confirm-email-change", status_code=204)
async def confirm_email_change(request: AnyRequest) -> None:
    """Take the new address, with the token from the mail and the current password."""
    ask, services = exchange(request), services_of(request)
    collection = services.auth.require_ordinary(collection_of(ask), OWN_EMAILS)
    form = await ask.json_form(CHANGE_FORM)
    await services.email_flows.confirm_email_change(collection, form["token"], form["password"])


router = Router(
    "/api/collections/{collection:str}",
    route_handlers=[
        confirm_email_change,
        confirm_password_reset,
        confirm_verification,
        request_email_change,
        request_password_reset,
        request_verification,
    ],
)
