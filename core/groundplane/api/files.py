"""/api/files/{collection}/{record}/{name} and /api/files/token"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from litestar import Request, Response, Router, get, post
from litestar.datastructures.state import State
from litestar.types import ASGIApp

from groundplane.api.caller import require_caller
from groundplane.api.exchange import Exchange, exchange, services_of
from groundplane.api.params import fields_param
from groundplane.api.response import json_reply, to_response
from groundplane.api.sending import NOT_THEIRS, STORE_AWAY, Sending, Stored
from groundplane.auth.callers import FILE, token_options
from groundplane.context import Caller, RequestInfo
from groundplane.errors import NotFound, Unavailable
from groundplane.files.storage import FileMissing, StorageFailed
from groundplane.hooks.events_files import FileDownload, FileToken
from groundplane.records.serving import Found, NamedFile, check_protected, find_file, is_protected, locate
from groundplane.security.addresses import covers
from groundplane.services import Services

NO_COLLECTION = "Missing or invalid collection context."
DEFAULT_THUMB = "100x100"  # always allowed; the console shows it
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@post("/token", status_code=200)
async def create_token(request: Request[Any, Any, State]) -> Response[bytes]:
    """Hand out a short-lived token for protected files."""
    asked, services = exchange(request), services_of(request)
    caller = require_caller(asked)
    collection = services.schema.current.find(caller.collection_id)
    duration_s = 0
    if (hook := services.plugins.hooks.file_token) and collection.options is not None:
        usual_s = token_options(collection.options, FILE).duration
        event = FileToken(collection, caller, asked.info(), usual_s)
        await hook(collection, check=partial(check_duration, event), event=event)
        duration_s = event.duration_s
    token = services.auth.callers.file_token(collection, caller.record, duration_s)
    return to_response(json_reply({"token": token}, fields=fields_param(asked)))


def check_duration(event: FileToken) -> None:
    if not isinstance(event.duration_s, int) or event.duration_s < 1:
        raise ValueError("duration_s is whole seconds, at least one")


@get("/{collection:str}/{record:str}/{name:str}")
async def download(request: Request[Any, Any, State]) -> ASGIApp:
    """Send a record's file, or a thumb of it."""
    asked, services = exchange(request), services_of(request)
    schema = services.schema.current
    _, _, name_or_id, record_id, name = asked.segments
    collection = schema.find(name_or_id, NO_COLLECTION)
    found = await find_file(services.db, schema, collection, record_id, name)
    protected = is_protected(schema, found)
    info = await requester_info(asked, services) if protected else None
    if info is not None:
        await check_protected(services.records, schema, found, info)
    headers = await headers_of_plugins(asked, services, found, info)
    file = await locate(services.db, schema, found)
    stored = await choose(services, file, asked.query.get("thumb", ""))
    config = services.config.files
    link_s = config.s3_link_s if config.s3_downloads == "redirect" and not headers else 0.0
    return Sending(
        asked, services.files, stored._replace(is_protected=protected, headers=headers, link_s=link_s)
    )


async def headers_of_plugins(
    asked: Exchange, services: Services, found: Found, info: RequestInfo | None
) -> dict[str, str]:
    """Show the download to plugins; raises what refuses it."""
    hook = services.plugins.hooks.file_download
    if not hook or not hook.concerns(found.collection):
        return {}
    event = FileDownload(
        collection=found.collection,
        record_id=found.record_id,
        field=found.field.name,
        name=found.name,
        thumb=asked.query.get("thumb", ""),
        info=info or asked.info(),
        headers={},
    )
    await hook(found.collection, check=partial(check_headers, event), event=event)
    return {name: value for name, value in event.headers.items() if name.lower() not in NOT_THEIRS}


def check_headers(event: FileDownload) -> None:
    for name, value in event.headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise ValueError(f"{name!r} is no header, or its value is none")


async def requester_info(asked: Exchange, services: Services) -> RequestInfo:
    """Who asks for a protected file: the record behind `?token=` alone, whatever the headers say."""
    caller: Caller | None = await services.auth.callers.caller(asked.query.get("token", ""), FILE)
    if caller is None and asked.caller is not None and asked.caller.key:
        # A service key, whose scopes cover this file; the gateway has looked.
        caller = asked.caller
    allowed = services.settings.current.superuser_ips
    if caller is not None and caller.is_superuser and allowed and not covers(allowed, asked.ip):
        caller = None
    return RequestInfo(
        caller=caller,
        context="protectedFile",
        method=asked.method,
        query=asked.query,
        headers=asked.info().headers,
        ip=asked.ip,
        remote_ip=asked.remote_ip,
    )


async def choose(services: Services, file: NamedFile, thumb: str) -> Stored:
    """The original, or its thumb when one of an allowed size was asked for; raises NotFound."""
    files = services.files
    key = files.key(file.collection_id, file.record_id, file.name)
    try:
        original = await files.stat(key)
    except FileMissing:
        raise NotFound() from None
    except StorageFailed as problem:
        raise Unavailable(STORE_AWAY) from problem
    if thumb and (thumb == DEFAULT_THUMB or thumb in (file.field.thumbs or ())):
        collection = services.schema.current.by_id[file.collection_id]
        made = await files.thumb(collection, file.record_id, file.name, original, thumb)
        if made is not None:
            return Stored(*made, f"{thumb}_{file.name}")
    return Stored(key, original, file.name)


router = Router("/api/files", route_handlers=[create_token, download])
