"""The structs that hooks about files receive or return; what may be changed in them is said at the hook."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.errors import FieldError, Invalid

if TYPE_CHECKING:
    from groundplane.context import Caller, RequestInfo
    from groundplane.schema.collection import Collection


class FileRefused(Invalid):
    """Raise it in `file_upload`: the request is refused with this error at the upload's field."""

    def __init__(self, code: str, message: str, **params: Any) -> None:
        super().__init__(message)
        self.error = FieldError(code, message, params or None)


class FileUpload(msgspec.Struct):
    """A file that waits to be stored. `record` holds the values that are to be stored, its id among them.

    `name` is what it will be called in the record, `client_name` what its sender calls it, `content_type`
    what its content looks like, `size` its bytes.
    """

    collection: Collection
    record: Mapping[str, Any]
    field: str
    name: str
    client_name: str
    content_type: str
    size: int
    info: RequestInfo
    content: Callable[[], AsyncIterator[bytes]]

    def chunks(self) -> AsyncIterator[bytes]:
        """The content from its beginning, piece by piece; as often as you like."""
        return self.content()


class FileDownload(msgspec.Struct):
    """`thumb` is the size that was asked for, "" for the file itself; `headers` are yours, empty at first."""

    collection: Collection
    record_id: str
    field: str
    name: str
    thumb: str
    info: RequestInfo
    headers: dict[str, str]


class FileToken(msgspec.Struct):
    """`duration_s` is how long the token holds, as its collection says."""

    collection: Collection
    caller: Caller
    info: RequestInfo
    duration_s: int


class ThumbGenerate(msgspec.Struct, frozen=True):
    """`size` is as in the URL, `content_type` and `file_size` are those of the file."""

    collection: Collection
    record_id: str
    name: str
    size: str
    content_type: str
    file_size: int
    content: Callable[[], AsyncIterator[bytes]]

    def chunks(self) -> AsyncIterator[bytes]:
        """The file from its beginning, piece by piece."""
        return self.content()


class Thumb(msgspec.Struct, frozen=True):
    """A picture that browsers show: PNG, JPEG, GIF, WebP or AVIF."""

    content: bytes
    content_type: str


class FileDeleted(msgspec.Struct, frozen=True):
    """The collection may be gone as well, so only ids are sure."""

    collection_id: str
    record_id: str
    name: str
