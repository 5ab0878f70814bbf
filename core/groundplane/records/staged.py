"""Finished uploads in place of files: what a text like `@upload:TOKEN` in a body stands for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, BinaryIO

from groundplane.context import RequestInfo
from groundplane.errors import FieldError, GroundplaneError
from groundplane.files.uploads import StagedFile, Upload, Uploads, owner_of
from groundplane.files.uploads_refused import Gone
from groundplane.records.values import NewFile, Submitted, UploadedFile, target_of
from groundplane.schema.casting import to_text_list
from groundplane.schema.collection import Collection
from groundplane.schema.fields.file import FileField

# No stored name has these signs: names are made of letters, digits and some signs that need no quoting.
MARK = "@upload:"
ADDING = ("", "+", "prepend")

NOT_THERE = FieldError(
    "validation_invalid_upload", "The upload does not exist, was used already, or is somebody else's."
)
EXPIRED = FieldError("validation_invalid_upload", "The upload has expired. Begin a new one.")
LOST = FieldError("validation_invalid_upload", "The upload was lost. Begin a new one.")
ELSEWHERE = FieldError("validation_invalid_upload", "The upload was made for another field.")
TWICE = FieldError("validation_invalid_upload", "The same upload cannot be two files.")


class RefusedFile:
    """Stands where an upload was named that cannot be used, until the field's checks say why."""

    def __init__(self, error: FieldError) -> None:
        self.error = error

    filename = ""
    content_type = ""
    size = 0

    @property
    def file(self) -> BinaryIO:
        return io.BytesIO()


def has_mark(raw: Any) -> bool:
    """Whether a value may name an upload; most values are none, and cost nothing more than this."""
    if isinstance(raw, str):
        return MARK in raw
    return isinstance(raw, list) and any(isinstance(item, str) and item.startswith(MARK) for item in raw)


async def with_staged(
    uploads: Uploads | None, collection: Collection, sent: Submitted, info: RequestInfo
) -> Submitted:
    """Put uploads in the place of the texts that name them, as if they had come with the request."""
    if uploads is None or not any(map(has_mark, sent.values.values())):
        return sent
    values, files = dict(sent.values), list(sent.uploads)
    used: dict[str, str] = {}
    for key, raw in sent.values.items():
        target = target_of(collection, key)
        if target is None or not has_mark(raw) or target[1] not in ADDING:
            continue
        field = target[0]
        if not isinstance(field, FileField) or (field.hidden and not info.is_superuser):
            continue
        items = to_text_list(raw)
        named = [item for item in items if item.startswith(MARK)]
        kept = [item for item in items if not item.startswith(MARK)]
        if named:
            values.pop(key)
        if named and kept:
            values[key] = kept
        for item in named:
            file = await usable(uploads, collection, field, item.removeprefix(MARK), info)
            if isinstance(file, StagedFile) and used.setdefault(file.upload.id, key) != key:
                file = RefusedFile(TWICE)
            files.append((key, file))
    return Submitted(values, files)


async def usable(
    uploads: Uploads, collection: Collection, field: FileField, text: str, info: RequestInfo
) -> StagedFile | RefusedFile:
    """The upload by its token or its whole address, if this caller may put it into this field."""
    try:
        upload = await uploads.find(text.rpartition("/")[2], owner_of(info.caller))
    except Gone:
        return RefusedFile(EXPIRED)
    except GroundplaneError as error:
        if error.status >= 500:
            raise
        return RefusedFile(NOT_THERE)
    if upload.collection and (upload.collection, upload.field) != (collection.id, field.name):
        return RefusedFile(ELSEWHERE)
    if not upload.is_finished:
        return RefusedFile(unfinished(upload))
    staged = await uploads.staged(upload)
    return staged if staged is not None else RefusedFile(LOST)


def unfinished(upload: Upload) -> FieldError:
    return FieldError(
        "validation_unfinished_upload",
        f"The upload is not finished: it has {upload.offset} of {upload.length} bytes.",
        {"length": upload.length, "offset": upload.offset},
    )


def refusal(upload: UploadedFile) -> FieldError | None:
    """Why an upload that a body named cannot be used."""
    return upload.error if isinstance(upload, RefusedFile) else None


async def take_all(uploads: Uploads | None, names: Mapping[str, list[NewFile]]) -> dict[str, FieldError]:
    """Take the uploads among a record's new files, in the transaction that writes it; errors by field.

    Two who want the same upload meet here, and one of them gets it.
    """
    wanted = [
        (each.upload.upload, field)
        for field, files in names.items()
        for each in files
        if isinstance(each.upload, StagedFile)
    ]
    if uploads is None:
        return {}
    # In one order everywhere, so that two who want the same two do not wait for each other.
    return {
        field: NOT_THERE
        for upload, field in sorted(wanted, key=lambda pair: pair[0].id)
        if not await uploads.take(upload)
    }
