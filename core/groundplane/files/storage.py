"""What a file store must do: bytes under keys, with a content type and the name the client gave."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

CHUNK_BYTES = 256 * 1024
MAX_KEY_BYTES = 1024
# Uploads on their way wait below this; the dot keeps them apart from every collection id.
STAGING = ".uploads"
ATTRS_SUFFIX = ".attrs"  # side files of a local store; reserved in every store so that files can move
DEFAULT_TYPE = "application/octet-stream"
ORIGINAL_NAME = "original-filename"  # the metadata that holds the client's name
CONTROL = re.compile(r"[\x00-\x1f]")
ESCAPED_CONTROL = re.compile(r"__0x([0-9a-f]{1,2})__")


class FileMissing(Exception):
    """There is nothing under the key."""


class BadKey(ValueError):
    """The key cannot name a file: an empty or dotted part, a NUL byte, or the reserved suffix."""


class StorageFailed(Exception):
    """The store could not do its work (no space, no connection, no permission); the message is for logs."""


class FileInfo(msgspec.Struct, frozen=True):
    """What is known of a stored file; `size` in bytes, `modified` in UTC, whole seconds.

    `has_link` says that the store can hand out an address for it, as `Linking` has it. `path` is where it lies
    on a disk of this machine, that opens it without delay; "" when it does not.
    """

    size: int
    modified: datetime
    content_type: str = DEFAULT_TYPE
    original_name: str = ""
    has_link: bool = False
    path: str = ""


class Shown(NamedTuple):
    """How a file is to be answered by the store itself."""

    content_type: str
    disposition: str
    cache_control: str


class Linking(Protocol):
    """A store from which clients can read for themselves, for a while."""

    async def link(self, key: str, lifetime_s: float, shown: Shown) -> str:
        """Sign an address that holds for `lifetime_s` at most, and half of that at least."""
        ...


class FileStorage(Protocol):
    """A store of files. Keys are relative paths with `/`; every method refuses bad ones with BadKey.

    A file becomes visible under its key whole or not at all, and is on disk when `put` returns. Methods
    raise StorageFailed when the store does not work.
    """

    async def put(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str = "",
        original_name: str = "",
    ) -> None:
        """Store the bytes, replacing an earlier file."""
        ...

    async def stat(self, key: str) -> FileInfo:
        """Describe a file; raises FileMissing."""
        ...

    def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start` (to the end when None); raises FileMissing at the first step."""
        ...

    async def delete(self, key: str) -> None:
        """Remove one file; removing what is not there is no error."""
        ...

    async def delete_prefix(self, prefix: str) -> None:
        """Remove every file whose key starts with `prefix`, which ends in `/`."""
        ...

    def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Yield the keys that start with `prefix`, sorted; an empty one means all."""
        ...

    def sizes(self, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """Yield the same keys in any order, each with its bytes, without looking at every file if possible."""
        ...


def checked_key(key: str) -> str:
    """Return the key if it can name a file, else raise BadKey. No part may lead out of the store."""
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES or key.endswith(ATTRS_SUFFIX):
        raise BadKey("the key is too long or has the reserved suffix")
    return checked_path(key)


def checked_prefix(prefix: str) -> str:
    """Return a prefix that names a folder, else raise BadKey; never the whole store."""
    if not prefix.endswith("/"):
        raise BadKey("a prefix ends with a slash")
    checked_path(prefix[:-1])
    return prefix


def escaped_name(key: str) -> str:
    """Write control characters the way PocketBase's layout does: `__0xa__` for a line feed."""
    return CONTROL.sub(lambda match: f"__0x{ord(match[0]):x}__", key)


def unescaped_name(path: str) -> str:
    return ESCAPED_CONTROL.sub(lambda match: chr(int(match[1], 16)), path)


def checked_path(path: str) -> str:
    for part in path.split("/"):
        if part in ("", ".", "..") or "\x00" in part or "\\" in part:
            raise BadKey("the key has an impossible part")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise BadKey("the key is not text") from None
    return path
