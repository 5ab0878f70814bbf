"""One change of the schema while it is open: tables, views, rows and the snapshot move together."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from groundplane.clock import now
from groundplane.collections import ddl, queries, rows, views
from groundplane.collections.views import BadView, Definition
from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.db.sql import ident
from groundplane.errors import ErrorData, FieldError, GroundplaneError, sentence
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.indexes import parse_index
from groundplane.schema.sqlite import Untranslatable, translate_index
from groundplane.security.encryption import Vault

log = logging.getLogger(__name__)


class BadIndexes(Exception):
    """Some indexes could not be made; `errors` is keyed by their position."""

    def __init__(self, errors: ErrorData) -> None:
        super().__init__()
        self.errors = errors


class SchemaChange:
    """Runs inside a transaction that holds the schema lock; made by `Collections.change`.

    `schema` is what the schema will be. Views that are in the way are taken down by each step and put up
    again by `finish`, which must be called once after the last step.
    """

    def __init__(self, db: Database, schema: Schema, vault: Vault) -> None:
        self._db = db
        self._vault = vault
        self.schema = schema
        self.changed = False
        self._down: dict[str, Definition] = {}
        self._views_may_differ = False

    async def put(
        self, new: Collection, old: Collection | None, carried: Mapping[str, str] | None = None
    ) -> Collection:
        """Create a collection, or turn `old` into `new`, and return it with its dates set.

        `carried` is explained at `ddl.change_table`. Raises BadIndexes, BadView and errors of the database.
        """
        moment = now()
        created = old.created if old is not None else new.created
        new = new.replaced(created=created or moment, updated=moment)
        await self._save_row(new, old)
        self._replace(new, old)
        if new.is_view:
            await self._put_view(new, old)
        else:
            await self._put_table(new, old, carried or {})
        return new

    async def remove(self, collection: Collection) -> None:
        """Drop a collection with its data; views on it are taken down, and `finish` fails if they stay."""
        await self._take_down(collection.table, None)
        if self._down.pop(collection.table, None) is None:
            await self._db.execute(ddl.drop_table(collection))
        if collection.is_auth:
            for table in queries.OWNED_REFERENCES:
                if self.schema.get(table) is not None:
                    await self._db.execute(queries.delete_owned(table), collection.id)
        await self._db.execute(queries.DELETE, collection.id)
        self.schema = Schema((each for each in self.schema if each.id != collection.id), self.schema.version)
        self.changed = self._views_may_differ = True

    async def run(self, statements: Iterable[str]) -> None:
        """Run statements that bring tables back to what the schema says already."""
        for statement in statements:
            await self._db.execute(statement)
        self.changed = True

    async def finish(self) -> None:
        """Put up the views that were taken down and bring the fields of views up to date; raises BadView."""
        await self.restore_views()
        if self._views_may_differ:
            await self._refresh_views()

    async def restore_views(self, *, leniently: bool = False) -> None:
        """Put up what was taken down; leniently, what does not fit yet waits for the next time."""
        # Steps take views down one group after another, so one may need another that stands behind it.
        while self._down:
            problems: list[BadView] = []
            waiting = list(self._down.values())
            for definition in waiting:
                try:
                    await views.put_up(self._db, self.schema, definition)
                except BadView as error:
                    problems.append(error)
                else:
                    del self._down[definition.name]
            if len(problems) == len(waiting):
                if leniently:
                    return
                raise problems[0]

    # Tables

    async def _put_table(self, new: Collection, old: Collection | None, carried: Mapping[str, str]) -> None:
        if old is None:
            for statement in ddl.create_table(new):
                await self._db.execute(statement)
            await self._make_indexes(new, range(len(new.indexes)))
            self._views_may_differ = True
            return
        change = ddl.change_table(old, new, carried)
        for statement in (*change.drop_indexes, *change.renames):
            await self._db.execute(statement)
        if old.table != new.table:
            self._renamed(old.table, new.table)
        if change.disturbed:
            await self._take_down(new.table, change.disturbed)
        for statement in change.columns:
            await self._db.execute(statement)
        await self._make_indexes(new, change.indexes)
        if old.name != new.name or not views.same_fields(old, new.fields):
            self._views_may_differ = True

    async def _make_indexes(self, collection: Collection, positions: Iterable[int]) -> None:
        errors: dict[str, FieldError] = {}
        for position in positions:
            error = await self._make_index(collection, collection.indexes[position])
            if error is not None:
                errors[str(position)] = error
        if errors:
            raise BadIndexes(errors)

    async def _make_index(self, collection: Collection, text: str) -> FieldError | None:
        index = parse_index(text)
        name = index.name if index is not None else ""
        if index is None or name.lower().startswith("gp$"):
            return FieldError("validation_invalid_index_expression", "Invalid CREATE INDEX expression.")
        try:
            statement = translate_index(text, collection)
            async with self._db.transaction() as connection, connection.transaction():
                await self._db.execute(statement)
        except Untranslatable as error:
            problem = str(error)
        except UniqueViolation:
            # The sentence of PostgreSQL quotes the values of a record; this one says as much.
            problem = "existing records have the same values"
        except GroundplaneError as error:
            problem = views.database_text(error)
        else:
            return None
        return FieldError(
            "validation_invalid_index_expression", sentence(f"Failed to create index {name} - {problem}")
        )

    # Views

    async def _put_view(self, new: Collection, old: Collection | None) -> None:
        # A view may read one that an earlier step took down.
        await self.restore_views(leniently=True)
        if old is not None and old.table not in self._down:
            same = old.view_query == new.view_query and views.same_fields(old, new.fields)
            if same and old.table == new.table:
                return
            if same:
                await self._db.execute(f"ALTER VIEW {ident(old.table)} RENAME TO {ident(new.table)}")
                self._renamed(old.table, new.table)
                self._views_may_differ = True
                return
            await self._take_down(old.table, None)
            await self._db.execute(f"DROP VIEW {ident(old.table)}")
        if old is not None:
            self._down.pop(old.table, None)
        await views.create_view(self._db, self.schema, new)
        self._views_may_differ = True

    async def _refresh_views(self) -> None:
        """Bring views up to date whose derived fields changed; what fails stays as it is and is logged."""
        # A view may read views that come later in the list, so it goes on until nothing changes.
        for _ in range(len(self.schema.collections)):
            if not [view.name for view in self.schema if view.is_view and await self._refresh_view(view)]:
                return

    async def _refresh_view(self, view: Collection) -> bool:
        derived = views.derive(self.schema, view.view_query, view.name, view)
        if derived.problem is not None:
            log.warning("The query of view %s no longer fits: %s", view.name, derived.problem)
            return False
        if views.same_fields(view, derived.fields):
            return False
        new = view.replaced(fields=derived.fields, updated=now())
        before = self.schema
        try:
            async with self._db.transaction() as connection, connection.transaction():
                await self._take_down(view.table, None)
                await self._db.execute(f"DROP VIEW {ident(view.table)}")
                self._replace(new, view)
                await views.create_view(self._db, self.schema, new)
                await self.restore_views()
                await self._save_row(new, view)
        except (BadView, GroundplaneError) as error:
            log.warning("View %s could not be brought up to date: %s", view.name, views.database_text(error))
            self.schema = before
            self._down.clear()
            return False
        return True

    async def _take_down(self, relation: str, columns: Iterable[str] | None) -> None:
        for definition in await views.take_down(self._db, relation, columns):
            self._down[definition.name] = definition

    def _renamed(self, old: str, new: str) -> None:
        if old in self._down:
            self._down[new] = self._down.pop(old)._replace(name=new)

    # Rows

    async def _save_row(self, new: Collection, old: Collection | None) -> None:
        await self._db.execute(
            queries.INSERT if old is None else queries.UPDATE, *rows.to_row(new, self._vault)
        )

    def _replace(self, new: Collection, old: Collection | None) -> None:
        kept = [new if old is not None and each.id == old.id else each for each in self.schema]
        if old is None:
            kept.append(new)
        self.schema = Schema(kept, self.schema.version)
        self.changed = True
