"""The part of the API document that is about realtime."""

from __future__ import annotations

from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_records import errors

TAG: JSON = {"name": "Realtime", "description": "Changes of records, as they happen."}
STREAM = """Server-sent events. The first, `PB_CONNECT`, tells the id to subscribe with; the others are named like
their topics, and their data is `{"record": …, "action": "create|update|delete", "cursor": …}`."""

SOCKET = """Needs the headers of a WebSocket. Every message is JSON: `{"event": …, "data": …}` from the server, with the
events of the other stream; `{"subscriptions": […], "token": …}` to it, answered with `@subscribed` or `@error`,
and for channels `{"send": …}` and `{"show": …}`, the bodies below with the channel's name."""

MEMBER: JSON = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Of this stay of this stream in the channel."},
        "caller": {
            "type": ["object", "null"],
            "properties": {
                "collectionId": {"type": "string"},
                "collectionName": {"type": "string"},
                "id": {"type": "string"},
            },
        },
        "state": {"type": "object"},
    },
}


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
    } | channel_paths()


def channel_paths() -> dict[str, JSON]:
    name: JSON = {"name": "channel", "in": "path", "required": True, "schema": {"type": "string"}}
    code = "await pb.realtime.subscribe('@channel/room-1', (event) => console.log(event.action))"
    common: JSON = {
        "tags": ["Realtime"],
        "x-codeSamples": [{"lang": "JavaScript", "source": code}],
        "parameters": [name],
        "security": [{}, {"token": []}],
    }
    client: JSON = {
        "type": "string",
        "description": "The stream that speaks; only superusers may send without one.",
    }

    def body(required: list[str], **properties: JSON) -> JSON:
        schema = {"type": "object", "required": required, "properties": {"clientId": client, **properties}}
        return {"required": True, "content": {"application/json": {"schema": schema}}}

    members: JSON = {"type": "object", "properties": {"members": {"type": "array", "items": MEMBER}}}
    return {
        "/api/realtime/channels/{channel}": {
            "get": common
            | {
                "operationId": "realtimeMembers",
                "summary": "See who is in a channel",
                "responses": {
                    "200": {
                        "description": "The members that can be seen.",
                        "content": {"application/json": {"schema": members}},
                    }
                }
                | errors("403", "404", "503"),
            },
            "post": common
            | {
                "operationId": "realtimeSend",
                "summary": "Send a message to a channel",
                "requestBody": body(
                    [],
                    event={"type": "string", "maxLength": 100, "default": "message"},
                    data={"description": "Any JSON."},
                    to={"type": "string", "description": "One member; all when it is absent."},
                    echo={"type": "boolean", "description": "Also to the sender."},
                ),
                "responses": {"204": {"description": "Sent to every node."}}
                | errors("400", "401", "403", "404", "413", "429", "503"),
            },
        },
        "/api/realtime/channels/{channel}/state": {
            "put": common
            | {
                "operationId": "realtimeShow",
                "summary": "Change how a member is seen",
                "requestBody": body(["clientId", "state"], state={"type": "object"}),
                "responses": {"204": {"description": "Changed."}}
                | errors("400", "403", "404", "413", "429", "503"),
            },
        },
    }
