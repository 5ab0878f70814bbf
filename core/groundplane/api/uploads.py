"""/api/files/uploads: uploads that may be interrupted, by the tus protocol 1.0 (tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from email.utils import format_datetime
from typing import TYPE_CHECKING, NamedTuple

from groundplane.api.errors import failure_reply
from groundplane.api.exchange import Disconnected, Exchange, Reply
from groundplane.errors import GroundplaneError, Invalid, NotFound, TooLarge, Unavailable
from groundplane.files.uploads import Upload, Uploads, Wanted, owner_of
from groundplane.files.uploads_admission import admit, payer_of
from groundplane.files.uploads_appending import Checksum

if TYPE_CHECKING:
    from groundplane.services import Services

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination"
BYTES = "application/offset+octet-stream"
ALGORITHMS = {"md5": "md5", "sha1": "sha1", "sha256": "sha256", "sha512": "sha512"}
PATH = "/api/files/uploads"
ID = re.compile(r"[a-z0-9]{15}")  # of an upload; its secret stands behind it
MAX_METADATA = 4096  # characters
METADATA_KEY = re.compile(r"[!-+\--~]{1,100}")  # visible ASCII without comma
# What a page of another site may read of our answers; without it a browser hides them.
EXPOSED = (
    "Location, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, "
    "Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset"
)
OURS = (
    ("Tus-Resumable", VERSION),
    ("Cache-Control", "no-store"),
    ("Access-Control-Expose-Headers", EXPOSED),
)


class WrongVersion(GroundplaneError):
    status = 412
    message = f"Say Tus-Resumable: {VERSION}; no other version of the protocol is spoken here."


class WrongType(GroundplaneError):
    status = 415
    message = f"The bytes of an upload are sent with Content-Type: {BYTES}."


class Metadata(NamedTuple):
    """What Upload-Metadata says, decoded; the rest of it is kept for the client alone."""

    filename: str = ""
    filetype: str = ""
    collection: str = ""
    field: str = ""


def is_uploads(segments: tuple[str, ...]) -> bool:
    """Whether the path is that of uploads or one of them; longer ones are files of a collection of that name."""
    return 3 <= len(segments) <= 4 and segments[:3] == ("api", "files", "uploads")


def capabilities(services: Services | None) -> Reply:
    """Answer OPTIONS: what a client needs to know before it begins."""
    headers: tuple[tuple[str, str], ...] = (
        ("Tus-Resumable", VERSION),
        ("Tus-Version", VERSION),
        ("Tus-Extension", EXTENSIONS),
        ("Tus-Checksum-Algorithm", ",".join(ALGORITHMS)),
        ("Access-Control-Expose-Headers", EXPOSED),
    )
    if services is not None:
        headers = (*headers, ("Tus-Max-Size", str(services.config.uploads.max_bytes)))
    return Reply(204, headers=headers)


async def handle_uploads(exchange: Exchange, services: Services) -> Reply:
    """Answer a request of the protocol; every answer says which version it is of."""
    try:
        return await answer(exchange, services)
    except Disconnected:
        raise
    except Exception as error:  # noqa: BLE001  # nothing may get past this without the protocol's headers
        reply = failure_reply(error, exchange)
        more = (("Tus-Version", VERSION),) if isinstance(error, WrongVersion) else ()
        return reply._replace(headers=(*reply.headers, *OURS, *more))


async def answer(exchange: Exchange, services: Services) -> Reply:
    uploads = services.files.uploads
    if uploads is None:
        raise Unavailable()
    # For clients whose network lets nothing but GET and POST pass.
    method = exchange.headers.get("x-http-method-override", exchange.method).upper()
    if method not in ("POST", "HEAD", "PATCH", "DELETE"):
        raise NotFound()
    if exchange.headers.get("tus-resumable") != VERSION:
        raise WrongVersion()
    token = exchange.segments[3] if len(exchange.segments) == 4 else ""
    if not token:
        if method != "POST":
            raise NotFound()
        return await create(exchange, services, uploads)
    upload = await uploads.find(token, owner_of(exchange.caller))
    match method:
        case "HEAD":
            return Reply(200, headers=(*OURS, *described(upload)))
        case "PATCH":
            return await append(exchange, uploads, upload)
        case "DELETE":
            await uploads.remove(upload)
            return Reply(204, headers=OURS)
    raise NotFound()


def conceal(exchange: Exchange) -> None:
    """Leave the secret part of an address out of logs and limits: whoever knows it has a guest's upload."""
    if len(exchange.segments) == 4:
        id = exchange.segments[3][:15]
        shown = f"{id}..." if ID.fullmatch(id) else "..."
        exchange.path = exchange.raw_path = f"{PATH}/{shown}"


async def create(exchange: Exchange, services: Services, uploads: Uploads) -> Reply:
    """Begin an upload, with its first bytes if there are any."""
    headers = exchange.headers
    length = wanted_length(headers)
    text = headers.get("upload-metadata", "")
    metadata = read_metadata(text)
    has_body = bool(exchange.declared_size) or "transfer-encoding" in headers
    if has_body and bare_type(exchange) != BYTES:
        raise WrongType()
    checksum = wanted_checksum(headers) if has_body else None
    info = exchange.info()
    collection, field = admit(
        services.schema.current,
        info,
        metadata.collection,
        metadata.field,
        length,
        guests=uploads.config.guests,
    )
    if (exchange.declared_size or 0) > length:
        raise TooLarge(f"The upload has {length} bytes, and more were sent.")
    owner = owner_of(exchange.caller)
    wanted = Wanted(
        length, owner, payer_of(info, owner), collection, field, metadata.filename, metadata.filetype, text
    )
    upload, token = await uploads.create(wanted)
    if has_body and length:
        exchange.max_body = None
        upload = await uploads.append(upload, 0, exchange.chunks(), checksum)
    location = ("Location", f"{PATH}/{token}")
    return Reply(201, headers=(*OURS, location, *progress(upload)))


async def append(exchange: Exchange, uploads: Uploads, upload: Upload) -> Reply:
    """Add the bytes of this request."""
    if bare_type(exchange) != BYTES:
        raise WrongType()
    text = exchange.headers.get("upload-offset")
    if text is None:
        raise Invalid("Say in Upload-Offset where the bytes belong.")
    offset = checked_length(text)
    checksum = wanted_checksum(exchange.headers)
    if offset == upload.offset and (exchange.declared_size or 0) > upload.length - offset:
        raise TooLarge(f"The upload has {upload.length} bytes, and more were sent.")
    exchange.max_body = None
    upload = await uploads.append(upload, offset, exchange.chunks(), checksum)
    return Reply(204, headers=(*OURS, *progress(upload)))


def progress(upload: Upload) -> tuple[tuple[str, str], ...]:
    expires = format_datetime(upload.expires, usegmt=True)
    return ("Upload-Offset", str(upload.offset)), ("Upload-Expires", expires)


def described(upload: Upload) -> tuple[tuple[str, str], ...]:
    known = (*progress(upload), ("Upload-Length", str(upload.length)))
    return (*known, ("Upload-Metadata", upload.metadata)) if upload.metadata else known


def bare_type(exchange: Exchange) -> str:
    return exchange.content_type.partition(";")[0].strip().lower()


def checked_length(text: str) -> int:
    """Read Upload-Length or Upload-Offset; raises Invalid for anything but a whole number that fits."""
    if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII):
        raise Invalid(f"{text[:40]!r} is not a number of bytes.")
    return int(text)


def wanted_length(headers: Mapping[str, str]) -> int:
    """The size of the whole file; raises Invalid when it is not said."""
    if "upload-length" not in headers:
        raise Invalid("Say the size of the file in Upload-Length; it cannot be told later.")
    if "upload-defer-length" in headers:
        raise Invalid("Upload-Length and Upload-Defer-Length exclude each other.")
    return checked_length(headers["upload-length"])


def wanted_checksum(headers: Mapping[str, str]) -> Checksum | None:
    text = headers.get("upload-checksum")
    if text is None:
        return None
    name, _, encoded = text.strip().partition(" ")
    algorithm = ALGORITHMS.get(name.lower())
    if algorithm is None:
        raise Invalid(f"Upload-Checksum must be of {', '.join(ALGORITHMS)}.")
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("Upload-Checksum is not an algorithm, a space and Base64.") from None
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise Invalid(f"Upload-Checksum has not the length of {algorithm}.")
    return Checksum(algorithm, digest)


def read_metadata(text: str) -> Metadata:
    """Read the pairs of Upload-Metadata; raises Invalid. The file's name is what stands behind the last slash."""
    if len(text) > MAX_METADATA:
        raise Invalid(f"Upload-Metadata may have {MAX_METADATA} characters.")
    found: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, encoded = pair.strip().partition(" ")
        if not METADATA_KEY.fullmatch(key) or key in found:
            raise Invalid("Upload-Metadata is not a list of different keys, each with a value in Base64.")
        try:
            value = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise Invalid(f"The value of {key} in Upload-Metadata is not Base64.") from None
        found[key] = value.decode("utf-8", "replace").replace("\x00", "")
    name = found.get("filename") or found.get("name", "")
    return Metadata(
        name.rstrip("/").rpartition("/")[2],
        found.get("filetype") or found.get("type", ""),
        found.get("collection", ""),
        found.get("field", ""),
    )
