"""The part of the API document that is about webhooks, for superusers."""

from __future__ import annotations

from typing import Any

from groundplane.api.openapi_fields import DATE_PATTERN, JSON
from groundplane.api.openapi_records import answer, errors, parameters, ref
from groundplane.webhooks.webhook import ACTIONS, STATES

TAG: JSON = {"name": "Webhooks", "description": "Changes sent to other systems. Superusers only."}
TEXT: JSON = {"type": "string"}
TEXTS: JSON = {"type": "array", "items": TEXT}
NUMBER: JSON = {"type": "integer"}
SECONDS: JSON = {"type": "number", "minimum": 0}
DATE: JSON = {"type": "string", "pattern": DATE_PATTERN}
# Parameters and bodies take any date that a filter would.
SOME_DATE: JSON = {"type": "string"}


def operation(id: str, summary: str, client: str, **more: Any) -> JSON:
    return {
        "operationId": id,
        "tags": ["Webhooks"],
        "summary": summary,
        "security": [{"token": []}],
        "x-codeSamples": [{"lang": "JavaScript", "source": client}],
    } | more


def in_path(*names: str) -> list[JSON]:
    described = {"id": "The id of the webhook.", "delivery": "The id of the delivery."}
    schema = {"type": "string", "minLength": 1}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema, "description": described[name]}
        for name in names
    ]


def in_query(name: str, schema: JSON, description: str) -> JSON:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def json_body(schema: JSON, *, required: bool = True) -> JSON:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def webhook_paths() -> dict[str, JSON]:
    one = answer("The webhook.", ref("Webhook"))
    return {
        "/api/webhooks": {
            "get": operation(
                "webhooksList",
                "List webhooks, newest first",
                "await pb.send('/api/webhooks', {})",
                parameters=parameters("page", "perPage", "skipTotal", "fields"),
                responses={"200": answer("A page of webhooks.", ref("WebhookPage"))}
                | errors("400", "401", "403"),
            ),
            "post": operation(
                "webhooksCreate",
                "Make a webhook; the answer is the only one that shows its secrets",
                "await pb.send('/api/webhooks', { method: 'POST', body: "
                "{ name: 'shop', url: 'https://shop.example.com/hooks', collections: ['posts'] } })",
                parameters=parameters("fields"),
                requestBody=json_body(ref("WebhookBody")),
                responses={"200": one} | errors("400", "401", "403", "413"),
            ),
        },
        "/api/webhooks/{id}": {
            "parameters": in_path("id"),
            "get": operation(
                "webhooksView",
                "Show a webhook and how it does",
                "await pb.send('/api/webhooks/WEBHOOK_ID', {})",
                parameters=parameters("fields"),
                responses={"200": one} | errors("401", "403", "404"),
            ),
            "patch": operation(
                "webhooksUpdate",
                "Change a webhook; to enable it ends a suspension",
                "await pb.send('/api/webhooks/WEBHOOK_ID', { method: 'PATCH', body: { enabled: false } })",
                parameters=parameters("fields"),
                requestBody=json_body(ref("WebhookChange")),
                responses={"200": one} | errors("400", "401", "403", "404", "413"),
            ),
            "delete": operation(
                "webhooksDelete",
                "Delete a webhook with its deliveries",
                "await pb.send('/api/webhooks/WEBHOOK_ID', { method: 'DELETE' })",
                responses={"204": {"description": "Done."}} | errors("401", "403", "404"),
            ),
        },
        "/api/webhooks/{id}/test": {
            "parameters": in_path("id"),
            "post": operation(
                "webhooksTest",
                "Send a test message now",
                "await pb.send('/api/webhooks/WEBHOOK_ID/test', { method: 'POST' })",
                parameters=parameters("fields"),
                responses={"200": answer("What came of it.", ref("WebhookTest"))}
                | errors("401", "403", "404"),
            ),
        },
        "/api/webhooks/{id}/rotate": {
            "parameters": in_path("id"),
            "post": operation(
                "webhooksRotate",
                "Give a webhook a new secret and show it",
                "await pb.send('/api/webhooks/WEBHOOK_ID/rotate', { method: 'POST', body: { grace: 86400 } })",
                parameters=parameters("fields"),
                requestBody=json_body(
                    {"type": "object", "properties": {"grace": SECONDS, "secret": TEXT}}, required=False
                ),
                responses={"200": one} | errors("400", "401", "403", "404", "413"),
            ),
        },
        "/api/webhooks/{id}/replay": {
            "parameters": in_path("id"),
            "post": operation(
                "webhooksReplay",
                "Send the finished deliveries of a time and state again",
                "await pb.send('/api/webhooks/WEBHOOK_ID/replay', "
                "{ method: 'POST', body: { from: '2026-11-01', state: 'failed' } })",
                parameters=parameters("fields"),
                requestBody=json_body(ref("WebhookReplay"), required=False),
                responses={
                    "200": answer(
                        "How many are queued.", {"type": "object", "properties": {"deliveries": NUMBER}}
                    )
                }
                | errors("400", "401", "403", "404", "413"),
            ),
        },
        "/api/webhooks/{id}/deliveries": {
            "parameters": in_path("id"),
            "get": operation(
                "webhooksDeliveries",
                "List a webhook's deliveries, newest first",
                "await pb.send('/api/webhooks/WEBHOOK_ID/deliveries', { query: { state: 'failed' } })",
                parameters=[
                    in_query("state", {"type": "string", "enum": list(STATES)}, "Only those of this state."),
                    in_query("event", TEXT, "Only those of this event, the `webhook-id` that was sent."),
                    in_query("record", TEXT, "Only those about the record with this id."),
                    in_query("from", SOME_DATE, "Only those from this time on."),
                    in_query("to", SOME_DATE, "Only those before this time."),
                    *parameters("page", "perPage", "skipTotal", "fields"),
                ],
                responses={"200": answer("A page of deliveries.", ref("DeliveryPage"))}
                | errors("400", "401", "403", "404"),
            ),
        },
        "/api/webhooks/{id}/deliveries/{delivery}": {
            "parameters": in_path("id", "delivery"),
            "get": operation(
                "webhooksDelivery",
                "Show a delivery with its message and its attempts",
                "await pb.send('/api/webhooks/WEBHOOK_ID/deliveries/DELIVERY_ID', {})",
                parameters=parameters("fields"),
                responses={"200": answer("The delivery.", ref("DeliveryWithHistory"))}
                | errors("401", "403", "404"),
            ),
        },
        "/api/webhooks/{id}/deliveries/{delivery}/replay": {
            "parameters": in_path("id", "delivery"),
            "post": operation(
                "webhooksReplayDelivery",
                "Send a delivery again, or a waiting one now",
                "await pb.send('/api/webhooks/WEBHOOK_ID/deliveries/DELIVERY_ID/replay', { method: 'POST' })",
                parameters=parameters("fields"),
                responses={"200": answer("The delivery.", ref("Delivery"))} | errors("401", "403", "404"),
            ),
        },
    }


def webhook_schemas() -> dict[str, JSON]:
    wanted: JSON = {
        "name": {"type": "string", "maxLength": 100},
        "url": {"type": "string", "maxLength": 2048},
        "collections": TEXTS | {"description": 'Names or ids; "*" is every one but system collections.'},
        "actions": {"type": "array", "items": {"type": "string", "enum": list(ACTIONS)}},
        "condition": TEXT | {"description": "In the filter language; empty is always."},
        "fields": TEXTS | {"description": "Fields of the record to send; empty: all that are not hidden."},
        "headers": {"type": "object", "additionalProperties": TEXT},
        "enabled": {"type": "boolean"},
        "timeout": {"type": "number", "minimum": 1, "maximum": 60, "description": "Seconds."},
        "retries": {"type": "array", "items": SECONDS, "maxItems": 50},
        "concurrency": {"type": "integer", "minimum": 1, "maximum": 100},
    }
    secret = {"type": "object", "properties": {"secret": TEXT, "created": DATE, "expires": DATE}}
    state: JSON = {
        "state": {"type": "string", "enum": ["active", "failing", "open", "suspended", "disabled"]},
        "suspended": TEXT,
        "problem": TEXT,
        "failures": NUMBER,
        "failingSince": DATE,
        "pausedUntil": DATE,
        "lastSuccess": DATE,
        "lastFailure": DATE,
        "lastError": TEXT,
        "created": DATE,
        "updated": DATE,
    }
    delivery: JSON = {
        "id": TEXT,
        "event": TEXT,
        "type": TEXT,
        "collection": TEXT,
        "record": TEXT,
        "state": {"type": "string", "enum": list(STATES)},
        "attempts": NUMBER,
        "status": {"type": ["integer", "null"]},
        "error": TEXT,
        "job": TEXT,
        "nextAttempt": DATE,
        "queued": DATE,
        "created": DATE,
        "finished": DATE,
    }
    headers: JSON = {"type": "object", "additionalProperties": TEXT}
    attempt: JSON = {
        "number": NUMBER,
        "started": DATE,
        "durationMs": NUMBER,
        "request": {"type": "object", "properties": {"url": TEXT, "headers": headers}},
        "answer": {
            "type": ["object", "null"],
            "properties": {"status": NUMBER, "headers": headers, "body": TEXT},
        },
        "error": TEXT,
    }
    numbers = {name: NUMBER for name in ("page", "perPage", "totalItems", "totalPages")}

    def page(item: str) -> JSON:
        items = {"items": {"type": "array", "items": ref(item)}}
        return {"type": "object", "properties": items | numbers}

    given = {"secrets": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 5}}
    secrets: JSON = {"secrets": {"type": "array", "items": secret}}
    history: JSON = {"body": TEXT, "history": {"type": "array", "items": ref("DeliveryAttempt")}}
    return {
        "Webhook": {"type": "object", "properties": {"id": TEXT} | wanted | secrets | state},
        "WebhookBody": {
            "type": "object",
            "properties": wanted | given,
            "required": ["name", "url", "collections"],
        },
        "WebhookChange": {"type": "object", "properties": wanted},
        "WebhookPage": page("Webhook"),
        "WebhookReplay": {
            "type": "object",
            "properties": {
                "from": SOME_DATE,
                "to": SOME_DATE,
                "state": {"type": "string", "enum": ["failed", "delivered", "all"]},
            },
        },
        "WebhookTest": {"type": "object", "properties": delivery | {"attempt": ref("DeliveryAttempt")}},
        "Delivery": {"type": "object", "properties": delivery},
        "DeliveryAttempt": {"type": "object", "properties": attempt},
        "DeliveryPage": page("Delivery"),
        "DeliveryWithHistory": {"type": "object", "properties": delivery | history},
    }
