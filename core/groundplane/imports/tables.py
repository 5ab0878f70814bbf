"""Imports rows of a CSV, JSON, NDJSON or SQLite file into a collection, which is made if it does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from groundplane.collections.service import Collections
from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.db.sql import Args, ident
from groundplane.errors import ErrorData, FieldError, GroundplaneError, Unavailable
from groundplane.events.changes import Change, Changes
from groundplane.imports import queries
from groundplane.imports.cells import BadCell, cast, checked, place, shown
from groundplane.imports.infer import Inference
from groundplane.imports.report import (
    CollectionReport,
    ImportFailed,
    Progress,
    Report,
    silent,
)
from groundplane.imports.rows import Row, format_of, read_rows
from groundplane.imports.table_schema import FieldPlan, TableSchema, from_inferred, matching, read_toml
from groundplane.records.plan import plan_of
from groundplane.records.queries import select_by_ids
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.relation import RelationField
from groundplane.security.passwords import hash_password

BATCH_ROWS = 1000
INFERENCE_STEP = 5000  # rows between two calls of the progress callback
SHOWN_PROBLEMS = 20
HASHES = ("$2a$", "$2b$", "$2y$", "$argon2id$")


class TableOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to import and how.

    `format`       csv, json, ndjson or sqlite; "" goes by the file's name
    `table`        which table of a SQLite file
    `schema_out`   write the inferred schema as TOML into this file and stop
    `schema`       take the schema of this file instead of inferring one
    `on_error`     stop: the first bad row undoes everything; skip: bad rows are left out and reported
    `id_field`     key whose values become record ids; default is a key called id, if its values can be ids
    `relations`    key in the file to `collection.field`: the record whose field has the value becomes related
    `dry_run`      do everything and undo it
    """

    file: Path
    collection: str
    format: str = ""
    table: str = ""
    schema_out: Path | None = None
    schema: Path | None = None
    on_error: Literal["stop", "skip"] = "stop"
    id_field: str = ""
    relations: dict[str, str] = msgspec.field(default_factory=dict)
    dry_run: bool = False


class TableTarget(NamedTuple):
    """The parts of the running installation that an import of rows writes to."""

    db: Database
    collections: Collections
    changes: Changes


async def import_table(options: TableOptions, target: TableTarget, progress: Progress = silent) -> Report:
    """Import the rows and return what came in; raises ImportFailed, and then nothing has changed.

    The collection and its rows are one transaction. The file is read twice when the schema is inferred.
    """
    format = format_of(options.file, options.format)
    existing = target.collections.cache.current.get(options.collection)
    if existing is not None and existing.is_view:
        raise ImportFailed(f"{existing.name} is a view and stores no records.")
    plan, total = plan_table(options, format, existing, progress)
    mapping = [(key, each.name) for each in plan.fields for key in each.source]
    types = {each.name: str(each.options.get("type") or "") for each in plan.fields}
    if options.schema_out is not None:
        options.schema_out.write_text(plan.to_toml(options.file.name, total), encoding="utf-8")
        return Report(dry_run=True, mapping=mapping, types=types, schema_file=str(options.schema_out))
    run = _TableImport(options, target, plan, total, progress)
    try:
        async with target.db.transaction():
            await run.into(existing)
            if options.dry_run:
                raise _Undo
    except _Undo:
        pass
    except ImportFailed:
        raise
    except GroundplaneError as error:
        raise ImportFailed(
            f"The import was undone: {error.message} {described(error.data)}".strip()
        ) from error
    else:
        await target.db.execute(f"ANALYZE {ident(run.collection.table)}")
    run.report.mapping, run.report.types = mapping, types
    return run.report


class _Undo(Exception):
    """Ends the transaction of a dry run."""


# The plan


def plan_table(
    options: TableOptions, format: str, existing: Collection | None, progress: Progress = silent
) -> tuple[TableSchema, int]:
    """Decide what each column becomes; gives the number of rows too, 0 if they have not been counted."""
    if options.schema is not None:
        plan = read_toml(options.schema)
        plan.options["name"] = options.collection
        return plan, 0
    inference = Inference()
    for row in read_rows(options.file, format_of(options.file, format), options.table):
        if not row.problem:
            inference.add(row.values)
            if inference.rows % INFERENCE_STEP == 0:
                progress("reading", inference.rows, 0)
    if not inference.columns:
        raise ImportFailed(f"{options.file.name} has no readable rows.")
    for key in (*options.relations, *([options.id_field] if options.id_field else [])):
        if key not in inference.columns:
            raise ImportFailed(f"{options.file.name} has no {key!r}; it has {', '.join(inference.columns)}.")
    if existing is not None:
        return matching(existing, inference.columns, options.relations, options.id_field), inference.rows
    fields = inference.fields(id_field=options.id_field, relations=options.relations)
    return from_inferred(options.collection, fields, options.relations), inference.rows


class Binding(NamedTuple):
    """A field, its place in the stored rows, and where its values come from."""

    field: Field
    plan: FieldPlan


def bind(collection: Collection, plan: TableSchema) -> list[Binding]:
    """Connect the plan with the fields of the collection; fields without a source get what the server gives."""
    plans = {each.name.lower(): each for each in plan.fields}
    unknown = [
        each.name for each in plan.fields if each.name.lower() not in map(str.lower, collection.by_name)
    ]
    if unknown:
        raise ImportFailed(f"{collection.name} has no field {unknown[0]}.")
    bindings = []
    for field in collection.fields:
        found = plans.get(field.name.lower()) or FieldPlan(options={"name": field.name})
        if found.source and field.type_name == "file":
            raise ImportFailed(f"{field.name} holds files, which cannot come from a table.")
        if len(found.source) == 2 and field.kind is not Kind.GEO:
            raise ImportFailed(f"Only a geoPoint can be made of two columns, and {field.name} is none.")
        bindings.append(Binding(field, found))
    return bindings


# The rows


class Ready(NamedTuple):
    """A row that can be stored: its line and its values in the order of the fields."""

    line: int
    values: list[Any]


class _TableImport:
    def __init__(
        self, options: TableOptions, target: TableTarget, plan: TableSchema, total: int, progress: Progress
    ) -> None:
        self.options = options
        self.db = target.db
        self.collections = target.collections
        self.changes = target.changes
        self.plan = plan
        self.total = total
        self.progress = progress
        self.report = Report(dry_run=options.dry_run)
        self.collection = Collection(id="", name=options.collection)
        self.bindings: list[Binding] = []
        self.schema: Schema = target.collections.cache.current
        self.stored = 0
        self.problems = 0

    async def into(self, existing: Collection | None) -> None:
        if existing is None:
            self.collection = await self.collections.create(self.plan.to_json(self.schema))
        else:
            self.collection = existing
        self.bindings = bind(self.collection, self.plan)
        format = format_of(self.options.file, self.options.format)
        rows = read_rows(self.options.file, format, self.options.table)
        seen: set[str] = set()
        done = 0
        while batch := list(islice(rows, BATCH_ROWS)):
            for row in batch:
                seen.update(row.values)
            await self._store(await self._resolved(list(self._converted(batch))))
            done += len(batch)
            self.progress(self.collection.name, done, self.total)
        used = {key for each in self.plan.fields for key in each.source}
        if left := sorted(seen - used):
            self.report.warnings.insert(0, f"No field takes {', '.join(left)}; this was left out.")
        if self.problems > SHOWN_PROBLEMS:
            self.report.warnings.append(f"{self.problems - SHOWN_PROBLEMS:,} more rows were left out.")
        self.report.skipped = self.problems
        self.report.collections.append(
            CollectionReport(
                id=self.collection.id,
                name=self.collection.name,
                type=self.collection.type,
                records=self.stored,
            )
        )

    def _reject(self, line: int, problem: str) -> None:
        """Report a bad row, or stop at it, as asked."""
        place = "Row" if format_of(self.options.file, self.options.format) == "sqlite" else "Line"
        message = f"{place} {line}: {problem.rstrip('.')}."
        if self.options.on_error == "stop":
            raise ImportFailed(f"{message} Nothing was imported; --on-error skip leaves such rows out.")
        self.problems += 1
        if self.problems <= SHOWN_PROBLEMS:
            self.report.warnings.append(message)

    def _converted(self, batch: Iterable[Row]) -> Iterator[Ready]:
        for row in batch:
            if row.problem:
                self._reject(row.line, row.problem)
                continue
            values: list[Any] = []
            for binding in self.bindings:
                try:
                    values.append(self._value(binding, row.values))
                except BadCell as error:
                    self._reject(row.line, f"{'+'.join(binding.plan.source) or binding.field.name}: {error}")
                    break
            else:
                yield Ready(row.line, values)

    def _value(self, binding: Binding, values: dict[str, Any]) -> Any:
        field, plan = binding
        if len(plan.source) == 2:
            return checked(field, place(*(values.get(key) for key in plan.source)))
        raw = values.get(plan.source[0]) if plan.source else None
        if isinstance(field, RelationField):
            # Checked once the ids are known.
            return cast(field, str(raw) if plan.match and not isinstance(raw, (list, type(None))) else raw)
        if field.type_name == "password" and isinstance(raw, str) and raw.startswith(HASHES):
            return raw
        return checked(field, cast(field, raw, plan.order))

    async def _resolved(self, rows: list[Ready]) -> list[Ready]:
        """Turn the values of relations into ids that exist, and plain passwords into hashes."""
        bad: dict[int, str] = {}
        for at, binding in enumerate(self.bindings):
            if isinstance(binding.field, RelationField):
                await self._resolve_relation(at, binding, binding.field, rows, bad)
            elif binding.field.type_name == "password":
                for row in rows:
                    if row.values[at] and not row.values[at].startswith(HASHES):
                        row.values[at] = await hash_password(row.values[at])
        for row in rows:
            if row.line in bad:
                self._reject(row.line, bad[row.line])
        return [row for row in rows if row.line not in bad]

    async def _resolve_relation(
        self, at: int, binding: Binding, field: RelationField, rows: list[Ready], bad: dict[int, str]
    ) -> None:
        wanted = {item for row in rows for item in _items(row.values[at])}
        found = await self._related_ids(field, binding.plan.match, wanted)
        for row in rows:
            items = _items(row.values[at])
            missing = next((item for item in items if item not in found), None)
            if missing is not None:
                key = binding.plan.match or "id"
                bad.setdefault(row.line, f"{field.name}: no related record has {key} = {shown(missing)}")
                continue
            ids = [found[item] for item in items]
            row.values[at] = ids if field.is_multiple else (ids[-1] if ids else "")
            error = field.check(row.values[at])
            if error is not None:
                bad.setdefault(row.line, f"{field.name}: {error.message}")

    async def _related_ids(self, field: RelationField, match: str, wanted: set[str]) -> dict[str, str]:
        """The ids of the related records by the value that names them in the file."""
        related = self.schema.by_id.get(field.collection_id)
        if field.collection_id == self.collection.id:
            related = self.collection
        if related is None:
            raise ImportFailed(f"The relation {field.name} points to a collection that does not exist.")
        key = related.field(match or "id")
        if key is None or key.kind is not Kind.TEXT:
            raise ImportFailed(f"{related.name} has no text field {match} to match {field.name} by.")
        if not wanted:
            return {}
        rows = await self.db.fetch(queries.related(related.table, key.column), list(wanted))
        return {row["key"]: row["id"] for row in rows}

    # Storing

    async def _store(self, rows: list[Ready]) -> None:
        """Store a batch at once; if that fails, row by row, so that only bad rows are rejected."""
        if not rows:
            return
        columns = [binding.field.column for binding in self.bindings]
        try:
            async with self.db.connection() as connection, connection.transaction():
                await connection.copy_records_to_table(
                    self.collection.table,
                    records=[row.values for row in rows],
                    columns=columns,
                    schema_name="public",
                )
                await self._tell(rows)
        except Unavailable:
            raise
        except GroundplaneError:
            for row in rows:
                await self._store_one(row, queries.insert(self.collection.table, columns))
        else:
            self.stored += len(rows)

    async def _tell(self, rows: list[Ready]) -> None:
        """Tell those who listen to the collection, with the rows as they are stored now."""
        if not self.changes.concerns(self.collection, "create"):
            return
        at = next(place for place, binding in enumerate(self.bindings) if binding.field.name == "id")
        plan = plan_of(self.schema, self.collection)
        ids = [row.values[at] for row in rows]
        statement = select_by_ids(plan, ids, Args())
        found = [plan.row(each).values for each in await self.db.fetch(statement.text, *statement.args)]
        stored = {values["id"]: values for values in found}
        for id in ids:
            await self.changes.tell(Change(action="create", collection=self.collection, record=stored[id]))

    async def _store_one(self, row: Ready, statement: str) -> None:
        try:
            async with self.db.connection() as connection, connection.transaction():
                await connection.execute(statement, *row.values)
                await self._tell([row])
        except Unavailable:
            raise
        except UniqueViolation:
            self._reject(row.line, "a value that must be unique exists already")
        except GroundplaneError as error:
            self._reject(row.line, f"the database refused it: {error.message}")
        else:
            self.stored += 1


def _items(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def described(data: ErrorData, path: str = "") -> str:
    """The leaves of an error's data in one line."""
    parts: list[str] = []
    for key, value in data.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, FieldError):
            parts.append(f"{here}: {value.message}")
        elif isinstance(value, dict):
            parts.append(described(value, here))
    return " ".join(parts)
