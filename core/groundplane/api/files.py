"""/api/files/{collection}/{record}/{name} and /api/files/token"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from litestar import Request, Response, Router, get, post
from litestar.datastructures.state import State
from litestar.types import ASGIApp, Receive, Scope, Send

from groundplane.api.caller import require_caller
from groundplane.api.exchange import Exchange, exchange, services_of
from groundplane.api.params import fields_param
from groundplane.api.ranges import (
    Part,
    Unreadable,
    Unsatisfiable,
    http_date,
    precondition,
    wanted_parts,
)
from groundplane.api.response import json_reply, to_response
from groundplane.auth.callers import FILE, issue
from groundplane.context import Caller, RequestInfo
from groundplane.errors import NotFound, Unavailable
from groundplane.files.mime import bare
from groundplane.files.service import Files
from groundplane.files.storage import CHUNK_BYTES, FileInfo, FileMissing, StorageFailed
from groundplane.records.serving import NamedFile, check_protected, find_file, is_protected, locate
from groundplane.security.addresses import covers
from groundplane.security.ids import secret
from groundplane.services import Services

STORE_AWAY = "The file store does not answer. Try again later."
NO_COLLECTION = "Missing or invalid collection context."
TRUE_WORDS = frozenset({"1", "t", "T", "true", "TRUE", "True"})
CACHE_CONTROL = "max-age=2592000, stale-while-revalidate=86400"
CONTENT_POLICY = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
DEFAULT_THUMB = "100x100"  # always allowed; the console shows it
# AVIF is ours: PocketBase sends the original.
THUMB_TYPES = frozenset({"image/avif", "image/gif", "image/jpeg", "image/jpg", "image/png", "image/webp"})

# Types that browsers need and content alone does not tell, by the exact end of the name.
EXTENSION_TYPES = {
    ".css": "text/css",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".svg": "image/svg+xml",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# What a browser may show in place; everything else (SVG and HTML above all) is a download.
INLINE_TYPES = frozenset(
    {
        *(f"image/{kind}" for kind in ("bmp", "gif", "jpeg", "jpg", "png", "webp", "x-icon")),
        *(f"video/{kind}" for kind in ("3gpp", "mp4", "quicktime", "webm", "x-ms-wmv")),
        *(
            f"audio/{kind}"
            for kind in (
                *("aac", "aiff", "basic", "midi", "mp3", "mpeg", "wav", "wave"),
                *("x-m4a", "x-mpeg", "x-wav"),
            )
        ),
        "application/pdf",
        "application/x-pdf",
    }
)


class Stored(NamedTuple):
    """What is sent: the key, what is known of it, and the name a browser saves it under."""

    key: str
    info: FileInfo
    shown_name: str


@post("/token", status_code=200)
async def create_token(request: Request[Any, Any, State]) -> Response[bytes]:
    """Hand out a short-lived token for protected files."""
    asked = exchange(request)
    caller = require_caller(asked)
    collection = services_of(request).schema.current.find(caller.collection_id)
    token = issue(collection, caller.record, FILE)
    return to_response(json_reply({"token": token}, fields=fields_param(asked)))


@get("/{collection:str}/{record:str}/{name:str}")
async def download(request: Request[Any, Any, State]) -> ASGIApp:
    """Send a record's file, or a thumb of it."""
    asked, services = exchange(request), services_of(request)
    schema = services.schema.current
    _, _, name_or_id, record_id, name = asked.segments
    collection = schema.find(name_or_id, NO_COLLECTION)
    found = await find_file(services.db, schema, collection, record_id, name)
    if is_protected(schema, found):
        info = await requester_info(asked, services)
        await check_protected(services.records, schema, found, info)
    file = await locate(services.db, schema, found)
    stored = await choose(services.files, file, asked.query.get("thumb", ""))
    return Sending(asked, services.files, stored)


async def requester_info(asked: Exchange, services: Services) -> RequestInfo:
    """Who asks for a protected file: the record behind `?token=` alone, whatever the headers say."""
    caller: Caller | None = await services.auth.callers.caller(asked.query.get("token", ""), FILE)
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


async def choose(files: Files, file: NamedFile, thumb: str) -> Stored:
    """The original, or its thumb when one of an allowed size was asked for; raises NotFound."""
    key = files.key(file.collection_id, file.record_id, file.name)
    try:
        original = await files.stat(key)
    except FileMissing:
        raise NotFound() from None
    except StorageFailed as problem:
        raise Unavailable(STORE_AWAY) from problem
    allowed = thumb == DEFAULT_THUMB or thumb in (file.field.thumbs or ())
    if thumb and allowed and bare(original.content_type) in THUMB_TYPES:
        made = await files.thumb(file.collection_id, file.record_id, file.name, original, thumb)
        if made is not None:
            return Stored(*made, f"{thumb}_{file.name}")
    return Stored(key, original, file.name)


class Sending:
    """Streams one stored file, whole or in ranges."""

    def __init__(self, asked: Exchange, files: Files, stored: Stored) -> None:
        self.asked = asked
        self.files = files
        self.stored = stored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = self.stored.info.size
        status, headers, parts = self.decide()
        if status in (304, 412):
            await put_out(send, status, headers, b"")
        elif status == 416:
            await put_out(send, status, headers, b"invalid range: failed to overlap\n")
        elif len(parts) > 1:
            await self.send_several(send, headers, parts)
        else:
            part = parts[0] if parts else Part(0, size)
            headers["Content-Length"] = str(part.length)
            await self.stream(send, status, headers, self.files.read(self.stored.key, *part))

    def decide(self) -> tuple[int, dict[str, str], list[Part]]:
        """The status, the headers and the ranges of the answer."""
        info = self.stored.info
        headers = self.headers()
        status = precondition(self.asked.headers, info.modified)
        if status is not None:
            del headers["Content-Type"]
            return status, headers, []
        try:
            parts = wanted_parts(self.asked.headers, info.size, info.modified)
        except (Unreadable, Unsatisfiable) as problem:
            headers = {"Content-Type": "text/plain; charset=utf-8"}
            if isinstance(problem, Unsatisfiable):
                headers["Content-Range"] = f"bytes */{info.size}"
            return 416, headers, []
        if len(parts) == 1:
            headers["Content-Range"] = parts[0].content_range(info.size)
        return (206 if parts else 200), headers, parts

    def headers(self) -> dict[str, str]:
        info, name = self.stored.info, self.stored.shown_name
        self.asked.left_out.add(b"x-frame-options")
        download = self.asked.query.get("download", "") in TRUE_WORDS
        inline = bare(info.content_type) in INLINE_TYPES and not download
        extension = name[name.rfind(".") :] if "." in name else ""
        safe_name = "".join(char if char.isprintable() else "_" for char in name)
        return {
            "Content-Type": EXTENSION_TYPES.get(extension, info.content_type),
            "Content-Disposition": f"{'inline' if inline else 'attachment'}; filename={safe_name}",
            "Content-Security-Policy": CONTENT_POLICY,
            "Cache-Control": CACHE_CONTROL,
            "Last-Modified": http_date(info.modified),
            "Accept-Ranges": "bytes",
        }

    async def send_several(self, send: Send, headers: dict[str, str], parts: list[Part]) -> None:
        """Several ranges in one answer, each with its own small head."""
        boundary = secret(40)
        kind, size = headers["Content-Type"], self.stored.info.size
        heads = [
            f"--{boundary}\r\nContent-Range: {part.content_range(size)}\r\nContent-Type: {kind}\r\n\r\n".encode()
            for part in parts
        ]
        heads = [heads[0], *(b"\r\n" + head for head in heads[1:])]
        end = f"\r\n--{boundary}--\r\n".encode()
        headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        length = sum(map(len, heads)) + sum(part.length for part in parts) + len(end)
        headers["Content-Length"] = str(length)

        async def body() -> AsyncIterator[bytes]:
            for head, part in zip(heads, parts, strict=True):
                yield head
                async for chunk in self.files.read(self.stored.key, *part):
                    yield chunk
            yield end

        await self.stream(send, 206, headers, body())

    async def stream(
        self, send: Send, status: int, headers: dict[str, str], chunks: AsyncIterator[bytes]
    ) -> None:
        if self.asked.method == "HEAD":
            await put_out(send, status, headers, b"")
            return
        if int(headers["Content-Length"]) <= CHUNK_BYTES:
            # Most files are small: one message, and a file that vanished can still be told of.
            try:
                body = b"".join([chunk async for chunk in chunks])
            except FileMissing:
                raise NotFound() from None
            except StorageFailed as problem:
                raise Unavailable(STORE_AWAY) from problem
            await put_out(send, status, headers, body)
            return
        await start(send, status, headers)
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def put_out(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    if status not in (304,):
        headers.setdefault("Content-Length", str(len(body)))
    await start(send, status, headers)
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def start(send: Send, status: int, headers: dict[str, str]) -> None:
    lines = [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in headers.items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": lines})


router = Router("/api/files", route_handlers=[create_token, download])
