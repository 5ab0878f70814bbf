"""The hooks about files, a part of the contract with plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from groundplane.hooks import hookspec

if TYPE_CHECKING:
    from groundplane.files.storage import FileStorage
    from groundplane.hooks.events_files import (
        FileDeleted,
        FileDownload,
        FileToken,
        FileUpload,
        Thumb,
        ThumbGenerate,
    )
    from groundplane.services import Services


@hookspec("collect")
def register_storage(config: object, services: Services) -> FileStorage:
    """A store for the files of records, as `groundplane.files.storage` describes it.

    Asked at start of the one plugin that `files.store` names. When it raises, or returns something else, the
    server does not start: files would go astray.

    `config`   the plugin's configuration, as in `startup`

    Called by: groundplane/files/own.py
    """
    raise NotImplementedError


@hookspec("around")
def file_upload(event: FileUpload, services: Services) -> AsyncIterator[None]:
    """A file is about to be stored for a record: `async def` with one `yield`.

    Before the `yield` the rules have let the request through and the field's checks are done; `event.chunks()`
    has the content, which nobody else can see yet. Raise `FileRefused` to refuse the request with an error at
    the field, or change `event.name`, `event.client_name` and `event.content_type`; a new name is checked.
    Behind the `yield` the record is written. What failed is raised at the `yield`, as in `record_request`.
    It is called outside of the transaction, except in a batch and for a create with an `Idempotency-Key`.
    Uploads that were staged are shown when a record takes them.
    Called by: groundplane/records/steps.py
    """
    raise NotImplementedError


@hookspec("before")
async def file_download(event: FileDownload, services: Services) -> None:
    """A file, or a thumb of it, is about to be sent, and the view rule of a protected one has agreed.

    Raise a `GroundplaneError` to refuse. Add to `event.headers`: one that the server would send itself is
    replaced, except those about length, ranges and dates. `event.info.caller` is who the token in the address
    names for a protected file, and who the `Authorization` header names for others.
    A file with headers of yours is never a redirect to the object store.
    Called by: groundplane/api/files.py
    """


@hookspec("before")
async def file_token(event: FileToken, services: Services) -> None:
    """Somebody asks for a token for protected files.

    Raise a `GroundplaneError` to refuse, or change `event.duration_s`, in whole seconds.
    Called by: groundplane/api/files.py
    """


@hookspec("first")
async def thumb_generate(event: ThumbGenerate, services: Services) -> Thumb | None:
    """A thumb is missing: make it yourself, also of what is no picture, or return None.

    Asked in one process, which holds a database connection for it, while all others wait; what you return is
    stored and sent from then on. When nobody makes one, the server does, if it can. A failure is logged, and
    the file itself is sent.
    Called by: groundplane/files/thumbs.py
    """
    raise NotImplementedError


@hookspec("notify")
async def file_deleted(event: FileDeleted, services: Services) -> None:
    """A file that a record had was removed from the store, with its thumbs; perhaps long after the change.

    Called in the process that removed it. Where the collection is gone too, filters by collection let it pass.
    Called by: groundplane/files/removals.py
    """
