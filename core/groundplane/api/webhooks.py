"""/api/webhooks"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from litestar import Response, Router, delete, get, patch, post
from litestar.params import FromPath

from groundplane.api.caller import require_superuser
from groundplane.api.exchange import AnyRequest, Exchange, exchange, services_of
from groundplane.api.response import json_reply, to_response
from groundplane.clock import now, wire_date
from groundplane.errors import FieldError, Invalid
from groundplane.records.paging import list_request, page_of
from groundplane.schema.dates import parse_date
from groundplane.webhooks.service import GRACE_S, MAX_GRACE_S, Selection
from groundplane.webhooks.webhook import (
    REDACTED,
    STATES,
    Attempt,
    Delivery,
    Webhook,
    definition_to_json,
)

FINISHED = ("delivered", "failed", "all")
LOAD_ERROR = "An error occurred while loading the submitted data."


def superuser_exchange(request: AnyRequest) -> Exchange:
    ask = exchange(request)
    require_superuser(ask)
    return ask


def answer(value: Any, ask: Exchange) -> Response[bytes]:
    return to_response(json_reply(value, fields=ask.query.get("fields")))


def shown(webhook: Webhook, request: AnyRequest) -> dict[str, Any]:
    """A webhook without what is secret."""
    names = {collection.id: collection.name for collection in services_of(request).schema.current}
    definition = definition_to_json(webhook.definition, names)
    definition["headers"] = dict.fromkeys(definition["headers"], REDACTED)
    health = webhook.health
    moment = now()
    return {
        "id": webhook.id,
        **definition,
        "secrets": [
            {"secret": REDACTED, "created": wire_date(each.created), "expires": wire_date(each.expires)}
            for each in webhook.secrets
            if each.expires is None or each.expires > moment
        ],
        "state": webhook.state(moment),
        "suspended": webhook.suspended,
        "problem": health.problem,
        "failures": health.failures,
        "failingSince": wire_date(health.failing_since),
        "pausedUntil": wire_date(health.open_until),
        "lastSuccess": wire_date(health.last_success),
        "lastFailure": wire_date(health.last_failure),
        "lastError": health.error,
        "created": wire_date(webhook.created),
        "updated": wire_date(webhook.updated),
    }


def delivery_to_json(delivery: Delivery, request: AnyRequest) -> dict[str, Any]:
    """A delivery without its message."""
    collection = services_of(request).schema.current.by_id.get(delivery.collection)
    return {
        "id": delivery.id,
        "event": delivery.event,
        "type": delivery.type,
        "collection": delivery.collection if collection is None else collection.name,
        "record": delivery.record,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "error": delivery.error,
        "job": delivery.job,
        "nextAttempt": wire_date(delivery.next_attempt),
        "queued": wire_date(delivery.queued),
        "created": wire_date(delivery.created),
        "finished": wire_date(delivery.finished),
    }


def attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "started": wire_date(attempt.started),
        "durationMs": attempt.duration_ms,
        "request": {"url": attempt.url, "headers": dict(attempt.request_headers)},
        "answer": None
        if attempt.status is None
        else {"status": attempt.status, "headers": dict(attempt.answer_headers), "body": attempt.answer},
        "error": attempt.error,
    }


def moment_of(values: Mapping[str, Any], key: str) -> datetime | None:
    """A time of a body or query; None when it is absent or empty. Raises Invalid."""
    text = values.get(key)
    if text is None or text == "":
        return None
    found = parse_date(text) if isinstance(text, str) else None
    if found is None:
        raise Invalid(LOAD_ERROR, {key: FieldError("validation_invalid_value", "Must be a date.")})
    return found


@get("/")
async def list_webhooks(request: AnyRequest) -> Response[bytes]:
    """List webhooks, newest first."""
    ask = superuser_exchange(request)
    wanted = list_request(ask.query)
    page = await services_of(request).webhooks.page(
        limit=wanted.per_page, offset=wanted.offset, with_total=not wanted.skip_total
    )
    return answer(page_of([shown(each, request) for each in page.items], wanted, page.total), ask)


@post("/", status_code=200)
async def create_webhook(request: AnyRequest) -> Response[bytes]:
    """Make a webhook; the only answer that shows its secrets."""
    ask = superuser_exchange(request)
    webhook, secrets = await services_of(request).webhooks.create((await ask.form()).values)
    body = shown(webhook, request)
    for each, secret in zip(body["secrets"], secrets, strict=True):
        each["secret"] = secret
    return answer(body, ask)


@get("/{id:str}")
async def view_webhook(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Show a webhook and how it does."""
    ask = superuser_exchange(request)
    return answer(shown(await services_of(request).webhooks.view(id), request), ask)


@patch("/{id:str}")
async def update_webhook(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Change a webhook; absent keys stay as they are."""
    ask = superuser_exchange(request)
    webhook = await services_of(request).webhooks.update(id, (await ask.form()).values)
    return answer(shown(webhook, request), ask)


@delete("/{id:str}", status_code=204)
async def delete_webhook(request: AnyRequest, id: FromPath[str]) -> None:
    """Delete a webhook with its deliveries."""
    superuser_exchange(request)
    await services_of(request).webhooks.delete(id)


@post("/{id:str}/test", status_code=200)
async def test_webhook(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Send a test message now and show what was answered."""
    ask = superuser_exchange(request)
    delivery, attempt = await services_of(request).webhooks.test(id)
    return answer(delivery_to_json(delivery, request) | {"attempt": attempt_to_json(attempt)}, ask)


@post("/{id:str}/rotate", status_code=200)
async def rotate_secret(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Give a webhook a new secret and show it; the ones before sign on for a while."""
    ask = superuser_exchange(request)
    values = (await ask.form()).values
    grace_s, given = values.get("grace", GRACE_S), values.get("secret")
    if isinstance(grace_s, bool) or not isinstance(grace_s, (int, float)) or not 0 <= grace_s <= MAX_GRACE_S:
        message = f"Must be a number of seconds between 0 and {MAX_GRACE_S:g}."
        raise Invalid(LOAD_ERROR, {"grace": FieldError("validation_invalid_value", message)})
    if given is not None and not isinstance(given, str):
        raise Invalid(LOAD_ERROR, {"secret": FieldError("validation_invalid_value", "Must be a text.")})
    webhook, secret = await services_of(request).webhooks.rotate(id, secret=given, grace_s=grace_s)
    body = shown(webhook, request)
    body["secrets"][-1]["secret"] = secret
    return answer(body, ask)


@post("/{id:str}/replay", status_code=200)
async def replay_deliveries(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """Send the finished deliveries of a time and state again, in the background."""
    ask = superuser_exchange(request)
    values = (await ask.form()).values
    state = values.get("state", "failed")
    if state not in FINISHED:
        raise Invalid(f"The state is one of {', '.join(FINISHED)}.")
    which = Selection(
        state="" if state == "all" else state, since=moment_of(values, "from"), until=moment_of(values, "to")
    )
    return answer({"deliveries": await services_of(request).webhooks.replay_range(id, which)}, ask)


@get("/{id:str}/deliveries")
async def list_deliveries(request: AnyRequest, id: FromPath[str]) -> Response[bytes]:
    """List a webhook's deliveries, newest first, of one state, event, record or time if so asked."""
    ask = superuser_exchange(request)
    wanted = list_request(ask.query)
    state = ask.query.get("state", "")
    if state not in ("", *STATES):
        raise Invalid(f"The state is one of {', '.join(STATES)}.")
    which = Selection(
        state=state,
        event=ask.query.get("event", ""),
        record=ask.query.get("record", ""),
        since=moment_of(ask.query, "from"),
        until=moment_of(ask.query, "to"),
    )
    page = await services_of(request).webhooks.deliveries(
        id, which, limit=wanted.per_page, offset=wanted.offset, with_total=not wanted.skip_total
    )
    return answer(page_of([delivery_to_json(each, request) for each in page.items], wanted, page.total), ask)


@get("/{id:str}/deliveries/{delivery:str}")
async def view_delivery(request: AnyRequest, id: FromPath[str], delivery: FromPath[str]) -> Response[bytes]:
    """Show a delivery with its message and its latest attempts."""
    ask = superuser_exchange(request)
    found, attempts = await services_of(request).webhooks.delivery(id, delivery)
    more = {"body": found.body, "history": [attempt_to_json(attempt) for attempt in attempts]}
    return answer(delivery_to_json(found, request) | more, ask)


@post("/{id:str}/deliveries/{delivery:str}/replay", status_code=200)
async def replay_delivery(request: AnyRequest, id: FromPath[str], delivery: FromPath[str]) -> Response[bytes]:
    """Send a delivery again, or a waiting one now."""
    ask = superuser_exchange(request)
    return answer(delivery_to_json(await services_of(request).webhooks.replay(id, delivery), request), ask)


router = Router(
    "/api/webhooks",
    route_handlers=[
        create_webhook,
        delete_webhook,
        list_deliveries,
        list_webhooks,
        replay_deliveries,
        replay_delivery,
        rotate_secret,
        test_webhook,
        update_webhook,
        view_delivery,
        view_webhook,
    ],
)
