"""List, view, create, update and delete records: what every request for data goes through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.events.changes import Changes
from groundplane.files.service import Files
from groundplane.hooks.calls import Hooks
from groundplane.query.effective import Rule
from groundplane.records.answers import NO_VIEWS, Answer, is_possible_id
from groundplane.records.creating import Creating
from groundplane.records.deleting import Deleting
from groundplane.records.plan import Row
from groundplane.records.quick import Asker, Body, Question, QuickReads
from groundplane.records.reading import Reading
from groundplane.records.steps import Steps
from groundplane.records.updating import Updating
from groundplane.records.values import Submitted
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection

__all__ = ["NO_VIEWS", "Answer", "Records", "is_possible_id"]

T = TypeVar("T")


class Records:
    """The verbs on records, for the API, for batches and for other parts of the server.

    Every method works on the schema that is current when it is called. `create` and `update` take a body
    as it was decoded, `query` is the request's parameters (`expand` is read here, `fields` by the edge).
    """

    def __init__(
        self,
        db: Database,
        cache: SchemaCache,
        files: Files,
        hooks: Hooks | None = None,
        changes: Changes | None = None,
    ) -> None:
        self.db = db
        self.cache = cache
        self.files = files
        self.quick = QuickReads(db, cache)
        steps = Steps(db, cache, files, hooks or Hooks(), changes or Changes())
        self._attempts = steps.attempts
        self._watchers = steps.watchers
        self._reading = Reading(steps)
        self._updating = Updating(steps)
        self._deleting = Deleting(steps, self._reading)
        self._creating = Creating(steps, self._reading, self._deleting)

    async def page(self, name: str, query: Mapping[str, str], info: RequestInfo) -> dict[str, Any]:
        """One page of the records that list rule and filter let through."""
        return await self._reading.page(name, query, info)

    async def view(self, name: str, record_id: str, query: Mapping[str, str], info: RequestInfo) -> Answer:
        """One record that the view rule lets through; raises NotFound."""
        return await self._reading.view(name, record_id, query, info)

    async def find_allowed(
        self, schema: Schema, collection: Collection, record_id: str, rule: Rule, info: RequestInfo
    ) -> Row:
        """Fetch a record by its id and a rule in one statement; raises Forbidden and NotFound."""
        return await self._reading.find_allowed(schema, collection, record_id, rule, info)

    async def create(
        self,
        name: str,
        sent: Submitted,
        query: Mapping[str, str],
        info: RequestInfo,
        *,
        idempotency_key: str = "",
    ) -> Answer:
        """Create a record under the create rule; raises Invalid with field errors.

        With a key, a repetition within a day gets the first answer again (Conflict for another body).
        """
        return await self._creating.create(name, sent, query, info, idempotency_key=idempotency_key)

    async def create_quickly(
        self, name: str, sent: Submitted, query: Mapping[str, str], asker: Asker
    ) -> Body | None:
        """Create a plain record in one statement that also checks the caller's proof; None if that is not to be.

        Then nothing was written, and `create` says why. Raises Invalid for a value that is taken.
        """
        return await self._creating.create_quickly(name, sent, query, asker)

    def creation(self, name: str, sent: Mapping[str, Any], asker: Asker) -> Question | None:
        """`create_quickly` as a question, for who asks it without awaiting."""
        return self._creating.creation(name, sent, asker)

    async def update(
        self,
        name: str,
        record_id: str,
        sent: Submitted,
        query: Mapping[str, str],
        info: RequestInfo,
        *,
        if_match: str = "",
    ) -> Answer:
        """Change the submitted fields of a record under the update rule; raises Invalid with field errors.

        `if_match` is the request's If-Match header: another version raises PreconditionFailed.
        """
        return await self._updating.update(name, record_id, sent, query, info, if_match=if_match)

    async def update_quickly(
        self,
        name: str,
        record_id: str,
        sent: Submitted,
        query: Mapping[str, str],
        asker: Asker,
        *,
        if_match: str = "",
    ) -> Body | None:
        """Change a plain record in one statement that also checks the caller's proof; None if that is not to be.

        Then nothing was written, and `update` says why.
        """
        return await self._updating.update_quickly(name, record_id, sent, query, asker, if_match=if_match)

    async def delete(self, name: str, record_id: str, info: RequestInfo, *, if_match: str = "") -> None:
        """Delete a record under the delete rule, with everything that follows from it."""
        await self._deleting.delete(name, record_id, info, if_match=if_match)

    async def delete_quickly(self, name: str, record_id: str, asker: Asker, *, if_match: str = "") -> bool:
        """Delete a plain record in one statement that also checks the caller's proof; False if that is not to be.

        Then nothing was deleted, and `delete` says why.
        """
        return await self._deleting.delete_quickly(name, record_id, asker, if_match=if_match)

    # For other parts of the server: no rules, no checks of fields

    async def find_one(self, collection: Collection, where: str, *args: object) -> dict[str, Any] | None:
        """The first record that satisfies a condition over the alias `r`, in stored form."""
        return await self._reading.find_one(collection, where, *args)

    async def create_internal(self, collection: Collection, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write a new record from stored forms; absent fields are generated or empty. Returns it whole."""
        return await self._creating.create_internal(collection, values)

    async def save_fields(
        self, collection: Collection, record_id: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change fields to stored forms (a password is its hash), with dates and what follows for accounts.

        Returns the whole record; raises NotFound.
        """
        return await self._updating.save_fields(collection, record_id, changes)

    async def delete_internal(self, collection: Collection, record_id: str) -> None:
        """Delete a record with everything that follows from it."""
        await self._deleting.delete_internal(collection, record_id)

    async def enrich(
        self,
        collection: Collection,
        rows: Sequence[Mapping[str, Any]],
        info: RequestInfo,
        *,
        expand: str = "",
    ) -> list[dict[str, Any]]:
        """Stored records as this caller may see them."""
        return await self._reading.enrich(collection, rows, info, expand=expand)

    async def again(self, work: Callable[[Schema], Awaitable[T]]) -> T:
        """Do the work on the current schema, and anew when a deadlock or a change of the schema undid it.

        Inside an open transaction there is only one attempt: the outer work has to start anew.
        """
        return await self._attempts.again(work)

    @property
    def reads_are_plain(self) -> bool:
        """Whether no plugin wants to see what is read, so that PostgreSQL may write the answer."""
        return self._watchers.reads_are_plain
