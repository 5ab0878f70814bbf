"""Settings: each with its source, changed section by section, tried out where they name another server."""

from __future__ import annotations

import time
from typing import NamedTuple

from litestar import Response, get, post
from litestar.params import FromPath
from markupsafe import escape

from groundplane.api.exchange import AnyRequest
from groundplane.config_sources import known_origin
from groundplane.errors import Invalid, NotFound
from groundplane.files.s3 import S3Files
from groundplane.files.storage import StorageFailed
from groundplane.files.trial import Step, try_store
from groundplane.mail.message import MailNotSent, Message
from groundplane.security.addresses import covers, parse_network
from groundplane.settings.formats import is_email
from groundplane_admin.catalogue import say
from groundplane_admin.registry import Screen, SettingsSection, settings_sections
from groundplane_admin.settings.forms import (
    Rule,
    ShownGroup,
    change_of,
    flat_errors,
    shown_groups,
)
from groundplane_admin.settings.sections import PRESETS, SECTIONS, SERVER, STORES
from groundplane_admin.settings.server import Table, tables_of
from groundplane_admin.visits import Form, Toast, Visit, visit_of


class Trial(NamedTuple):
    """How trying out went: a sentence, and the steps where there were several."""

    is_ok: bool
    text: str
    steps: list[Step]


class SettingsPage(NamedTuple):
    section: str
    sections: list[tuple[str, str]]
    groups: list[ShownGroup]
    problem: str
    others: list[str]
    preset: str
    presets: list[str]
    trial: Trial | None
    to: str
    store: str
    store_on: bool
    mailer: str


class ServerPage(NamedTuple):
    section: str
    sections: list[tuple[str, str]]
    tables: list[Table]
    file: str


@get("/_/settings")
async def settings_home(request: AnyRequest) -> Response[bytes]:
    return visit_of(request).go_to("/_/settings/application")


@get("/_/settings/server")
async def server_section(request: AnyRequest) -> Response[bytes]:
    """What only a new start changes."""
    visit = visit_of(request)
    page = ServerPage(SERVER, section_list(), tables_of(visit.services.config), known_origin().file)
    return visit.page("settings/server.html", page)


@get("/_/settings/{section:str}")
async def view_section(request: AnyRequest, section: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    return visit.page("settings/page.html", page_of(visit, known(section)))


@post("/_/settings/{section:str}", status_code=200)
async def change_section(request: AnyRequest, section: FromPath[str]) -> Response[bytes]:
    """Save a section; answered when every process has it."""
    visit = visit_of(request)
    groups = SECTIONS[known(section)]
    form = await visit.form()
    change, errors = change_of(groups, form)
    ips = change.get("superuserIPs")
    # Entries that are none are for the service to refuse.
    if not errors and ips and all(map(parse_network, ips)) and not covers(ips, visit.ask.ip):
        errors["superuserIPs"] = say("settings.locks_you_out", ip=visit.ask.ip)
    problem = ""
    if not errors:
        try:
            await visit.services.settings.change(change)
        except Invalid as error:
            errors, problem = dict(flat_errors(error.data)), error.message
        else:
            await visit.services.logs.trim()
            return visit.go_to(f"/_/settings/{section}", toast=Toast("settings.saved"))
    page = page_of(visit, section, form=form, errors=errors, problem=problem or say("settings.not_saved"))
    return visit.page("settings/page.html", page, status=422)


@post("/_/settings/mail/test", status_code=200)
async def test_mail(request: AnyRequest) -> Response[bytes]:
    """Send a mail with what is saved."""
    visit = visit_of(request)
    to = (await visit.form()).text("to").strip()
    trial = await mail_trial(visit, to)
    return tried(visit, "mail", trial, to)


@post("/_/settings/{section:str}/test", status_code=200)
async def test_store(request: AnyRequest, section: FromPath[str]) -> Response[bytes]:
    """Write, read, list and delete a file with what is saved."""
    visit = visit_of(request)
    if section not in STORES:
        raise NotFound()
    current = visit.services.settings.current
    wanted = current.s3 if section == "storage" else current.backups.s3
    if not wanted.enabled:
        trial = Trial(False, say("settings.store_off"), [])
    else:
        try:
            trial = store_trial(await try_store(S3Files(wanted)))
        except StorageFailed as problem:
            trial = Trial(False, str(problem), [])
    return tried(visit, section, trial)


async def mail_trial(visit: Visit, to: str) -> Trial:
    services = visit.services
    if not is_email(to):
        return Trial(False, say("settings.no_address"), [])
    meta = services.settings.current.meta
    text = say("settings.test_text", app=meta.app_name)
    message = Message(
        to=to,
        subject=say("settings.test_subject", app=meta.app_name),
        html=f"<!doctype html><p>{escape(text)}</p>",
        text=text,
        sender_name=meta.sender_name,
        sender_address=meta.sender_address,
    )
    began = time.monotonic()
    try:
        mailer = services.mail.mailer().name
        await services.mail.send("test", message)
    except MailNotSent as problem:
        return Trial(False, str(problem), [])
    seconds = f"{time.monotonic() - began:.1f}"
    if mailer == "outbox":
        return Trial(True, say("settings.test_outbox", folder=services.config.outbox_folder), [])
    where = services.settings.current.smtp.host if mailer == "smtp" else mailer
    return Trial(True, say("settings.test_sent", where=where, seconds=seconds), [])


def store_trial(steps: list[Step]) -> Trial:
    failed = next((step for step in steps if step.problem), None)
    if failed is None:
        return Trial(True, say("settings.store_ok"), steps)
    return Trial(False, say("settings.store_failed", step=say(f"settings.step_{failed.name}")), steps)


def tried(visit: Visit, section: str, trial: Trial, to: str = "") -> Response[bytes]:
    """The outcome: in its place, or with the whole page."""
    status = 200 if trial.is_ok else 422
    page = page_of(visit, section, trial=trial, to=to)
    if visit.is_fragment and visit.ask.headers.get("hx-target", "").endswith("#settings-trial"):
        return visit.fragment("settings/_trial.html", page, status=status)
    return visit.page("settings/page.html", page, status=status)


def known(section: str) -> str:
    if section not in SECTIONS:
        raise NotFound()
    return section


def section_list() -> list[tuple[str, str]]:
    return [(each.name, each.label) for each in settings_sections()]


def page_of(
    visit: Visit,
    section: str,
    *,
    form: Form | None = None,
    errors: dict[str, str] | None = None,
    problem: str = "",
    trial: Trial | None = None,
    to: str = "",
) -> SettingsPage:
    errors = errors or {}
    current = visit.services.settings.current
    groups = shown_groups(SECTIONS[section], current, errors, form)
    paths = [each.input.path for group in groups for each in group.settings]
    others = [
        f"{name}: {message}"
        for name, message in errors.items()
        if not any(name == path or name.startswith(f"{path}.") for path in paths)
    ]
    preset = visit.ask.query.get("preset", "") if section == "rate-limits" and form is None else ""
    chosen = next((each for each in PRESETS if each.name == preset), None)
    if chosen is not None:
        rules = [Rule(*each) for each in chosen.rules]
        groups = [
            group._replace(
                settings=[
                    each._replace(rules=rules) if each.input.kind == "rules" else each
                    for each in group.settings
                ]
            )
            for group in groups
        ]
    return SettingsPage(
        section=section,
        sections=section_list(),
        groups=groups,
        problem=problem,
        others=others,
        preset=chosen.name if chosen is not None else "",
        presets=[each.name for each in PRESETS] if section == "rate-limits" else [],
        trial=trial,
        to=to or str(visit.user.record.get("email", "")),
        store=STORES.get(section, ""),
        store_on=section in STORES and (current.s3 if section == "storage" else current.backups.s3).enabled,
        mailer=mailer_of(visit),
    )


def mailer_of(visit: Visit) -> str:
    """Who sends mails now; "" when the configuration names somebody who is not there."""
    try:
        return visit.services.mail.mailer().name
    except MailNotSent:
        return ""


SCREEN = Screen(
    handlers=[
        settings_home,
        server_section,
        view_section,
        change_section,
        test_mail,
        test_store,
    ],
    settings=[
        *(
            SettingsSection(name, f"settings.section_{name.replace('-', '_')}", number * 10)
            for number, name in enumerate(SECTIONS, 1)
        ),
        SettingsSection(SERVER, "settings.section_server", 900),
    ],
)
