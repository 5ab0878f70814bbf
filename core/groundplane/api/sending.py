"""Sends one stored file: whole, in ranges, or as the address where the object store has it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol, cast

from litestar.types import Receive, Scope, Send

from groundplane.api.exchange import Exchange
from groundplane.api.ranges import (
    Part,
    Unreadable,
    Unsatisfiable,
    http_date,
    precondition,
    wanted_parts,
)
from groundplane.api.realtime import CONNECTION
from groundplane.errors import NotFound, Unavailable
from groundplane.files.disks import is_cached
from groundplane.files.mime import bare
from groundplane.files.service import Files
from groundplane.files.storage import CHUNK_BYTES, FileInfo, FileMissing, Shown, StorageFailed
from groundplane.security.ids import secret

STORE_AWAY = "The file store does not answer. Try again later."
TRUE_WORDS = frozenset({"1", "t", "T", "true", "TRUE", "True"})
CACHE_CONTROL = "max-age=2592000, stale-while-revalidate=86400"
CONTENT_POLICY = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; sandbox"

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


# Headers that plugins have no say in: they are about the bytes that are sent.
NOT_THEIRS = frozenset(
    {"accept-ranges", "content-length", "content-range", "last-modified", "transfer-encoding"}
)


class Stored(NamedTuple):
    """What is sent: the key, what is known of it, and the name a browser saves it under.

    `headers` are those of plugins. `link_s` is how long an address at the object store holds, 0 for none.
    """

    key: str
    info: FileInfo
    shown_name: str
    is_protected: bool = False
    headers: dict[str, str] = {}  # noqa: RUF012  # nobody changes it
    link_s: float = 0.0


class FileConnection(Protocol):
    """A connection that sends files without copying them through Python, as our HTTP server has."""

    async def send_file(self, file: int, start: int, length: int) -> None: ...


class Sending:
    """Answers with one stored file."""

    def __init__(self, asked: Exchange, files: Files, stored: Stored) -> None:
        self.asked = asked
        self.files = files
        self.stored = stored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, headers, parts = self.decide()
        if status in (304, 412):
            await put_out(send, status, headers, b"")
        elif status == 416:
            await put_out(send, status, headers, b"invalid range: failed to overlap\n")
        elif self.stored.link_s and self.stored.info.has_link and self.asked.method == "GET":
            await self.redirect(send, headers)
        elif len(parts) > 1:
            await self.send_several(scope, send, headers, parts)
        else:
            whole = parts or [Part(0, self.stored.info.size)]
            await self.stream(scope, send, status, headers, [(b"", whole[0])])

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
        if len(parts) == 1 and not self.stored.link_s:
            headers["Content-Range"] = parts[0].content_range(info.size)
        return (206 if parts else 200), headers, parts

    def headers(self) -> dict[str, str]:
        info, name = self.stored.info, self.stored.shown_name
        self.asked.left_out.add(b"x-frame-options")
        download = self.asked.query.get("download", "") in TRUE_WORDS
        inline = bare(info.content_type) in INLINE_TYPES and not download
        extension = name[name.rfind(".") :] if "." in name else ""
        safe_name = "".join(char if char.isprintable() else "_" for char in name)
        own = {
            "Content-Type": EXTENSION_TYPES.get(extension, info.content_type),
            "Content-Disposition": f"{'inline' if inline else 'attachment'}; filename={safe_name}",
            "Content-Security-Policy": CONTENT_POLICY,
            "Cache-Control": CACHE_CONTROL,
            "Last-Modified": http_date(info.modified),
            "Accept-Ranges": "bytes",
        }
        if not self.stored.headers:
            return own
        theirs = {name.lower() for name in self.stored.headers}
        kept = {name: value for name, value in own.items() if name.lower() not in theirs}
        # The first one stays first: a type is expected to be there.
        return {"Content-Type": own["Content-Type"]} | kept | canonical(self.stored.headers)

    async def redirect(self, send: Send, headers: dict[str, str]) -> None:
        """Send the client to the object store; what is shown there in place is what would be shown here."""
        protected = self.stored.is_protected
        shown = Shown(
            headers["Content-Type"],
            headers["Content-Disposition"],
            "private, no-store" if protected else CACHE_CONTROL,
        )
        try:
            address = await self.files.link(self.stored.key, self.stored.link_s, shown)
        except StorageFailed as problem:
            raise Unavailable(STORE_AWAY) from problem
        # Half of its time may be over already.
        kept = "private, no-store" if protected else f"max-age={int(self.stored.link_s / 4)}"
        await put_out(send, 307, {"Location": address, "Cache-Control": kept}, b"")

    async def send_several(
        self, scope: Scope, send: Send, headers: dict[str, str], parts: list[Part]
    ) -> None:
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
        pieces = [*zip(heads, parts, strict=True), (end, Part(0, 0))]
        await self.stream(scope, send, 206, headers, pieces)

    async def stream(
        self,
        scope: Scope,
        send: Send,
        status: int,
        headers: dict[str, str],
        pieces: Sequence[tuple[bytes, Part]],
    ) -> None:
        """Send pieces of the file, each behind some bytes of its own; by the system itself where that is possible."""
        length = sum(len(head) + part.length for head, part in pieces)
        headers["Content-Length"] = str(length)
        if self.asked.method == "HEAD":
            await put_out(send, status, headers, b"")
            return
        path = self.stored.info.path
        connection = scope.get(CONNECTION)
        if path and length > CHUNK_BYTES and hasattr(connection, "send_file"):
            await self.stream_file(cast("FileConnection", connection), send, status, headers, pieces)
            return
        chunks = self.chunks(pieces)
        if length <= CHUNK_BYTES:
            # Most files are small: one message, and a file that vanished can still be told of.
            try:
                body = (at_once(path, pieces) if path else None) or b"".join(
                    [chunk async for chunk in chunks]
                )
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

    async def chunks(self, pieces: Sequence[tuple[bytes, Part]]) -> AsyncIterator[bytes]:
        for head, part in pieces:
            if head:
                yield head
            if part.length:
                async for chunk in self.files.read(self.stored.key, *part):
                    yield chunk

    async def stream_file(
        self,
        connection: FileConnection,
        send: Send,
        status: int,
        headers: dict[str, str],
        pieces: Sequence[tuple[bytes, Part]],
    ) -> None:
        try:
            file = os.open(self.stored.info.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound() from None
        except OSError as problem:
            raise Unavailable(STORE_AWAY) from problem
        try:
            await start(send, status, headers)
            for head, part in pieces:
                if head:
                    await send({"type": "http.response.body", "body": head, "more_body": True})
                if part.length:
                    await connection.send_file(file, *part)
        finally:
            os.close(file)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def at_once(path: str, pieces: Sequence[tuple[bytes, Part]]) -> bytes | None:
    """All pieces of a file that can be read without waiting; None when somebody else had better do it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not all(is_cached(file, part.start + part.length - 1) for _, part in pieces if part.length):
            return None
        found = [(head, os.pread(file, part.length, part.start), part.length) for head, part in pieces]
    except OSError:
        return None
    finally:
        os.close(file)
    if any(len(content) != length for _, content, length in found):
        return None
    return b"".join([head + content for head, content, _ in found])


def canonical(headers: dict[str, str]) -> dict[str, str]:
    """Headers by the names that we write ourselves, where those are meant."""
    ours = {name.lower(): name for name in ("Content-Type", "Content-Disposition", "Cache-Control")}
    return {ours.get(name.lower(), name): value for name, value in headers.items()}


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
