"""Files named in records: checked, stored before the row is written, removed when it is not or no more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from groundplane.errors import FieldError
from groundplane.files.mime import accepts
from groundplane.files.outbox import Doomed
from groundplane.files.service import Files, chunks_of
from groundplane.files.storage import ATTRS_SUFFIX
from groundplane.files.uploads import StagedFile
from groundplane.records.plan import Plan
from groundplane.records.staged import refusal, take_all
from groundplane.records.values import NewFile, UploadedFile
from groundplane.schema.fields.file import FileField

MAX_NAME = 150
MAX_SHOWN_NAME = 250
MAX_SHOWN_CLIENT_NAME = 300
SAFE_NAME = re.compile(r"[^./\\][^/\\]*")


class Uploads:
    """What was stored for a change that is not committed yet."""

    def __init__(self) -> None:
        self.stored: list[tuple[str, Doomed]] = []  # with the rows of the outbox
        self.kept = False

    def keep(self) -> None:
        """Say that all is done but the commit: from here on, files stay even when the outcome is unknown.

        A commit whose answer was lost may have happened, and an orphan is better than a missing file.
        """
        self.kept = True


_uploads: ContextVar[Uploads | None] = ContextVar("uploads", default=None)


@asynccontextmanager
async def undone_on_failure(files: Files) -> AsyncIterator[Uploads]:
    """Remove what was uploaded inside when the block fails; an inner block leaves that to the outer one."""
    outer = _uploads.get()
    if outer is not None:
        yield Uploads()
        return
    uploads = Uploads()
    token = _uploads.set(uploads)
    try:
        yield uploads
    except BaseException:
        if not uploads.kept:
            await asyncio.shield(files.removals.undo(uploads.stored))
        raise
    finally:
        _uploads.reset(token)


def names_of(value: Any) -> list[str]:
    """A file field's value as a list, whether it is single or multiple."""
    if isinstance(value, str):
        return [value] if value else []
    return list(value)


def check_files(field: FileField, value: Any, before: Any) -> FieldError | None:
    """Check a file field in the order of the contract (files §2.3)."""
    names = names_of(value)
    if not names:
        return field.check(value)
    known = set(names_of(before)) if before else set()
    unknown = [name for name in names if not isinstance(name, NewFile) and name not in known]
    if unknown:
        shown = [cut(name, MAX_SHOWN_NAME) for name in unknown]
        return FieldError(
            "validation_invalid_file", f"Invalid new files: [{' '.join(shown)}].", {"invalidFiles": shown}
        )
    if error := field.check(value):
        return error
    for name in names:
        if isinstance(name, NewFile) and (error := check_upload(field, name)):
            return error
    return None


def check_upload(field: FileField, new: NewFile) -> FieldError | None:
    if error := refusal(new.upload):
        return error
    if not 1 <= len(new) <= MAX_NAME:
        message = f"The length must be between 1 and {MAX_NAME}."
        return FieldError("validation_length_out_of_range", message, {"min": 1, "max": MAX_NAME})
    if not SAFE_NAME.fullmatch(new) or new.endswith(ATTRS_SUFFIX):
        return FieldError("validation_match_invalid", "Must be in a valid format.")
    limit = field.size_limit
    if new.upload.size > limit:
        file = cut(new.upload.filename, MAX_SHOWN_CLIENT_NAME)
        message = f"Failed to upload {file} - the maximum allowed file size is {limit} bytes."
        return FieldError("validation_file_size_limit", message, {"file": file, "maxSize": limit})
    if field.mime_types and not accepts(field.mime_types, new.content_type):
        message = f'"{new}" mime type must be one of: {", ".join(field.mime_types)}.'
        return FieldError("validation_invalid_mime_type", message)
    return None


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "..."


def content_of(upload: UploadedFile) -> AsyncIterator[bytes]:
    """The content of an upload from its beginning, as often as it is asked for."""
    return upload.chunks() if isinstance(upload, StagedFile) else chunks_of(upload.file)


async def store_new(files: Files, plan: Plan, record: Mapping[str, Any]) -> list[str]:
    """Store the uploads of a record that passed its checks.

    Returns their rows in the outbox, which are to be struck off in the transaction that writes the record.
    """
    rows: list[str] = []
    uploads = _uploads.get()
    for field in plan.file_fields:
        for name in names_of(record[field.name]):
            if not isinstance(name, NewFile):
                continue
            place = (plan.collection.id, record["id"], str(name))
            # Noted first: half of a failed upload may be there, and this process may be killed over it.
            row = await files.removals.outbox.expect(*place)
            rows.append(row)
            if uploads is not None:
                uploads.stored.append((row, Doomed(*place[:2], (place[2],))))
            described = {"content_type": name.content_type, "client_name": name.client_name}
            if isinstance(name.upload, StagedFile):
                await files.adopt(*place, name.upload.upload, **described)
            else:
                await files.put(*place, name.upload.file, **described)
    return rows


async def take_staged(files: Files, plan: Plan, record: Mapping[str, Any]) -> dict[str, FieldError]:
    """Take the uploads that came before the record, in the transaction that writes it; errors by field."""
    new = {
        field.name: [name for name in names_of(record[field.name]) if isinstance(name, NewFile)]
        for field in plan.file_fields
    }
    return await take_all(files.uploads, new)


async def remove_replaced(
    files: Files, plan: Plan, before: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    """With the commit, have the files removed that the record no longer names."""
    gone = [
        name
        for field in plan.file_fields
        for name in names_of(before[field.name])
        if name not in names_of(record[field.name])
    ]
    if gone:
        await files.removals.later([Doomed(plan.collection.id, record["id"], tuple(gone))])
