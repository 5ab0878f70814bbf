"""/api/settings"""

from __future__ import annotations

import asyncio

from litestar import Response, Router, get, patch, post

from groundplane.api.caller import require_superuser
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.auth.apple import apple_client_secret
from groundplane.auth.forms import email_error
from groundplane.auth.trial_mails import PURPOSES, send_trial
from groundplane.context import SUPERUSERS
from groundplane.errors import REQUIRED, FieldError, Invalid
from groundplane.files.s3 import try_out
from groundplane.files.storage import StorageFailed
from groundplane.mail.message import MailNotSent
from groundplane.schema.limits import NOT_ALLOWED
from groundplane.settings.service import NOT_LOADED
from groundplane.settings.values import SettingsValues, to_json

EMAIL_FAILED = "Failed to send the test email."
BAD_COLLECTION = FieldError(
    "validation_invalid_auth_collection", "Must be a valid auth collection id or name."
)
S3_FAILED = "Failed to test the S3 filesystem."
APPLE_FORM: dict[str, type] = {
    "clientId": str,
    "teamId": str,
    "keyId": str,
    "privateKey": str,
    "duration": int,
}


def answer(values: SettingsValues, ask: Exchange) -> Response[bytes]:
    return to_response(json_reply(to_json(values), fields=ask.query.get("fields")))


@get("/")
async def view_settings(request: AnyRequest) -> Response[bytes]:
    """Show the settings without their secrets."""
    ask = exchange(request)
    require_superuser(ask)
    return answer(services_of(request).settings.current, ask)


@patch("/")
async def change_settings(request: AnyRequest) -> Response[bytes]:
    """Merge a change into the settings; answered when every process has it."""
    ask = exchange(request)
    require_superuser(ask)
    try:
        change = (await ask.form()).values
    except Invalid:
        raise Invalid(NOT_LOADED) from None
    services = services_of(request)
    values = await services.settings.change(change)
    await services.logs.trim()
    return answer(values, ask)


@post("/test/s3", status_code=204)
async def test_s3(request: AnyRequest) -> None:
    """Write and remove a small object with the saved settings."""
    ask = exchange(request)
    require_superuser(ask)
    form = await ask.json_form({"filesystem": str}, S3_FAILED)
    settings = services_of(request).settings.current
    stores = {"storage": settings.s3, "backups": settings.backups.s3}
    filesystem = form["filesystem"]
    if filesystem not in stores:
        wrong = NOT_ALLOWED if filesystem else REQUIRED
        raise Invalid(S3_FAILED, {"filesystem": wrong})
    try:
        await try_out(stores[filesystem])
    except StorageFailed as problem:
        raise Invalid(f"{S3_FAILED} Raw error: \n{problem}.") from problem


@post("/test/email", status_code=204)
async def test_email(request: AnyRequest) -> None:
    """Send one of a collection's mails to an address, for a record that is not there."""
    ask, services = exchange(request), services_of(request)
    require_superuser(ask)
    form = await ask.json_form({"email": str, "template": str, "collection": str}, EMAIL_FAILED)
    collection = services.schema.current.get(form["collection"] or SUPERUSERS)
    template = form["template"]
    errors = {
        "email": email_error(form["email"]),
        "template": (None if template in PURPOSES else NOT_ALLOWED) if template else REQUIRED,
        "collection": None if collection is not None and collection.is_auth else BAD_COLLECTION,
    }
    wrong = {name: error for name, error in errors.items() if error is not None}
    if wrong or collection is None:
        raise Invalid(EMAIL_FAILED, wrong)
    try:
        await send_trial(services.mails, collection, template, form["email"])
    except MailNotSent as problem:
        raise Invalid(f"{EMAIL_FAILED} Raw error: \n{problem}") from problem


@post("/apple/generate-client-secret")
async def generate_apple_client_secret(request: AnyRequest) -> Response[bytes]:
    """Sign the secret with which a collection signs its users in through Apple."""
    ask = exchange(request)
    require_superuser(ask)
    form = await ask.json_form(APPLE_FORM, "Invalid client secret data.", hide_cause=True)
    body = {"secret": await asyncio.to_thread(apple_client_secret, form)}
    return to_response(json_reply(body, fields=ask.query.get("fields")))


router = Router(
    "/api/settings",
    route_handlers=[change_settings, generate_apple_client_secret, test_email, test_s3, view_settings],
)
