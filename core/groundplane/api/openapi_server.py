"""The operations of the API document that are the same on every server."""

from __future__ import annotations

from typing import Any

from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_records import answer, errors, parameters, ref
from groundplane.api.openapi_shared import query
from groundplane.auth.trial_mails import PURPOSES

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
                    "307": {"description": "Where the object store has it, if the server is configured so."},
                    "412": {"description": "Changed since the date that was named."},
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
        "/api/settings/test/email": {
            "post": operation(
                "settingsTestEmail",
                "Settings",
                "Send one of a collection's mails to try it out",
                "await pb.settings.testEmail('users', 'you@example.com', 'verification')",
                SUPERUSERS_ONLY,
                requestBody=json_body(
                    {
                        "type": "object",
                        "required": ["email", "template"],
                        "properties": {
                            "email": {"type": "string", "format": "email"},
                            "template": {"type": "string", "enum": list(PURPOSES)},
                            "collection": {"type": "string"},
                        },
                    }
                ),
                responses={"204": answer("It was handed over.")} | errors("400", "401", "403", "413"),
            )
        },
        "/api/settings/test/s3": {
            "post": operation(
                "settingsTestS3",
                "Settings",
                "Write and remove a small object in the object store",
                "await pb.settings.testS3('storage')",
                SUPERUSERS_ONLY,
                requestBody=json_body(
                    {
                        "type": "object",
                        "required": ["filesystem"],
                        "properties": {"filesystem": {"type": "string", "enum": ["storage", "backups"]}},
                    }
                ),
                responses={"204": answer("It works.")} | errors("400", "401", "403", "413"),
            )
        },
    }
