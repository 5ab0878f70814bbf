"""The part of the API document that is the same on every server: fixed operations and shared parts."""

from __future__ import annotations

from typing import Any

from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_records import ERRORS, answer, errors, parameters, ref

SUPERUSERS_ONLY: list[JSON] = [{"token": []}]
ANYONE: list[JSON] = [{}, {"token": []}]

TAGS = (
    {"name": "Server", "description": "The server itself."},
    {"name": "Files", "description": "Files that belong to records."},
    {"name": "Batch", "description": "Several changes in one transaction."},
)
ADMIN_TAGS = (
    {"name": "Collections", "description": "What collections there are. Superusers only."},
    {"name": "Settings", "description": "What can be changed while the server runs. Superusers only."},
)


def json_body(schema: JSON, *, required: bool = True) -> JSON:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def operation(id: str, tag: str, summary: str, client: str, security: list[JSON], **more: Any) -> JSON:
    found: JSON = {"operationId": id, "tags": [tag], "summary": summary, "security": security}
    if client:
        found["x-codeSamples"] = [{"lang": "JavaScript", "source": client}]
    return found | more


def paths() -> dict[str, JSON]:
    """Return the operations that everyone may know of."""
    return {
        "/api/health": {
            "get": operation(
                "health",
                "Server",
                "Whether the server answers",
                "await pb.health.check()",
                ANYONE,
                parameters=parameters("fields"),
                responses={"200": answer("It does.", ref("Health"))} | errors(),
            )
        },
        "/api/openapi.json": {
            "get": operation(
                "openapi",
                "Server",
                "This document, as far as the caller may know it",
                "await pb.send('/api/openapi.json', {})",
                ANYONE,
                responses={"200": answer("An OpenAPI 3.1 document.", {"type": "object"})} | errors(),
            )
        },
        "/api/files/token": {
            "post": operation(
                "fileToken",
                "Files",
                "Get a short-lived token for protected files",
                "const token = await pb.files.getToken()",
                SUPERUSERS_ONLY,
                description="For every signed-in record.",
                parameters=parameters("fields"),
                responses={"200": answer("The token.", ref("FileToken"))} | errors("400", "401", "413"),
            )
        },
        "/api/files/{collection}/{id}/{filename}": {
            "parameters": [
                {
                    "name": "collection",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1},
                },
                *parameters("id"),
                {
                    "name": "filename",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1},
                },
            ],
            "get": operation(
                "fileDownload",
                "Files",
                "Download a file of a record",
                "const url = pb.files.getURL(record, record.avatar, { thumb: '100x100' })",
                ANYONE,
                parameters=[
                    query("thumb", {"type": "string"}, "A size that the field lists, such as `100x100`."),
                    query("download", {"type": "string"}, "`1` asks the browser to save it."),
                    query("token", {"type": "string"}, "A file token, for protected files."),
                ],
                responses={
                    "200": {"description": "The bytes.", "content": {"*/*": {"schema": {}}}},
                    "206": {"description": "The bytes of a range.", "content": {"*/*": {"schema": {}}}},
                    "304": {"description": "Not changed."},
                    "416": {"description": "There is no such range in the file."},
                }
                | errors("400", "403", "404"),
            ),
        },
        "/api/batch": {
            "post": operation(
                "batch",
                "Batch",
                "Run several creates, updates and deletes in one transaction",
                "const batch = pb.createBatch()\n"
                "batch.collection('posts').create({ title: '…' })\n"
                "batch.collection('posts').delete('RECORD_ID')\n"
                "const results = await batch.send()",
                ANYONE,
                parameters=parameters("fields"),
                requestBody=json_body(ref("Batch")),
                responses={
                    "200": answer(
                        "One result per request, in order.", {"type": "array", "items": ref("BatchResult")}
                    )
                }
                | errors("400", "403", "413"),
            )
        },
    }


def admin_paths() -> dict[str, JSON]:
    """Return the operations of superusers that are not about records."""
    listing = parameters("page", "perPage", "sort", "filter", "fields", "skipTotal")
    one = ref("Collection")
    return {
        "/api/collections": {
            "get": operation(
                "collectionsList",
                "Collections",
                "List the collections",
                "await pb.collections.getFullList()",
                SUPERUSERS_ONLY,
                parameters=listing,
                responses={"200": answer("One page of collections.", ref("CollectionPage"))}
                | errors("400", "401", "403"),
            ),
            "post": operation(
                "collectionsCreate",
                "Collections",
                "Create a collection",
                "await pb.collections.create({ name: 'tags', fields: [{ name: 'name', type: 'text' }] })",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                requestBody=json_body(one),
                responses={"200": answer("The new collection.", one)} | errors("400", "401", "403", "413"),
            ),
        },
        "/api/collections/{collection}": {
            "parameters": parameters("collection"),
            "get": operation(
                "collectionsView",
                "Collections",
                "View a collection",
                "await pb.collections.getOne('posts')",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                responses={"200": answer("The collection.", one)} | errors("401", "403", "404"),
            ),
            "patch": operation(
                "collectionsUpdate",
                "Collections",
                "Change a collection",
                "await pb.collections.update('posts', { listRule: '' })",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                requestBody=json_body(one),
                responses={"200": answer("The collection after the change.", one)}
                | errors("400", "401", "403", "404", "413"),
            ),
            "delete": operation(
                "collectionsDelete",
                "Collections",
                "Delete a collection with its records",
                "await pb.collections.delete('posts')",
                SUPERUSERS_ONLY,
                responses={"204": {"description": "Deleted."}} | errors("400", "401", "403", "404"),
            ),
        },
        "/api/collections/{collection}/truncate": {
            "parameters": parameters("collection"),
            "delete": operation(
                "collectionsTruncate",
                "Collections",
                "Delete all records of a collection",
                "await pb.collections.truncate('posts')",
                SUPERUSERS_ONLY,
                responses={"204": {"description": "Emptied."}} | errors("400", "401", "403", "404"),
            ),
        },
        "/api/collections/import": {
            "put": operation(
                "collectionsImport",
                "Collections",
                "Create and change many collections at once",
                "await pb.collections.import(collections, false)",
                SUPERUSERS_ONLY,
                requestBody=json_body(
                    {
                        "type": "object",
                        "properties": {
                            "collections": {"type": "array", "items": one},
                            "deleteMissing": {"type": "boolean"},
                        },
                        "required": ["collections"],
                    }
                ),
                responses={"204": {"description": "Done."}} | errors("400", "401", "403", "413"),
            )
        },
        "/api/collections/meta/scaffolds": {
            "get": operation(
                "collectionsScaffolds",
                "Collections",
                "An empty collection of each type",
                "await pb.collections.getScaffolds()",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                responses={
                    "200": answer("By type.", {"type": "object", "additionalProperties": one}),
                }
                | errors("401", "403"),
            )
        },
        "/api/collections/meta/oauth2-providers": {
            "get": operation(
                "collectionsOAuth2Providers",
                "Collections",
                "The OAuth2 providers that are known",
                "await pb.collections.getAllOAuth2Providers()",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                responses={"200": answer("The providers.", {"type": "array", "items": {"type": "object"}})}
                | errors("401", "403"),
            )
        },
        "/api/collections/meta/dry-run-view": {
            "post": operation(
                "collectionsDryRunView",
                "Collections",
                "Try the query of a view",
                "await pb.collections.dryRunView('SELECT id, title FROM posts')",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                requestBody=json_body(
                    {
                        "type": "object",
                        "properties": {"query": {"type": "string", "maxLength": 5000}},
                        "required": ["query"],
                    }
                ),
                responses={
                    "200": answer(
                        "The fields that it gives, and some records.",
                        {
                            "type": "object",
                            "properties": {
                                "fields": {"type": "array", "items": {"type": "object"}},
                                "sample": {"type": "array", "items": {"type": "object"}},
                            },
                        },
                    )
                }
                | errors("400", "401", "403", "413"),
            )
        },
        "/api/settings": {
            "get": operation(
                "settingsView",
                "Settings",
                "The settings, without secrets",
                "await pb.settings.getAll()",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                responses={"200": answer("The settings.", ref("Settings"))} | errors("401", "403"),
            ),
            "patch": operation(
                "settingsUpdate",
                "Settings",
                "Change some settings",
                "await pb.settings.update({ meta: { appName: 'Orchard' } })",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                requestBody=json_body(ref("Settings")),
                responses={"200": answer("The settings after the change.", ref("Settings"))}
                | errors("400", "401", "403", "413"),
            ),
        },
        "/api/settings/apple/generate-client-secret": {
            "post": operation(
                "settingsAppleClientSecret",
                "Settings",
                "Sign the secret that Apple asks of a sign-in provider",
                "await pb.settings.generateAppleClientSecret(clientId, teamId, keyId, privateKey, duration)",
                SUPERUSERS_ONLY,
                parameters=parameters("fields"),
                requestBody=json_body(ref("AppleClientSecret")),
                responses={"200": answer("The secret.", ref("AppleClientSecretAnswer"))}
                | errors("400", "401", "403", "413"),
            )
        },
    }


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
    }
