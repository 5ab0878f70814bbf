"""Mails: the templates of collections with a preview and a test, and what waits or went to the outbox."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from litestar import Response, get, post
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.auth.trial_mails import PURPOSES, dummy, send_trial, template_of, trial_values
from groundplane.errors import Invalid, NotFound
from groundplane.jobs.job import Job
from groundplane.mail.message import MailNotSent
from groundplane.schema.collection import Collection
from groundplane.schema.options import AuthOptions, Template
from groundplane.settings.formats import is_email
from groundplane_admin.catalogue import say
from groundplane_admin.fields import field_messages
from groundplane_admin.registry import NavItem, Screen
from groundplane_admin.visits import Form, Toast, Visit, visit_of

MAX_SHOWN = 50  # of jobs and of mails in the outbox
HEAD_BYTES = 16_384  # of a mail in the outbox
# A preview runs nothing, sends nothing and knows nothing of us, whatever is in the template.
PREVIEW_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'; sandbox"
)
PLACES = {
    "verification": ("verificationTemplate",),
    "password-reset": ("resetPasswordTemplate",),
    "email-change": ("confirmEmailChangeTemplate",),
    "otp": ("otp", "emailTemplate"),
    "login-alert": ("authAlert", "emailTemplate"),
}
OWN = {
    "otp": ("{OTP}", "{OTP_ID}"),
    "login-alert": ("{ALERT_INFO}",),
}


class Entry(NamedTuple):
    """A template in the list; `is_on` is false where the collection does not send it."""

    collection: str
    purpose: str
    subject: str
    is_on: bool


class Kept(NamedTuple):
    """A mail in the outbox folder; its text stays there, for it may hold links that let one in."""

    to: str
    subject: str
    written: datetime
    name: str


class MailPage(NamedTuple):
    entries: list[Entry]
    mailer: str
    where: str
    jobs: list[Job]
    kept: list[Kept]


class TemplatePage(NamedTuple):
    collection: str
    purpose: str
    subject: str
    body: str
    placeholders: list[str]
    errors: dict[str, str]
    problem: str
    sent: str
    to: str


@get("/_/mail")
async def mail(request: AnyRequest) -> Response[bytes]:
    visit = visit_of(request)
    services = visit.services
    try:
        mailer = services.mail.mailer().name
    except MailNotSent:
        mailer = ""
    folder = services.config.outbox_folder
    smtp = services.settings.current.smtp
    page = MailPage(
        entries=[
            Entry(
                each.name,
                purpose,
                template_of(each.options, purpose).subject,
                is_on(each, each.options, purpose),
            )
            for each in services.schema.current
            if each.options is not None and each.is_auth
            for purpose in PURPOSES
        ],
        mailer=mailer,
        where=str(folder) if mailer == "outbox" else smtp.host if mailer == "smtp" else mailer,
        jobs=(await services.jobs.page(kind="mail", limit=MAX_SHOWN, with_total=False)).items,
        kept=await asyncio.to_thread(kept_in, folder),
    )
    return visit.page("mail/page.html", page)


@get("/_/mail/{name:str}/{purpose:str}")
async def template(request: AnyRequest, name: FromPath[str], purpose: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    return visit.page("mail/template.html", page_of(visit, *found_in(visit, name, purpose), purpose))


@post("/_/mail/{name:str}/{purpose:str}", status_code=200)
async def change(request: AnyRequest, name: FromPath[str], purpose: FromPath[str]) -> Response[bytes]:
    """Save a template."""
    visit = visit_of(request)
    collection, options = found_in(visit, name, purpose)
    given = template_in(await visit.form())
    raw: dict[str, Any] = {"subject": given.subject, "body": given.body}
    for step in reversed(PLACES[purpose]):
        raw = {step: raw}
    try:
        await visit.services.collections.update(collection.name, raw)
    except Invalid as error:
        errors = template_errors(error.data, purpose)
        page = page_of(visit, collection, options, purpose, given=given, errors=errors, problem=error.message)
        return visit.page("mail/template.html", page, status=422)
    return visit.go_to(f"/_/mail/{collection.name}/{purpose}", toast=Toast("mail.saved"))


@post("/_/mail/{name:str}/{purpose:str}/preview", status_code=200)
async def preview(request: AnyRequest, name: FromPath[str], purpose: FromPath[str]) -> Response[bytes]:
    """The mail that is typed, for a frame."""
    visit = visit_of(request)
    collection, _ = found_in(visit, name, purpose)
    return await previewed(visit, collection, purpose, template_in(await visit.form()))


@get("/_/mail/{name:str}/{purpose:str}/preview")
async def stored_preview(request: AnyRequest, name: FromPath[str], purpose: FromPath[str]) -> Response[bytes]:
    """The mail that is stored, for a frame."""
    visit = visit_of(request)
    collection, options = found_in(visit, name, purpose)
    return await previewed(visit, collection, purpose, template_of(options, purpose))


@post("/_/mail/{name:str}/{purpose:str}/test", status_code=200)
async def test(request: AnyRequest, name: FromPath[str], purpose: FromPath[str]) -> Response[bytes]:
    """Send the stored template to an address, for a record that is not there."""
    visit = visit_of(request)
    collection, options = found_in(visit, name, purpose)
    to = (await visit.form()).text("to").strip()
    problem = "" if is_email(to) else say("settings.no_address")
    if not problem:
        try:
            await send_trial(visit.services.mails, collection, purpose, to)
        except MailNotSent as error:
            problem = str(error)
    page = page_of(visit, collection, options, purpose, problem=problem, sent="" if problem else to)._replace(
        to=to
    )
    return visit.page("mail/template.html", page, status=422 if problem else 200)


async def previewed(visit: Visit, collection: Collection, purpose: str, given: Template) -> Response[bytes]:
    to = "someone@example.com"
    record = dummy(collection, to)
    values = trial_values(collection, record, purpose, to)
    message = await visit.services.mail.compose(purpose, collection, record, given, values, to)
    html = message.html if message is not None else say("mail.dropped")
    headers = {
        "Content-Security-Policy": PREVIEW_POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(html.encode("utf-8", "replace"), media_type="text/html; charset=utf-8", headers=headers)


def found_in(visit: Visit, name: str, purpose: str) -> tuple[Collection, AuthOptions]:
    """Raises NotFound."""
    collection = visit.services.schema.current.get(name)
    if collection is None or collection.options is None or purpose not in PLACES:
        raise NotFound()
    return collection, collection.options


def template_in(form: Form) -> Template:
    return Template(subject=form.text("subject"), body=form.text("body").replace("\r\n", "\n"))


def template_errors(data: Mapping[str, Any], purpose: str) -> dict[str, str]:
    found: Any = data
    for step in PLACES[purpose]:
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return field_messages(Invalid(data=found)) if isinstance(found, Mapping) else {}


def is_on(collection: Collection, options: AuthOptions, purpose: str) -> bool:
    if purpose == "otp":
        return options.otp.enabled
    if purpose == "login-alert":
        return options.auth_alert.enabled
    return purpose == "password-reset" or not collection.is_superusers


def placeholders_of(collection: Collection, purpose: str) -> list[str]:
    known = ["{APP_NAME}", "{APP_URL}", *OWN.get(purpose, ("{TOKEN}",))]
    return known + [f"{{RECORD:{field.name}}}" for field in collection.fields if not field.hidden]


def page_of(
    visit: Visit,
    collection: Collection,
    options: AuthOptions,
    purpose: str,
    *,
    given: Template | None = None,
    errors: dict[str, str] | None = None,
    problem: str = "",
    sent: str = "",
) -> TemplatePage:
    shown = given or template_of(options, purpose)
    return TemplatePage(
        collection=collection.name,
        purpose=purpose,
        subject=shown.subject,
        body=shown.body,
        placeholders=placeholders_of(collection, purpose),
        errors=errors or {},
        problem=problem,
        sent=sent,
        to=str(visit.user.record.get("email", "")),
    )


def kept_in(folder: Path) -> list[Kept]:
    """The newest mails of the outbox folder by their heads; none where there is no folder."""
    found: list[Kept] = []
    for path in sorted(folder.glob("*.eml"), reverse=True)[:MAX_SHOWN]:
        try:
            with path.open("rb") as file:
                head = email.message_from_bytes(file.read(HEAD_BYTES), policy=email.policy.default)
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError:
            continue  # it made room for others
        found.append(Kept(str(head.get("To", "")), str(head.get("Subject", "")), written, path.name))
    return found


SCREEN = Screen(
    handlers=[mail, template, change, preview, stored_preview, test],
    nav=[NavItem("operate", "mail.title", "/_/mail", "mail", order=50)],
)
