"""Delete a record under its rule."""

from __future__ import annotations

from groundplane.context import RequestInfo
from groundplane.db.failures import UniqueViolation
from groundplane.errors import Invalid
from groundplane.query.effective import rule_of
from groundplane.records.answers import NO_VIEWS, check_version
from groundplane.records.attempts import REFUSED
from groundplane.records.cascade import REQUIRED_REFERENCE, Deletion
from groundplane.records.quick import Asker, answer_to
from groundplane.records.quick_change import QuickChanges
from groundplane.records.reading import Reading
from groundplane.records.steps import Steps
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection


class Deleting:
    """The verb that removes a record."""

    def __init__(self, steps: Steps, reading: Reading) -> None:
        self.steps = steps
        self.db = steps.db
        self.cache = steps.cache
        self.reading = reading
        self.quick = QuickChanges(steps.db.writes, steps.watchers)

    async def delete(self, name: str, record_id: str, info: RequestInfo, *, if_match: str = "") -> None:
        """Delete a record under the delete rule, with everything that follows from it."""
        await self.steps.asked(
            "delete",
            name,
            record_id,
            info,
            lambda schema: self._delete(schema, name, record_id, info, if_match),
        )

    async def delete_quickly(self, name: str, record_id: str, asker: Asker, *, if_match: str = "") -> bool:
        """Delete a plain record in one statement that also checks the caller's proof; False if that is not to be.

        Then nothing was deleted, and `delete` says why.
        """
        schema = self.cache.current
        collection = schema.get(name)
        if collection is None:
            return False
        question = self.quick.delete(schema, collection, record_id, asker, if_match)
        return question is not None and await answer_to(question) is not None

    async def _delete(
        self, schema: Schema, name: str, record_id: str, info: RequestInfo, if_match: str
    ) -> None:
        collection = schema.find(name)
        if collection.is_view:
            raise Invalid(NO_VIEWS)
        async with self.db.transaction():
            rule = rule_of(schema, collection, "delete")
            row = await self.reading.find_allowed(
                schema, collection, record_id, rule, info, lock="FOR UPDATE"
            )
            check_version(row, if_match)
            try:
                await self._deletion(schema, info).delete(collection, [record_id])
            except (UniqueViolation, *REFUSED) as error:
                raise Invalid(REQUIRED_REFERENCE) from error

    async def delete_internal(self, collection: Collection, record_id: str) -> None:
        """Delete a record with everything that follows from it."""
        async with self.db.transaction():
            await self._deletion(self.cache.current).delete(collection, [record_id])

    def _deletion(self, schema: Schema, info: RequestInfo | None = None) -> Deletion:
        caller = info.caller if info is not None else None
        steps = self.steps
        return Deletion(self.db, schema, steps.files, steps.hooks, caller, steps.watchers.changes)
