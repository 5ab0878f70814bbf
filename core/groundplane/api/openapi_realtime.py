"""The part of the API document that is about realtime."""

from __future__ import annotations

from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_records import errors

TAG: JSON = {"name": "Realtime", "description": "Changes of records, as they happen."}
STREAM = """Server-sent events. The first, `PB_CONNECT`, tells the id to subscribe with; the others are named like
their topics, and their data is `{"record": …, "action": "create|update|delete", "cursor": …}`."""

SOCKET = """Needs the headers of a WebSocket. Every message is JSON: `{"event": …, "data": …}` from the server, with the
events of the other stream; `{"subscriptions": […], "token": …}` to it, answered with `@subscribed` or `@error`."""


def realtime_paths() -> dict[str, JSON]:
    code = "await pb.collection('posts').subscribe('*', (event) => console.log(event.action, event.record))"
    common: JSON = {"tags": ["Realtime"], "x-codeSamples": [{"lang": "JavaScript", "source": code}]}
    topics: JSON = {
        "type": "array",
        "maxItems": 1000,
        "items": {"type": "string", "maxLength": 2500},
        "examples": [["posts/*", "posts/RECORD_ID"]],
    }
    body: JSON = {
        "type": "object",
        "required": ["clientId"],
        "properties": {
            "clientId": {"type": "string", "minLength": 1, "maxLength": 255},
            "subscriptions": topics,
        },
    }
    since: JSON = {
        "name": "since",
        "in": "query",
        "schema": {"type": "string"},
        "description": "The last cursor seen: what was missed since comes with the first subscriptions.",
    }
    return {
        "/api/realtime": {
            "get": common
            | {
                "operationId": "realtimeConnect",
                "summary": "Open a stream of events",
                "security": [{}, {"token": []}],
                "parameters": [since],
                "responses": {
                    "200": {
                        "description": STREAM,
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    }
                }
                | errors("503"),
            },
            "post": common
            | {
                "operationId": "realtimeSubscribe",
                "summary": "Say what a stream wants to hear",
                "security": [{}, {"token": []}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {"204": {"description": "Effective on every node."}}
                | errors("400", "403", "404", "503"),
            },
        },
        "/api/realtime/ws": {
            "get": common
            | {
                "operationId": "realtimeSocket",
                "summary": "Open a stream of events over a WebSocket",
                "description": SOCKET,
                "security": [{}, {"token": []}],
                "parameters": [since],
                "responses": {"101": {"description": "The socket is open."}} | errors("403", "404", "503"),
            },
        },
    }
