"""Removes files that no record names any more: at once after the commit, and for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.errors import GroundplaneError
from groundplane.files.chosen import ChosenFiles
from groundplane.files.local import LocalFiles
from groundplane.files.orphans import batches, names_of_records, unnamed
from groundplane.files.outbox import UPLOAD_LIFETIME, Doomed, Outbox, Removal
from groundplane.files.storage import BadKey, FileMissing, FileStorage, StorageFailed
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events_files import FileDeleted
from groundplane.schema.cache import SchemaCache

log = logging.getLogger(__name__)

PROMPT_S = 10.0  # what a request spends on it; the rest is for the sweep
SWEEP_S = 300.0  # what one removal may take there; a collection has many files
AWAY_S = 30.0  # how long a store that failed is not tried for requests
UNLIMITED = 1 << 60


class Removals:
    """Every removal is a row of the outbox until it is done.

    A file that a record names is never removed, whatever the outbox says.
    """

    def __init__(
        self, db: Database, storage: FileStorage, schema: SchemaCache, hooks: Hooks | None = None
    ) -> None:
        self.outbox = Outbox(db)
        self.db = db
        self._storage = storage
        self._schema = schema
        self._hooks = hooks or Hooks()
        self._away_until = 0.0

    async def later(self, doomed: Sequence[Doomed]) -> None:
        """Have files removed when the open transaction has committed; at once without one."""
        removals = await self.outbox.add(doomed)
        await self.db.after_commit(partial(self._promptly, removals))

    async def undo(self, uploads: Sequence[tuple[str, Doomed]]) -> None:
        """Remove uploads whose record was not written, each with its row of the outbox."""
        done = []
        try:
            async with asyncio.timeout(PROMPT_S):
                for row, doomed in uploads:
                    await self.remove(doomed)
                    done.append(row)
        except (StorageFailed, TimeoutError) as problem:
            log.warning("Uploads that came to nothing are removed later: %s", problem)
        if done:
            await self.outbox.forget(done)

    async def sweep(self, limit: int = UNLIMITED) -> int:
        """Remove what is due, each in its own time; returns how many removals are done."""
        done = 0
        while done < limit and (claimed := await self.outbox.claim()):
            for removal in claimed:
                try:
                    async with asyncio.timeout(SWEEP_S):
                        await self._remove_safely(removal)
                except (StorageFailed, GroundplaneError, TimeoutError) as problem:
                    reason = str(problem) or f"it takes longer than {SWEEP_S:.0f} s"
                    log.warning("Files were not removed, and it will be tried again: %s", reason)
                    await self.outbox.failed(removal, reason)
                else:
                    await self.outbox.forget([removal.id])
                    done += 1
            if any(removal.is_upload for removal in claimed):
                await self._remove_unfinished()
        return done

    async def _promptly(self, removals: Sequence[Removal]) -> None:
        if time.monotonic() < self._away_until:
            return
        done: list[str] = []
        try:
            async with asyncio.timeout(PROMPT_S):
                for removal in removals:
                    await self._carry_out(removal)
                    done.append(removal.id)
        except StorageFailed as problem:
            self._away_until = time.monotonic() + AWAY_S
            log.warning("Files were not removed, and it will be tried again: %s", problem)
            await self.outbox.failed(removals[len(done)], str(problem))
        except TimeoutError:
            log.info("Removing files takes long; the rest of them is removed in the background")
        if done:
            await self.outbox.forget(done)

    async def _remove_safely(self, removal: Removal) -> None:
        """Carry out a removal after some time, in which a record may have come to name the files."""
        doomed = removal.doomed
        collection = self._schema.current.by_id.get(doomed.collection)
        if collection is not None and not doomed.record:
            # It was made again under the same id: only what is older than its removal goes.
            await self._remove_unnamed(removal)
            return
        if collection is not None and not collection.is_view:
            found = await names_of_records(self.db, collection, {doomed.record})
            named = found.get(doomed.record, set())
            doomed = doomed._replace(names=tuple(name for name in doomed.names if name not in named))
        await self._carry_out(removal._replace(doomed=doomed))

    async def _remove_unfinished(self) -> None:
        """Remove what the folder has of uploads that were cut off before they had their name."""
        store = self._storage.local if isinstance(self._storage, ChosenFiles) else self._storage
        if isinstance(store, LocalFiles):
            try:
                await store.abandoned(now() - UPLOAD_LIFETIME, delete=True)
            except StorageFailed as problem:
                log.warning("Uploads that were cut off were not removed: %s", problem)

    async def _remove_unnamed(self, removal: Removal) -> None:
        async for places in batches(self._storage, f"{removal.doomed.collection}/"):
            for place, _ in await unnamed(self.db, self._schema.current, places):
                try:
                    info = await self._storage.stat(place.key)
                except FileMissing:
                    continue
                if info.modified <= removal.created:
                    await self._storage.delete(place.key)

    async def _carry_out(self, removal: Removal) -> None:
        hook, doomed = self._hooks.file_deleted, removal.doomed
        if not hook or removal.is_upload:
            await self.remove(doomed)
            return
        files = [(doomed.record, name) for name in doomed.names]
        if not doomed.record:
            keys = [key async for key in self._storage.keys(f"{doomed.collection}/")]
            files = [(parts[1], parts[2]) for key in keys if len(parts := key.split("/")) == 3]
        await self.remove(doomed)
        about = self._schema.current.by_id.get(doomed.collection)
        for record, name in files:
            hook(about, event=FileDeleted(doomed.collection, record, name))

    async def remove(self, doomed: Doomed) -> None:
        """Remove files and their thumbs now; raises StorageFailed. What is not there is no error."""
        collection, record, names = doomed
        if not record:
            await self._storage.delete_prefix(f"{collection}/")
        for name in names:
            try:
                await self._storage.delete(f"{collection}/{record}/{name}")
                await self._storage.delete_prefix(f"{collection}/{record}/thumbs_{name}/")
            except BadKey as error:
                log.warning("What cannot be the name of a file was not removed: %s", error)
