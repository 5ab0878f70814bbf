"""Webhooks: what is sent where, how it goes, and every delivery with what was said."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from litestar import Response, get, post
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.clock import now
from groundplane.errors import Invalid
from groundplane.webhooks.service import Selection
from groundplane.webhooks.webhook import ACTIONS, EVERYTHING, STATES, Attempt, Delivery, Webhook
from groundplane_admin.fields import field_messages
from groundplane_admin.panels import closing, emptied, list_behind
from groundplane_admin.registry import Command, NavItem, Screen
from groundplane_admin.visits import Form, Toast, Visit, visit_of, with_query

PAGE_ROWS = 50
MAX_WEBHOOKS = 200
TROUBLE = ("failing", "open", "suspended")


class Line(NamedTuple):
    webhook: Webhook
    state: str
    collections: list[str]


class WebhooksPage(NamedTuple):
    lines: list[Line]


class Values(NamedTuple):
    """A form as it was sent, or as the stored webhook fills it."""

    name: str
    url: str
    collections: list[str]
    actions: list[str]
    condition: str
    fields: str
    headers: list[str]
    enabled: bool


class FormPage(NamedTuple):
    id: str
    values: Values
    known: list[str]
    actions: tuple[str, ...]
    errors: dict[str, str]


class SecretPage(NamedTuple):
    webhook: Webhook
    secrets: list[str]


class Shown(NamedTuple):
    """A delivery in the panel."""

    webhook: str
    delivery: Delivery
    collection: str
    attempts: list[Attempt]
    body: str
    back: str
    closing: str


class DeliveriesPage(NamedTuple):
    line: Line
    state: str
    states: list[tuple[str, str]]
    deliveries: list[Delivery]
    names: dict[str, str]
    newer: str
    older: str
    page: int
    open: Shown | None
    open_id: str


async def in_trouble(visit: Visit) -> str:
    """How many webhooks fail or were stopped, for the sidebar."""
    moment = now()
    count = sum(each.state(moment) in TROUBLE for each in await visit.services.webhooks.all())
    return str(count) if count else ""


@get("/_/webhooks")
async def webhooks(request: AnyRequest) -> Response[bytes]:
    visit = visit_of(request)
    found = await visit.services.webhooks.page(limit=MAX_WEBHOOKS, offset=0, with_total=False)
    return visit.page("webhooks/page.html", WebhooksPage([line_of(visit, each) for each in found.items]))


@get("/_/webhooks/new")
async def new_webhook(request: AnyRequest) -> Response[bytes]:
    visit = visit_of(request)
    wanted = visit.ask.query.get("collection", "")
    values = Values("", "", [wanted] if wanted else [], list(ACTIONS), "", "", [], True)
    return visit.page("webhooks/form.html", form_page(visit, "", values, {}))


@post("/_/webhooks", status_code=200)
async def create_webhook(request: AnyRequest) -> Response[bytes]:
    """Make one; the only page that shows its secret."""
    visit = visit_of(request)
    values = values_of(await visit.form())
    try:
        webhook, secrets = await visit.services.webhooks.create(raw_of(values, None))
    except Invalid as error:
        page = form_page(visit, "", values, field_messages(error))
        return visit.page("webhooks/form.html", page, status=422)
    return visit.page("webhooks/secret.html", SecretPage(webhook, secrets))


@get("/_/webhooks/{webhook_id:str}/edit")
async def edit_webhook(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    webhook = await visit.services.webhooks.view(webhook_id)
    return visit.page("webhooks/form.html", form_page(visit, webhook_id, stored_values(visit, webhook), {}))


@post("/_/webhooks/{webhook_id:str}/edit", status_code=200)
async def change_webhook(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    values = values_of(await visit.form())
    before = visit.services.webhooks.opened(await visit.services.webhooks.view(webhook_id)).headers
    try:
        await visit.services.webhooks.update(webhook_id, raw_of(values, before))
    except Invalid as error:
        page = form_page(visit, webhook_id, values, field_messages(error))
        return visit.page("webhooks/form.html", page, status=422)
    return visit.go_to(f"/_/webhooks/{webhook_id}", toast=Toast("webhooks.saved", {"name": values.name}))


@get("/_/webhooks/{webhook_id:str}")
async def deliveries(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    """A webhook with its deliveries, newest first."""
    visit = visit_of(request)
    if (none := emptied(visit)) is not None:
        return none
    return visit.page("webhooks/deliveries.html", await deliveries_page(visit, webhook_id))


@get("/_/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}")
async def delivery(
    request: AnyRequest, webhook_id: FromPath[str], delivery_id: FromPath[str]
) -> Response[bytes]:
    """A delivery with its message and its attempts, in the panel."""
    visit = visit_of(request)
    shown = await shown_delivery(visit, webhook_id, delivery_id)
    if visit.is_fragment and visit.ask.headers.get("hx-target", "").endswith("#panel"):
        return visit.fragment("webhooks/_panel.html", shown)
    return visit.page("webhooks/deliveries.html", await deliveries_page(visit, webhook_id, shown))


@post("/_/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}/replay", status_code=303)
async def replay(
    request: AnyRequest, webhook_id: FromPath[str], delivery_id: FromPath[str]
) -> Response[bytes]:
    """Send one again."""
    visit = visit_of(request)
    await visit.services.webhooks.replay(webhook_id, delivery_id)
    toast = Toast("webhooks.replayed")
    if visit.is_fragment:
        visit.toasts.append(toast)
        return visit.fragment("webhooks/_panel.html", await shown_delivery(visit, webhook_id, delivery_id))
    return visit.go_to(f"/_/webhooks/{webhook_id}/deliveries/{delivery_id}", toast=toast)


@post("/_/webhooks/{webhook_id:str}/replay", status_code=303)
async def replay_failed(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    """Send all that have failed again, in the background."""
    visit = visit_of(request)
    count = await visit.services.webhooks.replay_range(webhook_id, Selection(state="failed"))
    return visit.go_to(f"/_/webhooks/{webhook_id}", toast=Toast("webhooks.replayed_all", {"n": count}))


@post("/_/webhooks/{webhook_id:str}/test", status_code=303)
async def test(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    """Send a test message now; the page of its delivery shows what was answered."""
    visit = visit_of(request)
    sent, attempt = await visit.services.webhooks.test(webhook_id)
    toast = (
        Toast("webhooks.test_ok", {"status": attempt.status or 0, "ms": attempt.duration_ms})
        if attempt.succeeded
        else Toast("webhooks.test_failed", {"error": attempt.error or str(attempt.status)}, kind="error")
    )
    return visit.go_to(f"/_/webhooks/{webhook_id}/deliveries/{sent.id}", toast=toast)


@post("/_/webhooks/{webhook_id:str}/rotate", status_code=200)
async def rotate(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    """Give it a new secret, and show that once."""
    visit = visit_of(request)
    webhook, secret = await visit.services.webhooks.rotate(webhook_id)
    return visit.page("webhooks/secret.html", SecretPage(webhook, [secret]))


@post("/_/webhooks/{webhook_id:str}/switch", status_code=303)
async def switch(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    """Turn it on (which ends a suspension) or off."""
    visit = visit_of(request)
    on = (await visit.form()).text("on") == "true"
    await visit.services.webhooks.update(webhook_id, {"enabled": on})
    return visit.go_to(f"/_/webhooks/{webhook_id}", toast=Toast("webhooks.on" if on else "webhooks.off"))


@get("/_/webhooks/{webhook_id:str}/delete")
async def ask_to_delete(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    """What is lost, before it is."""
    visit = visit_of(request)
    line = line_of(visit, await visit.services.webhooks.view(webhook_id))
    if visit.is_fragment and visit.ask.headers.get("hx-target", "").endswith("#dialog"):
        return visit.fragment("webhooks/_delete.html", line)
    return visit.page("webhooks/delete.html", line)


@post("/_/webhooks/{webhook_id:str}/delete", status_code=303)
async def delete_webhook(request: AnyRequest, webhook_id: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    name = (await visit.services.webhooks.view(webhook_id)).definition.name
    await visit.services.webhooks.delete(webhook_id)
    return visit.go_to("/_/webhooks", toast=Toast("webhooks.deleted", {"name": name}))


def line_of(visit: Visit, webhook: Webhook) -> Line:
    known = visit.services.schema.current.by_id
    names = [known[each].name if each in known else each for each in webhook.definition.collections]
    return Line(webhook, webhook.state(now()), names)


def form_page(visit: Visit, id: str, values: Values, errors: dict[str, str]) -> FormPage:
    known = [EVERYTHING, *(each.name for each in visit.services.schema.current if not each.system)]
    return FormPage(id, values, known, ACTIONS, errors)


def stored_values(visit: Visit, webhook: Webhook) -> Values:
    given = webhook.definition
    return Values(
        given.name,
        given.url,
        line_of(visit, webhook).collections,
        list(given.actions),
        given.condition,
        ", ".join(given.fields),
        list(given.headers),
        given.enabled,
    )


def values_of(form: Form) -> Values:
    return Values(
        form.text("name").strip(),
        form.text("url").strip(),
        form.all("collections"),
        form.all("actions"),
        form.text("condition").strip(),
        form.text("fields").strip(),
        [line.strip() for line in form.text("headers").splitlines() if line.strip()],
        form.text("enabled") == "true",
    )


def raw_of(values: Values, before: dict[str, str] | None) -> dict[str, Any]:
    """What the service takes. A header's name alone keeps the value that is stored."""
    headers: dict[str, str] = {}
    for line in values.headers:
        name, colon, value = line.partition(":")
        kept = (before or {}).get(name.strip())
        headers[name.strip()] = value.strip() if colon or kept is None else kept
    return {
        "name": values.name,
        "url": values.url,
        "collections": values.collections,
        "actions": values.actions,
        "condition": values.condition,
        "fields": [each.strip() for each in values.fields.split(",") if each.strip()],
        "headers": headers,
        "enabled": values.enabled,
    }


async def deliveries_page(visit: Visit, webhook_id: str, open: Shown | None = None) -> DeliveriesPage:
    """Raises NotFound."""
    query = visit.ask.query
    path = f"/_/webhooks/{webhook_id}"
    state = query.get("state", "") if query.get("state") in STATES else ""
    number = query.get("page", "1")
    page = int(number) if number.isdecimal() and 0 < int(number) <= 10_000 else 1
    webhook = await visit.services.webhooks.view(webhook_id)
    found = await visit.services.webhooks.deliveries(
        webhook_id,
        Selection(state=state),
        limit=PAGE_ROWS + 1,
        offset=(page - 1) * PAGE_ROWS,
        with_total=False,
    )

    def at(number: int) -> str:
        return with_query(path, state=state, page=str(number) if number > 1 else "")

    return DeliveriesPage(
        line=line_of(visit, webhook),
        state=state,
        states=[(each, with_query(path, state=each)) for each in STATES],
        deliveries=found.items[:PAGE_ROWS],
        names={each.id: each.name for each in visit.services.schema.current},
        newer=at(page - 1) if page > 1 else "",
        older=at(page + 1) if len(found.items) > PAGE_ROWS else "",
        page=page,
        open=open,
        open_id=open.delivery.id if open is not None else "",
    )


async def shown_delivery(visit: Visit, webhook_id: str, delivery_id: str) -> Shown:
    """Raises NotFound."""
    found, attempts = await visit.services.webhooks.delivery(webhook_id, delivery_id)
    collection = visit.services.schema.current.by_id.get(found.collection)
    try:
        body = json.dumps(json.loads(found.body), indent=2, ensure_ascii=False)
    except ValueError:
        body = found.body
    back = list_behind(visit, f"/_/webhooks/{webhook_id}")
    return Shown(
        webhook_id,
        found,
        collection.name if collection is not None else found.collection,
        attempts,
        body,
        back,
        closing(back),
    )


SCREEN = Screen(
    handlers=[
        webhooks,
        new_webhook,
        create_webhook,
        edit_webhook,
        change_webhook,
        deliveries,
        delivery,
        replay,
        replay_failed,
        test,
        rotate,
        switch,
        ask_to_delete,
        delete_webhook,
    ],
    nav=[NavItem("operate", "webhooks.title", "/_/webhooks", "hook", order=20, badge=in_trouble)],
    commands=[Command("webhooks.new", "/_/webhooks/new", "plus")],
)
