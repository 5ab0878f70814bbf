"""Imports a PocketBase folder: collections, records, settings and files, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from groundplane.collections.change import BadIndexes, SchemaChange
from groundplane.collections.service import Collections
from groundplane.collections.views import BadView, derive
from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.db.sql import ident
from groundplane.errors import GroundplaneError
from groundplane.files.storage import FileStorage
from groundplane.imports import queries
from groundplane.imports.pocketbase_files import FileCopy, StoredFile, find_files
from groundplane.imports.pocketbase_source import Source, open_source
from groundplane.imports.report import (
    PROGRESS_STEP,
    CollectionReport,
    ImportFailed,
    Progress,
    Report,
    silent,
)
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.sqlite import Untranslatable, translate_index
from groundplane.schema.system import installed_collections
from groundplane.settings.merge import BadType, merged
from groundplane.settings.service import Settings
from groundplane.settings.values import SettingsValues


class PocketBaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to import and how.

    `dry_run`         only say what would come in
    `merge`           allow a target with records: collections with the same id or name take the definition and
                      the records of the source, records with other ids stay, and so do the settings
    `encryption_key`  the 32 characters of PocketBase's encryptionEnv, if its settings are encrypted
    """

    folder: Path
    dry_run: bool = False
    merge: bool = False
    encryption_key: str = ""


async def nobody_to_tell() -> None:
    """What a target does when everything is there and nobody else wants to know."""


class Target(NamedTuple):
    """The parts of the running installation that an import writes to; `loaded` is called before it commits."""

    db: Database
    collections: Collections
    settings: Settings
    storage: FileStorage
    loaded: Callable[[], Awaitable[None]] = nobody_to_tell


async def import_pocketbase(
    options: PocketBaseOptions, target: Target, progress: Progress = silent
) -> Report:
    """Import the folder and return what came in; raises ImportFailed, and then nothing has changed.

    With `dry_run` the target is only looked at. Warnings in the report name what SQLite could do and we
    cannot: such indexes and views are left out, everything else comes in.
    """
    with open_source(options.folder) as source:
        plan = read_plan(source, options.encryption_key)
        existing = await _existing(target, plan)
        if existing and not options.merge:
            raise ImportFailed(
                f"The target is not empty ({', '.join(existing[:5])}{', …' if len(existing) > 5 else ''}): "
                "import into a new data folder, or add to this one with --merge."
            )
        if options.dry_run:
            return _dry_run(source, plan, progress)
        return await _Import(source, plan, options, target, progress).run()


# Reading


class Plan(NamedTuple):
    """What the source has to offer; views stand behind everything else."""

    collections: Sequence[Collection]
    settings: SettingsValues | None
    files: Sequence[StoredFile]
    warnings: list[str]

    @property
    def tables(self) -> list[Collection]:
        return [each for each in self.collections if not each.is_view]

    @property
    def views(self) -> list[Collection]:
        return [each for each in self.collections if each.is_view]


def read_plan(source: Source, encryption_key: str = "") -> Plan:
    """Read everything but the records."""
    collections = source.collections()
    warnings = source.warnings
    files = list(find_files(source.storage, warnings))
    settings = _settings(source.settings(encryption_key), warnings)
    if settings is not None and settings.s3.enabled:
        warnings.append(
            "Files are kept in the object store that the settings name; none were copied from it."
        )
    return Plan(collections, settings, files, warnings)


def _settings(raw: dict[str, Any] | None, warnings: list[str]) -> SettingsValues | None:
    if raw is None:
        return None
    try:
        return merged(SettingsValues(), raw)
    except BadType:
        warnings.append("The settings were left out: they have an unknown shape.")
        return None


def usable_indexes(collection: Collection, warnings: list[str]) -> list[str]:
    """The indexes of a collection that exist in PostgreSQL as well; the others are warned about."""
    usable: list[str] = []
    for text in collection.indexes:
        try:
            translate_index(text, collection)
        except Untranslatable as error:
            warnings.append(f"An index of {collection.name} was left out ({text}): {error.reason}.")
        else:
            usable.append(text)
    return usable


def usable_views(schema: Schema, views: Sequence[Collection], warnings: list[str]) -> Iterator[Collection]:
    """The views whose queries can be translated, each behind those that it reads, with their fields."""
    waiting = list(views)
    while waiting:
        left: list[Collection] = []
        problems: list[str] = []
        for view in waiting:
            derived = derive(schema, view.view_query, view.name, view)
            if derived.problem is not None:
                left.append(view)
                problems.append(f"The view {view.name} was left out: {derived.problem}.")
                continue
            ready = view.replaced(fields=derived.fields)
            schema = Schema([*(each for each in schema if each.id != view.id), ready], schema.version)
            yield ready
        if len(left) == len(waiting):
            warnings.extend(problems)
            return
        waiting = left


def _dry_run(source: Source, plan: Plan, progress: Progress) -> Report:
    report = Report(dry_run=True, warnings=plan.warnings, settings=plan.settings is not None)
    for collection in plan.tables:
        usable_indexes(collection, plan.warnings)
        total, done = source.count(collection), 0
        for done, _ in enumerate(source.records(collection), 1):
            if done % PROGRESS_STEP == 0 or done == total:
                progress(collection.name, done, total)
        report.collections.append(_described(collection, done))
    # A view may read only what is there; views among each other come one by one.
    for view in usable_views(Schema(plan.tables), plan.views, plan.warnings):
        report.collections.append(_described(view, 0))
    report.files, report.file_bytes = len(plan.files), sum(file.size for file in plan.files)
    return report


def _described(collection: Collection, records: int) -> CollectionReport:
    return CollectionReport(id=collection.id, name=collection.name, type=collection.type, records=records)


# The target


async def _existing(target: Target, plan: Plan) -> list[str]:
    """Names of what makes the target not empty: collections that no fresh installation has, or records.

    Superusers do not count: whoever sets up a server makes one before anything else.
    """
    fresh = {each.id for each in installed_collections()}
    found: list[str] = []
    for collection in target.collections.cache.current:
        if collection.id not in fresh:
            found.append(collection.name)
        elif collection.is_view or collection.is_superusers:
            continue
        elif await target.db.fetchval(queries.any_row(collection.table)):
            found.append(f"records of {collection.name}")
    return found


class _Import:
    """One run of the import; `_work` may start again when other transactions are in the way."""

    def __init__(
        self, source: Source, plan: Plan, options: PocketBaseOptions, target: Target, progress: Progress
    ) -> None:
        self.source = source
        self.plan = plan
        self.options = options
        self.target = target
        self.progress = progress
        self.report = Report()

    async def run(self) -> Report:
        copied = FileCopy(self.target.storage)
        known = list(self.plan.warnings)
        try:
            # Files come first: they are the long part that needs no lock, and a record must not be seen
            # before its file is there.
            await copied.copy(self.plan.files, len(self.plan.files), self.progress)
            await self.target.collections.change(lambda change: self._work(change, known))
        except BaseException as error:
            await copied.undo()
            raise _told(error) from error
        await self._analyze()
        return self.report

    async def _work(self, change: SchemaChange, known: list[str]) -> None:
        self.source.warnings[:] = known
        self.report = Report(
            warnings=self.source.warnings,
            files=len(self.plan.files),
            file_bytes=sum(file.size for file in self.plan.files),
        )
        for collection in await self._replaced_defaults(change.schema):
            await change.remove(collection)
        for collection in self.plan.tables:
            await self._put_table(change, collection)
        for view in usable_views(change.schema, self.plan.views, self.source.warnings):
            await self._put_view(change, view)
        await self._put_settings()
        await change.finish()
        await self._keep_dates(change)
        await self.target.loaded()

    async def _replaced_defaults(self, schema: Schema) -> list[Collection]:
        """Collections of the target that make room.

        In an empty target these are those with the id or name of one that comes, and `users`, which the source
        would have if it wanted it. When merging, an empty one with the same name and another id. Superusers
        stay, or an import would lock out the admin who starts it.
        """
        ids = {each.id for each in self.plan.collections}
        names = {each.name.lower() for each in self.plan.collections}
        if self.options.merge:
            return []
        making_room = [
            each for each in schema if each.id in ids or each.name.lower() in names or not each.system
        ]
        for collection in making_room:
            if collection.is_superusers and await self.target.db.fetchval(queries.any_row(collection.table)):
                making_room.remove(collection)
                break
        return making_room

    async def _put_table(self, change: SchemaChange, collection: Collection) -> None:
        old = change.schema.by_id.get(collection.id)
        named = change.schema.by_lower_name.get(collection.name.lower())
        if named is not None and named is not old:
            if await self.target.db.fetchval(queries.any_row(named.table)):
                raise ImportFailed(
                    f"The collection {collection.name} exists already with another id and records."
                )
            await change.remove(named)
        kept: Sequence[str] = ()
        if old is not None:
            if old.type != collection.type:
                raise ImportFailed(f"The collection {collection.name} exists already with another type.")
            extra = [each for each in old.fields if each.id not in collection.by_field_id]
            names = {each.name.lower() for each in collection.fields}
            extra = [each for each in extra if each.name.lower() not in names]
            collection = collection.replaced(fields=[*collection.fields, *extra])
            kept = old.indexes
        bare = await change.put(collection.replaced(indexes=kept), old)
        count = await self._copy_records(collection, merge=old is not None)
        await self._put_indexes(change, bare, usable_indexes(collection, self.source.warnings))
        self.report.collections.append(_described(collection, count))

    async def _put_indexes(self, change: SchemaChange, bare: Collection, indexes: list[str]) -> None:
        """Make the indexes once the records are there; what PostgreSQL refuses is left out with a warning."""
        while True:
            before = change.schema
            try:
                async with self.target.db.transaction() as connection, connection.transaction():
                    await change.put(bare.replaced(indexes=indexes), bare)
                return
            except BadIndexes as error:
                change.schema = before
                for position in sorted(map(int, error.errors), reverse=True):
                    text = indexes.pop(position)
                    problem = getattr(error.errors[str(position)], "message", "it cannot be made")
                    self.source.warnings.append(f"An index of {bare.name} was left out ({text}): {problem}")

    async def _copy_records(self, collection: Collection, *, merge: bool) -> int:
        columns = [field.column for field in collection.fields if field.id in self._source_fields(collection)]
        origin = next(each for each in self.plan.tables if each.id == collection.id)
        total = self.source.count(origin)
        counter = _Counter(self.progress, collection.name, total)
        async with self.target.db.transaction() as connection:
            if not merge:
                await connection.copy_records_to_table(
                    collection.table, records=counter.through(self.source.records(origin)),
                    columns=columns, schema_name="public",
                )  # fmt: skip
                return counter.done
            await connection.execute(queries.staging(collection.table))
            await connection.copy_records_to_table(
                queries.STAGING, records=counter.through(self.source.records(origin)), columns=columns
            )
            if collection.is_superusers:
                await connection.execute(queries.make_room(collection.table))
            await connection.execute(queries.take_over(collection.table, columns))
            await connection.execute(queries.DROP_STAGING)
        return counter.done

    def _source_fields(self, collection: Collection) -> set[str]:
        origin = next(each for each in self.plan.tables if each.id == collection.id)
        return set(origin.by_field_id)

    async def _put_view(self, change: SchemaChange, view: Collection) -> None:
        before = change.schema
        old = change.schema.by_id.get(view.id) or change.schema.by_lower_name.get(view.name.lower())
        try:
            async with self.target.db.transaction() as connection, connection.transaction():
                if old is not None and (old.id != view.id or not old.is_view):
                    raise BadView("another collection has its name")
                await change.put(view, old)
        except BadView as error:
            change.schema = before
            self.source.warnings.append(f"The view {view.name} was left out: {error}.")
        else:
            self.report.collections.append(_described(view, 0))

    async def _put_settings(self) -> None:
        if self.plan.settings is None or self.options.merge:
            return
        try:
            await self.target.settings.store(self.plan.settings)
        except GroundplaneError as error:
            fields = ", ".join(error.data) or error.message
            self.source.warnings.append(f"The settings were left out, as these are not valid: {fields}.")
        else:
            self.report.settings = True

    async def _keep_dates(self, change: SchemaChange) -> None:
        """Give the collections the dates that they have in the source."""
        updated = {each.id: each.updated for each in self.plan.collections if each.updated is not None}
        for id, moment in updated.items():
            await self.target.db.execute(queries.SET_UPDATED, id, moment)
        change.schema = Schema(
            [each.replaced(updated=updated.get(each.id, each.updated)) for each in change.schema],
            change.schema.version,
        )

    async def _analyze(self) -> None:
        """Let PostgreSQL look at the new rows, or its first plans are for empty tables."""
        schema = self.target.collections.cache.current
        tables = [schema.by_id[each.id].table for each in self.plan.tables if each.id in schema.by_id]
        if tables:
            await self.target.db.execute(f"ANALYZE {', '.join(map(ident, tables))}")


class _Counter:
    """Passes rows on and tells how many."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self.progress, self.what, self.total, self.done = progress, what, total, 0

    def through(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            yield row
            self.done += 1
            if self.done % PROGRESS_STEP == 0 or self.done == self.total:
                self.progress(self.what, self.done, self.total)


def _told(error: BaseException) -> BaseException:
    """The failure as a sentence for people; cancellation and our own sentences stay what they are."""
    if isinstance(error, ImportFailed) or not isinstance(error, Exception):
        return error
    if isinstance(error, UniqueViolation):
        return ImportFailed("A record of the source has a value that must be unique and exists already.")
    if isinstance(error, GroundplaneError):
        cause = error.__cause__
        detail = f": {cause}" if cause is not None else ""
        return ImportFailed(f"The import was undone: {error.message}{detail}".splitlines()[0])
    return ImportFailed(f"The import was undone: {type(error).__name__}: {error}".splitlines()[0])
