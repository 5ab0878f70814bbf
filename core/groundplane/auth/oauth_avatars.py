"""Fetches a profile's picture for a file field, from the open internet only."""

from __future__ import annotations

import io
import logging
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from groundplane.outgoing.client import Client, NotFetched
from groundplane.schema.fields.file import FileField

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
MAX_BYTES = 32 * 1024 * 1024
MAX_NAME_CHARS = 100


class Avatar(NamedTuple):
    """A downloaded picture, in the form in which records take uploads."""

    filename: str
    content_type: str
    size: int
    file: BinaryIO


async def fetch_avatar(client: Client, url: str, field: FileField) -> Avatar | None:
    """Download a picture; None when that fails, because nobody is kept out for a picture."""
    limit = min(MAX_BYTES, field.size_limit)
    try:
        fetched = await client.get(url, {"Accept": "image/*"}, max_bytes=limit, timeout_s=TIMEOUT_S)
        if not fetched.is_success or not fetched.body:
            raise NotFetched(f"It was answered with {fetched.status}.")
    except NotFetched as error:
        log.info("A profile's picture could not be fetched: %s", error)
        return None
    name = unquote(urlsplit(url).path).rpartition("/")[2][:MAX_NAME_CHARS].replace("\x00", "")
    return Avatar(name or "avatar", fetched.content_type, len(fetched.body), io.BytesIO(fetched.body))
