"""/api/openapi.json and /api/docs: the generated API, for programs and for people."""

from __future__ import annotations

from importlib.resources import files

import msgspec
from litestar import Response, Router, get
from litestar.params import FromPath

from groundplane import __version__
from groundplane.api.exchange import AnyRequest, exchange, services_of
from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_jobs import TAG as JOBS_TAG
from groundplane.api.openapi_jobs import job_paths, job_schemas
from groundplane.api.openapi_logs import TAG as LOGS_TAG
from groundplane.api.openapi_logs import log_paths, log_schemas
from groundplane.api.openapi_mails import mail_sign_in
from groundplane.api.openapi_oauth import TAG as SIGN_IN_TAG
from groundplane.api.openapi_oauth import oauth_paths, oauth_schemas, oauth_sign_in
from groundplane.api.openapi_realtime import TAG as REALTIME_TAG
from groundplane.api.openapi_realtime import realtime_paths
from groundplane.api.openapi_records import CollectionPart
from groundplane.api.openapi_server import ADMIN_TAGS, TAGS, admin_paths, paths
from groundplane.api.openapi_shared import (
    admin_schemas,
    shared_parameters,
    shared_responses,
    shared_schemas,
)
from groundplane.api.openapi_sign_in import TAG as KEYS_TAG
from groundplane.api.openapi_sign_in import service_key_paths, service_key_schemas, sign_in_schemas
from groundplane.api.openapi_uploads import TAG as UPLOADS_TAG
from groundplane.api.openapi_uploads import upload_paths
from groundplane.api.openapi_webhooks import TAG as WEBHOOKS_TAG
from groundplane.api.openapi_webhooks import webhook_paths, webhook_schemas
from groundplane.errors import NotFound
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

PLANS = "openapi"  # our shelf in `Schema.plans`
ASSETS = {"api_docs.css": "text/css", "api_docs.js": "text/javascript"}
# The page takes everything from this server and may be shown in no frame.
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def is_public(collection: Collection) -> bool:
    """Whether callers who are not superusers are told of a collection.

    They are when they could do something with it: a rule is not null, or one can sign in there. System
    collections stay out, because their owners see them through the client's own methods.
    """
    if collection.system:
        return False
    rules = (
        collection.list_rule,
        collection.view_rule,
        collection.create_rule,
        collection.update_rule,
        collection.delete_rule,
    )
    return collection.is_auth or any(rule is not None for rule in rules)


def build(schema: Schema, *, everything: bool) -> JSON:
    """Make the OpenAPI 3.1 document; `everything` as for a superuser."""
    chosen = sorted(
        (collection for collection in schema if everything or is_public(collection)),
        key=lambda collection: (collection.system, collection.name),
    )
    described = {collection.id: collection.name for collection in chosen}
    parts = [CollectionPart(collection, everything=everything, described=described) for collection in chosen]
    all_paths = paths() | oauth_paths() | realtime_paths() | upload_paths()
    schemas = shared_schemas() | oauth_schemas() | sign_in_schemas()
    if everything:
        all_paths |= admin_paths() | job_paths() | log_paths() | webhook_paths() | service_key_paths()
        schemas |= admin_schemas() | job_schemas() | log_schemas() | webhook_schemas()
        schemas |= service_key_schemas()
    for part in parts:
        all_paths |= part.paths() | oauth_sign_in(part) | mail_sign_in(part)
        schemas |= part.schemas()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Groundplane",
            "version": __version__,
            "description": "Collections of records over HTTP. Any PocketBase client works against it.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [part.tag() for part in parts]
        + [
            *TAGS,
            REALTIME_TAG,
            SIGN_IN_TAG,
            UPLOADS_TAG,
            *((*ADMIN_TAGS, JOBS_TAG, LOGS_TAG, WEBHOOKS_TAG, KEYS_TAG) if everything else ()),
        ],
        "paths": all_paths,
        "components": {
            "schemas": schemas,
            "parameters": shared_parameters(),
            "responses": shared_responses(),
            "headers": {
                "ETag": {
                    "description": "The version of the record, for `If-Match`.",
                    "schema": {"type": "string"},
                }
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The `token` of a sign-in, with or without `Bearer ` in front.",
                }
            },
        },
    }


def document(schema: Schema, *, everything: bool) -> bytes:
    """Return the document as JSON; made once per schema version and kind of caller."""
    shelf = schema.plans.setdefault(PLANS, {})
    made = shelf.get(everything)
    if not isinstance(made, bytes):
        made = msgspec.json.encode(build(schema, everything=everything))
        shelf[everything] = made
    return made


def is_superuser(request: AnyRequest) -> bool:
    caller = exchange(request).caller
    return caller is not None and caller.is_superuser


@get("/openapi.json")
async def openapi(request: AnyRequest) -> Response[bytes]:
    """Answer with the document, as far as the caller may know it."""
    body = document(services_of(request).schema.current, everything=is_superuser(request))
    return Response(body, media_type="application/json", headers={"Vary": "Authorization"})


@get("/docs")
async def docs(request: AnyRequest) -> Response[bytes]:
    """Answer with the page; its examples show the public address from the settings."""
    from groundplane.api.openapi_page import render  # with the template engine

    services = services_of(request)
    shown = msgspec.json.decode(document(services.schema.current, everything=is_superuser(request)))
    html = render(shown, services.settings.current.meta.app_url.rstrip("/"))
    return Response(
        html.encode(),
        media_type="text/html",
        headers={"Content-Security-Policy": PAGE_POLICY, "Vary": "Authorization"},
    )


@get("/docs/{name:str}")
async def docs_asset(name: FromPath[str]) -> Response[bytes]:
    """Answer with the page's style or script, by its exact name."""
    media_type = ASSETS.get(name)
    if media_type is None:
        raise NotFound()
    body = (files("groundplane.api") / "templates" / name).read_bytes()
    return Response(body, media_type=media_type, headers={"Cache-Control": "max-age=3600"})


router = Router("/api", route_handlers=[openapi, docs, docs_asset])
