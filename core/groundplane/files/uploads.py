"""Uploads that may be interrupted and taken up again: who has one, how far it is, and what becomes of it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, BinaryIO, NamedTuple

import msgspec

from groundplane.clock import now
from groundplane.config import UploadsConfig
from groundplane.context import Caller
from groundplane.db.engine import Database, uninterrupted
from groundplane.db.sql import load_queries
from groundplane.errors import (
    Conflict,
    GroundplaneError,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from groundplane.files.chosen import ChosenFiles
from groundplane.files.local import LocalFiles
from groundplane.files.mime import MediaType
from groundplane.files.s3 import S3Files
from groundplane.files.staging import Leftover, LocalStaging, Place, Staging, StagingBusy, StagingLost
from groundplane.files.staging_segments import SegmentStaging
from groundplane.files.storage import FileStorage, StorageFailed
from groundplane.files.uploads_appending import Appending, Checksum, nothing
from groundplane.files.uploads_refused import Gone, Locked, NoRoom
from groundplane.security.ids import LOWER_ALPHANUMERIC, random_text, record_id, secret

log = logging.getLogger(__name__)

QUERIES = load_queries("groundplane.files", "uploads.sql")
TOKEN = re.compile(r"([a-z0-9]{15})-([a-z0-9]{32})")
SECRET_LENGTH = 32
LOCAL, REMOTE, OWN = "local", "s3", "plugin"  # where the bytes of an upload are

LEFTOVER_AGE = timedelta(hours=1)
AT_ONCE = 200

# Who writes says every second that it is still there; without a word for this long it counts as gone.
LEASE_S = 3.0
CONTEST_S = 10.0  # how long it is remembered that somebody else wants to write
STORE_AWAY = "The file store does not answer. Try again later."


class Wanted(NamedTuple):
    """A new upload; `collection` and `field` are "" when it may go anywhere.

    `payer` is whose limits it counts against: its owner, or the network of a guest, who owns nothing.
    `metadata` is the header as it was sent.
    """

    length: int
    owner: str
    payer: str
    collection: str = ""
    field: str = ""
    filename: str = ""
    filetype: str = ""
    metadata: str = ""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file on its way; `offset` bytes of `length` are safe in the store."""

    id: str
    owner: str
    collection: str
    field: str
    filename: str
    filetype: str
    metadata: str
    length: int
    offset: int
    store: str
    segments: tuple[str, ...]
    expires: datetime

    @property
    def is_finished(self) -> bool:
        return self.offset == self.length

    @property
    def place(self) -> Place:
        return Place(self.id, self.offset, self.segments)


class StagedFile:
    """A finished upload as the file of a record; looks like one that came with the request.

    `kind` is the type of its content. `file` holds nothing open, and is to be read in threads.
    """

    def __init__(self, upload: Upload, kind: MediaType, staging: Staging) -> None:
        self.upload = upload
        self.kind = kind
        self._staging = staging

    @property
    def file(self) -> BinaryIO:
        return self._staging.reader(self.upload.place)

    def chunks(self) -> AsyncIterator[bytes]:
        """The content from its beginning, as often as it is asked for."""
        return self._staging.chunks(self.upload.place)

    @property
    def filename(self) -> str:
        return self.upload.filename

    @property
    def content_type(self) -> str:
        return self.upload.filetype or "application/octet-stream"

    @property
    def size(self) -> int:
        return self.upload.length


def owner_of(caller: Caller | None) -> str:
    """Whose an upload is; "" is whoever has its token."""
    return f"{caller.collection_id}/{caller.id}" if caller is not None else ""


class Uploads:
    """Rows say how far each upload is; the bytes are in the store that was chosen when it began."""

    def __init__(self, db: Database, storage: FileStorage, config: UploadsConfig) -> None:
        self._db = db
        self._storage = storage
        self.config = config

    # Where the bytes are

    @property
    def _current(self) -> FileStorage:
        """The store that new files go to."""
        return self._storage.current if isinstance(self._storage, ChosenFiles) else self._storage

    def _store(self) -> str:
        """Where a new upload goes: where new files go."""
        if isinstance(self._current, LocalFiles):
            return LOCAL
        return REMOTE if isinstance(self._current, S3Files) else OWN

    def _staging(self, store: str) -> Staging:
        storage = self._storage
        if isinstance(storage, ChosenFiles):
            if store == LOCAL:
                storage = storage.local
            else:
                storage = storage.own if store == OWN and storage.own is not None else storage.remote()
        return LocalStaging(storage) if isinstance(storage, LocalFiles) else SegmentStaging(storage)

    # The life of an upload

    async def create(self, wanted: Wanted) -> tuple[Upload, str]:
        """Begin an upload; returns it with its token. Raises TooLarge, TooManyRequests and NoRoom."""
        config = self.config
        if wanted.length > config.max_bytes:
            raise TooLarge(f"An upload may have {config.max_bytes} bytes, this one has {wanted.length}.")
        moment = now()
        id, key = record_id(), random_text(SECRET_LENGTH, LOWER_ALPHANUMERIC)
        expires = moment + timedelta(seconds=config.expire_s)
        store = self._store()
        async with self._db.transaction():
            await self._db.execute(QUERIES["lock"])
            known = await self._db.fetchrow(QUERIES["open"], wanted.payer)
            count, size, total = (known["count"], known["bytes"], known["total"]) if known else (0, 0, 0)
            if count >= config.caller_count:
                raise TooManyRequests(
                    f"You have {count} uploads that no record has taken. Finish or delete some of them first."
                )
            if size + wanted.length > config.caller_bytes:
                raise TooManyRequests(
                    f"All your uploads may have {config.caller_bytes} bytes together. "
                    "Finish or delete some of them first."
                )
            if total + wanted.length > config.total_bytes:
                raise NoRoom
            await self._db.execute(
                QUERIES["add"],
                id,
                hashed(key),
                wanted.owner,
                wanted.payer,
                wanted.collection,
                wanted.field,
                wanted.filename,
                wanted.filetype,
                wanted.metadata,
                wanted.length,
                store,
                moment,
                expires,
            )
        upload = Upload(
            id=id,
            owner=wanted.owner,
            collection=wanted.collection,
            field=wanted.field,
            filename=wanted.filename,
            filetype=wanted.filetype,
            metadata=wanted.metadata,
            length=wanted.length,
            offset=0,
            store=store,
            segments=(),
            expires=expires,
        )
        if not wanted.length:
            upload = await self.append(upload, 0, nothing())
        return upload, f"{id}-{key}"

    async def find(self, token: str, owner: str) -> Upload:
        """The caller's upload by its token; raises NotFound for what there is not or is others', and Gone."""
        parts = TOKEN.fullmatch(token)
        row = await self._db.fetchrow(QUERIES["find"], parts[1]) if parts is not None else None
        if (
            parts is None
            or row is None
            or not hmac.compare_digest(row["secret"], hashed(parts[2]))
            or row["owner"] not in ("", owner)
        ):
            raise NotFound
        upload = upload_of(row)
        if upload.expires <= now():
            raise Gone
        return upload

    async def append(
        self,
        upload: Upload,
        offset: int,
        chunks: AsyncIterator[bytes],
        checksum: Checksum | None = None,
    ) -> Upload:
        """Add bytes behind the offset; returns the upload as it is then.

        What arrived before `chunks` raised is kept, unless there is a checksum, which is of all of it. Raises
        Conflict for an offset that is not the upload's, Locked, TooLarge, WrongChecksum, Gone and Unavailable.
        """
        holder = secret(16)
        held = await self._db.fetchrow(QUERIES["hold"], upload.id, holder, offset, LEASE_S)
        if held is None:
            raise await self._why_not(upload.id, offset)
        expires = upload.expires

        async def note(before: int, after: int, segments: Sequence[str]) -> bool:
            nonlocal expires
            expires = now() + timedelta(seconds=self.config.expire_s)
            row = await self._db.fetchrow(
                QUERIES["advance"],
                upload.id,
                holder,
                before,
                after,
                list(segments),
                expires,
                LEASE_S,
                CONTEST_S,
            )
            if row is None:
                raise Locked("The upload was taken over by another request, or deleted.")
            return bool(row["contested"])

        segments = tuple(held["segments"])
        try:
            writer = await self._staging(upload.store).writer(
                Place(upload.id, offset, segments), upload.length
            )
            appending = Appending(writer, note, noted=offset, length=upload.length, segments=segments)
            try:
                await appending.run(chunks, checksum)
            finally:
                await uninterrupted(appending.close())
        except StagingBusy:
            raise Locked from None
        except StagingLost:
            await self._db.execute(QUERIES["remove"], upload.id)
            raise Gone("The upload was lost. Begin a new one.") from None
        except StorageFailed as error:
            log.error("An upload could not be written: %s", error)
            raise Unavailable(STORE_AWAY) from error
        finally:
            await uninterrupted(self._db.execute(QUERIES["release"], upload.id, holder))
        return msgspec.structs.replace(
            upload, offset=appending.noted, segments=tuple(appending.segments), expires=expires
        )

    async def _why_not(self, id: str, offset: int) -> GroundplaneError:
        """Why nobody may write at this offset now; asks one who does to let go if the client is silent."""
        row = await self._db.fetchrow(QUERIES["find"], id)
        if row is None:
            return NotFound()
        if row["offset"] != offset:
            return Conflict(f"The upload has {row['offset']} bytes, so Upload-Offset cannot be {offset}.")
        await self._db.execute(QUERIES["contest"], id)
        return Locked()

    async def remove(self, upload: Upload) -> None:
        """Delete an upload with its bytes; a failure of the store is logged, and swept up later."""
        await self._db.execute(QUERIES["remove"], upload.id)
        await self._discard(upload.id, upload.store)

    async def _discard(self, id: str, store: str) -> None:
        try:
            await self._staging(store).discard(id)
        except StorageFailed as error:
            log.warning("The bytes of an upload were not removed: %s", error)

    # What becomes of it

    async def staged(self, upload: Upload) -> StagedFile | None:
        """A finished upload as a file; None when its bytes are gone. Raises Unavailable."""
        staging = self._staging(upload.store)
        try:
            return StagedFile(upload, await staging.detect(upload.place), staging)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(STORE_AWAY) from error

    async def take(self, upload: Upload) -> bool:
        """Take an upload in the open transaction, which no other can then; False if one has, or it expired."""
        return await self._db.fetchval(QUERIES["take"], upload.id, now()) is not None

    async def move(self, upload: Upload, key: str, *, content_type: str, original_name: str) -> None:
        """Store a taken upload under a key; its own bytes go after the commit. Raises StorageFailed."""
        if self._db.in_transaction:
            await self._db.execute(QUERIES["patience"])
        staging = self._staging(upload.store)
        await staging.move(upload.place, self._current, key, content_type, original_name)

        async def discard() -> None:
            await self._discard(upload.id, upload.store)

        await self._db.after_commit(discard)

    # Tidying up

    async def clean_up(self) -> int:
        """Remove what has expired, and bytes that belong to no upload; returns how many there were."""
        count = 0
        while rows := await self._db.fetch(QUERIES["expired"], now()):
            for row in rows:
                await self._discard(row["id"], row["store"])
            count += len(rows)
        # Another installation may have uploads in the same bucket, which are not known here.
        age = timedelta(seconds=self.config.expire_s) + LEFTOVER_AGE
        return count + await self.abandoned(age, delete=True)

    async def abandoned(self, min_age: timedelta, *, delete: bool = False) -> int:
        """Count bytes that belong to no upload, as a crash leaves them; raises StorageFailed."""
        count = 0
        stores = {LOCAL, self._store()} if isinstance(self._storage, ChosenFiles) else {self._store()}
        for store in sorted(stores):
            staging = self._staging(store)
            batch: list[Leftover] = []
            async for leftover in staging.leftovers():
                if leftover.modified <= now() - min_age:
                    batch.append(leftover)
                if len(batch) == AT_ONCE:
                    count += await self._unknown(staging, batch, delete=delete)
                    batch = []
            count += await self._unknown(staging, batch, delete=delete)
        return count

    async def _unknown(self, staging: Staging, batch: list[Leftover], *, delete: bool) -> int:
        ids = [leftover.id for leftover in batch]
        known = {row["id"] for row in await self._db.fetch(QUERIES["known"], ids)} if ids else set()
        unknown = [id for id in ids if id not in known]
        if delete:
            for id in unknown:
                await staging.discard(id)
        return len(unknown)


def hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def upload_of(row: Any) -> Upload:
    return Upload(
        id=row["id"],
        owner=row["owner"],
        collection=row["collection"],
        field=row["field"],
        filename=row["filename"],
        filetype=row["filetype"],
        metadata=row["metadata"],
        length=row["length"],
        offset=row["offset"],
        store=row["store"],
        segments=tuple(row["segments"]),
        expires=row["expires"],
    )
