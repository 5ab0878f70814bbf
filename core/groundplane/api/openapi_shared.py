"""The parts that operations of the API document refer to: parameters, error answers and fixed shapes."""

from __future__ import annotations

from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_records import ERRORS, answer, ref


def query(name: str, schema: JSON, description: str) -> JSON:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def shared_parameters() -> dict[str, JSON]:
    return {
        "id": {
            "name": "id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "description": "The record's id.",
        },
        "collection": {
            "name": "collection",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "description": "The collection's name or id.",
        },
        "page": query("page", {"type": "integer", "minimum": 1, "default": 1}, "Which page, from 1."),
        "perPage": query(
            "perPage",
            {"type": "integer", "minimum": 1, "maximum": 1000, "default": 30},
            "How many records on a page.",
        ),
        "sort": query(
            "sort",
            {"type": "string"},
            "Comma-separated fields, `-` in front for descending; also `@random` and `@rowid`.",
        ),
        "filter": query(
            "filter",
            {"type": "string", "maxLength": 3500},
            "A condition such as `title ~ 'ground' && views > 10`.",
        ),
        "expand": query("expand", {"type": "string"}, "Relations to include, such as `author,tags`."),
        "fields": query(
            "fields",
            {"type": "string"},
            "The keys to answer with, such as `id,title`; the others are left out.",
        ),
        "skipTotal": query(
            "skipTotal", {"type": "boolean", "default": False}, "Leave the totals out, which saves counting."
        ),
        "total": query(
            "total", {"type": "string", "enum": ["estimate"]}, "Have the totals estimated instead of counted."
        ),
        "cursor": query(
            "cursor",
            {"type": "string"},
            "The `nextCursor` of the page before, empty for the first page; pages then do not shift.",
        ),
        "ifMatch": header("If-Match", "The `ETag` that the record must still have."),
        "idempotencyKey": header(
            "Idempotency-Key",
            "A unique text; a repeated request with the same key gets the first answer again.",
        ),
    }


def header(name: str, description: str) -> JSON:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": description}


def shared_responses() -> dict[str, JSON]:
    return {f"Error{code}": answer(description, ref("Error")) for code, description in ERRORS.items()}


def shared_schemas() -> dict[str, JSON]:
    """Return the shapes that are the same on every server."""
    string: JSON = {"type": "string"}
    boolean: JSON = {"type": "boolean"}
    integer: JSON = {"type": "integer"}
    return {
        "Error": {
            "type": "object",
            "properties": {
                "data": {
                    "type": "object",
                    "description": "By field, `code` and `message`; empty when there are no details.",
                },
                "message": string,
                "status": integer,
            },
            "required": ["data", "message", "status"],
        },
        "Health": {
            "type": "object",
            "properties": {"code": integer, "message": string, "data": {"type": "object"}},
            "required": ["code", "message", "data"],
        },
        "FileToken": {"type": "object", "properties": {"token": string}, "required": ["token"]},
        "PasswordSignIn": {
            "type": "object",
            "properties": {
                "identity": string | {"description": "The value of an identity field, as a rule the email."},
                "password": string | {"format": "password", "writeOnly": True},
                "identityField": string | {"description": "Look only at this field."},
                "mfaId": string | {"description": "From the 401 answer to the first of two sign-ins."},
            },
            "required": ["identity", "password"],
        },
        "SecondFactor": {
            "type": "object",
            "properties": {"mfaId": string, "data": {"type": "object"}, "message": string, "status": integer},
        },
        "AuthMethods": {
            "type": "object",
            "properties": {
                "password": {
                    "type": "object",
                    "properties": {"enabled": boolean, "identityFields": {"type": "array", "items": string}},
                },
                "oauth2": {
                    "type": "object",
                    "properties": {
                        "enabled": boolean,
                        "providers": {"type": "array", "items": {"type": "object"}},
                    },
                },
                "mfa": {"type": "object", "properties": {"enabled": boolean, "duration": integer}},
                "otp": {"type": "object", "properties": {"enabled": boolean, "duration": integer}},
            },
            "required": ["password", "oauth2", "mfa", "otp"],
        },
        "Batch": {
            "type": "object",
            "properties": {
                "requests": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "method": {"type": "string", "enum": ["POST", "PATCH", "PUT", "DELETE"]},
                            "url": string
                            | {
                                "maxLength": 2000,
                                "examples": ["/api/collections/posts/records?expand=author"],
                            },
                            "headers": {"type": "object", "additionalProperties": string},
                            "body": {"type": "object"},
                        },
                        "required": ["method", "url"],
                    },
                }
            },
            "required": ["requests"],
        },
        "BatchResult": {
            "type": "object",
            "properties": {"status": integer, "body": {}},
            "required": ["status", "body"],
        },
    }


def admin_schemas() -> dict[str, JSON]:
    string: JSON = {"type": "string"}
    integer: JSON = {"type": "integer"}
    rule: JSON = {
        "type": ["string", "null"],
        "description": "null: superusers only; empty: everyone; else a condition.",
    }
    field: JSON = {
        "type": "object",
        "properties": {"id": string, "name": string, "type": string},
        "description": "Further options depend on `type`.",
    }
    return {
        "Collection": {
            "type": "object",
            "properties": {
                "id": string,
                "listRule": rule,
                "viewRule": rule,
                "createRule": rule,
                "updateRule": rule,
                "deleteRule": rule,
                "name": string,
                "type": {"type": "string", "enum": ["base", "auth", "view"]},
                "fields": {"type": "array", "items": field},
                "indexes": {"type": "array", "items": string},
                "created": string,
                "updated": string,
                "system": {"type": "boolean"},
            },
            "description": "Auth collections and views have further options.",
        },
        "CollectionPage": {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": ref("Collection")},
                "page": integer,
                "perPage": integer,
                "totalItems": integer,
                "totalPages": integer,
            },
            "required": ["items", "page", "perPage", "totalItems", "totalPages"],
        },
        "Settings": {
            "type": "object",
            "properties": {"meta": {"type": "object"}, "batch": {"type": "object"}},
        },
        "AppleClientSecret": {
            "type": "object",
            "properties": {
                "clientId": string,
                "teamId": string | {"minLength": 10, "maxLength": 10},
                "keyId": string | {"minLength": 10, "maxLength": 10},
                "privateKey": string | {"description": "In PEM form.", "writeOnly": True},
                "duration": integer | {"minimum": 1, "maximum": 15777000, "description": "Seconds."},
            },
            "required": ["clientId", "teamId", "keyId", "privateKey", "duration"],
        },
        "AppleClientSecretAnswer": {
            "type": "object",
            "properties": {"secret": string},
            "required": ["secret"],
        },
    }
