"""What the start page finds out: what needs attention, how each part does, what anyone can read."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from groundplane.clock import now
from groundplane.collections.file import BadFile, read_document
from groundplane.errors import GroundplaneError
from groundplane.hooks.loading import Status
from groundplane.mail.outbox import OutboxMailer
from groundplane_admin.catalogue import say
from groundplane_admin.formats import duration, number, size
from groundplane_admin.records.listing import Total, total_of
from groundplane_admin.records.state import PER_PAGE, ListState
from groundplane_admin.registry import GROUPS, nav_items, settings_sections

if TYPE_CHECKING:
    from groundplane.files.usage import Counted
    from groundplane.schema.collection import Collection
    from groundplane.services import Services
    from groundplane_admin.visits import Visit

IN_TROUBLE = ("failing", "open", "suspended")
MOST = 5  # of one kind that are named
MOST_COUNTED = 20  # collections whose records are estimated


class Finding(NamedTuple):
    """A sentence and where to go for it; `kind` is danger, warn or info."""

    kind: str
    text: str
    href: str
    action: str


class Part(NamedTuple):
    """How a part of the server does: ok, warn or danger, in words."""

    name: str
    state: str
    text: str
    href: str


class Exposed(NamedTuple):
    """A collection that anyone can read: `by_link` where its list is closed."""

    collection: Collection
    by_link: bool
    total: Total


def page_at(href: str) -> str:
    """The address, if this console has a page there; "" if not."""
    known = {item.href for group in GROUPS for item in nav_items(group)}
    known |= {f"/_/settings/{section.name}" for section in settings_sections()}
    return href if href.partition("?")[0] in known else ""


async def attention(visit: Visit) -> list[Finding]:
    """What is wrong, the most urgent first."""
    services, moment = visit.services, now()
    found: list[Finding] = []
    for plugin in services.plugins.all:
        if plugin.status is Status.BROKEN:
            text = say("home.plugin_broken", name=plugin.name, reason=plugin.reason)
            found.append(Finding("danger", text, f"/_/plugins/{plugin.name}", "home.see_plugin"))
    troubled = [each for each in await services.webhooks.all() if each.state(moment) in IN_TROUBLE]
    for each in troubled[:MOST]:
        since = each.health.failing_since
        name = "home.webhook_stopped" if each.suspended else "home.webhook_failing"
        when = visit.time(since) if since is not None else visit.time(moment)
        text = say(name, name=each.definition.name, since=when)
        found.append(Finding("danger", text, f"/_/webhooks/{each.id}", "home.see_deliveries"))
    if len(troubled) > MOST:
        text = say("home.more_webhooks", n=len(troubled) - MOST)
        found.append(Finding("danger", text, "/_/webhooks", "home.see_all"))
    if dead := (await services.jobs.counts()).get("dead", 0):
        text = say("home.jobs_dead", n=dead, count=number(dead))
        found.append(Finding("danger", text, "/_/jobs?state=dead", "home.see_jobs"))
    if behind := await services.jobs.behind():
        text = say("home.jobs_behind", n=behind, count=number(behind))
        found.append(Finding("warn", text, "/_/jobs?state=waiting", "home.see_jobs"))
    mail = mail_part(services)
    if mail.state != "ok":
        text = say("home.mail_missing") if mail.state == "warn" else mail.text
        found.append(Finding(mail.state, text, mail.href, "home.set_up"))
    return found


def mail_part(services: Services) -> Part:
    href = page_at("/_/settings/mail") or page_at("/_/mail")
    try:
        mailer = services.mail.mailer()
    except GroundplaneError as error:
        return Part("mail", "danger", error.message, href)
    if isinstance(mailer, OutboxMailer):
        return Part("mail", "warn", say("home.mail_outbox"), href)
    return Part("mail", "ok", say("home.ok"), href)


async def parts(visit: Visit, usage: Counted) -> list[Part]:
    """Each part with a word about how it does."""
    services = visit.services
    began = time.perf_counter()
    taken = await services.db.fetchval("SELECT pg_database_size(current_database())")
    took = duration(1000 * (time.perf_counter() - began))
    database = Part("database", "ok", say("home.database", took=took, size=size(taken)), page_at("/_/sql"))
    broker = services.broker
    kind = "valkey" if services.config.broker.url else "own"
    heard = Part(
        "broker",
        "ok" if broker.trusted else "danger",
        say(f"home.broker_{kind}" if broker.trusted else "home.broker_lost"),
        "",
    )
    own_store = services.config.files.store
    place = "own" if own_store else "s3" if services.settings.current.s3.enabled else "folder"
    total = sum(each.bytes + each.thumb_bytes for each in usage.collections)
    count = sum(each.files for each in usage.collections)
    words = (
        say("home.files_unknown") if usage.measured is None else say("home.files", n=count, size=size(total))
    )
    files = Part("files", "ok", f"{words}, {say(f'home.store_{place}', name=own_store)}", page_at("/_/files"))
    counts = await services.jobs.counts()
    dead, waiting = counts.get("dead", 0), counts.get("waiting", 0) + counts.get("running", 0)
    jobs = Part(
        "jobs",
        "danger" if dead else "ok",
        say("home.jobs", waiting=number(waiting), dead=number(dead)),
        "/_/jobs",
    )
    plugins = services.plugins.all
    broken = sum(each.status is Status.BROKEN for each in plugins)
    loaded = sum(each.status is Status.LOADED for each in plugins)
    extra = Part(
        "plugins",
        "danger" if broken else "ok",
        say("home.plugins", loaded=str(loaded), broken=str(broken)),
        "/_/plugins",
    )
    return [database, heard, files, mail_part(services), jobs, extra]


async def exposed(visit: Visit) -> list[Exposed]:
    """Collections whose list or view is open to everybody, and how many records those have."""
    open_ones = [
        each
        for each in sorted(visit.services.schema.current, key=lambda each: each.name.lower())
        if each.list_rule == "" or each.view_rule == ""
    ]

    async def one(collection: Collection) -> Exposed:
        try:
            total = await total_of(visit, collection, ListState(collection.name), PER_PAGE[0])
        except GroundplaneError:
            total = Total(-1, False)
        return Exposed(collection, collection.list_rule != "", total)

    counted = await asyncio.gather(*[one(each) for each in open_ones[:MOST_COUNTED]])
    rest = [Exposed(each, each.list_rule != "", Total(-1, False)) for each in open_ones[MOST_COUNTED:]]
    return [*counted, *rest]


async def slow_findings(visit: Visit) -> list[Finding]:
    """What takes a while to find out: how database and configuration differ, what plugins say of themselves."""
    services = visit.services
    found: list[Finding] = []
    try:
        plan = await services.planner.plan(read_document(services.config.declared))
        if plan.steps:
            found.append(
                Finding(
                    "warn",
                    say("home.drift", n=len(plan.steps), first=plan.steps[0].text),
                    page_at("/_/schema/drift"),
                    "home.see_plan",
                )
            )
    except (BadFile, GroundplaneError) as error:
        found.append(Finding("danger", say("home.drift_unknown", reason=str(error)), "", ""))
    for each in await services.plugins.findings():
        if not each.sound:
            text = say("home.plugin_says", name=each.plugin, text=each.text)
            found.append(Finding("warn", text, f"/_/plugins/{each.plugin}", "home.see_plugin"))
    return found
