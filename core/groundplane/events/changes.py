"""Changes of records, told inside their transaction to the parts of the server that pass them on.

Plugins are told by hooks; webhooks, event sinks and realtime listen here. A listener is called behind the
statement that changed the row and before the commit, so what it writes (a job, an entry of an outbox) comes to
be with the change or not at all; what must happen after the commit it hands to `Database.after_commit`.
Alternatives: triggers in PostgreSQL, which know neither the caller nor stored files; one table of events that a
process copies to its readers, which costs a row per change even where nobody listens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec

from groundplane.clock import now
from groundplane.security.ids import record_id

if TYPE_CHECKING:
    from groundplane.context import Caller
    from groundplane.schema.collection import Collection

ChangeAction = Literal["create", "update", "delete"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One record that was created, changed or deleted, by whatever way.

    `id`          the event's: 15 of a-z0-9, the same in every delivery, so that a receiver knows a repetition
    `record`      stored values by field name (hidden ones too); of a deleted record those that it had
    `before`      the same before an update; None otherwise
    `caller`      who did it; None for guests, jobs and the command line
    `is_cascade`  it follows from the deletion of another record
    """

    action: ChangeAction
    collection: Collection
    record: Mapping[str, Any]
    before: Mapping[str, Any] | None = None
    caller: Caller | None = None
    is_cascade: bool = False
    id: str = msgspec.field(default_factory=record_id)
    at: datetime = msgspec.field(default_factory=now)


class Listener(Protocol):
    """Somebody who passes changes on."""

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        """Whether changes of this kind are wanted; asked for every write, so it is a look into memory."""

    async def changed(self, change: Change) -> None:
        """Take a change, inside its transaction; what is raised undoes the change."""


BeforeDeletion: TypeAlias = "Callable[[Collection, Sequence[Mapping[str, Any]]], Awaitable[None]]"


class Changes:
    """The listeners of one process.

    `before_deletion` are called with a collection and stored records that are about to be deleted, inside the
    transaction: for whoever has to look at what is still there.
    """

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.before_deletion: list[BeforeDeletion] = []

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        """Whether anybody listens, so that the write needs a transaction and the whole record."""
        for each in self.listeners:  # asked for every write: half the cost of any()
            if each.concerns(collection, action):
                return True
        return False

    async def deleting(self, collection: Collection, records: Sequence[Mapping[str, Any]]) -> None:
        """Tell that records are about to go; call it before the statement."""
        for each in self.before_deletion:
            await each(collection, records)

    async def tell(self, change: Change) -> None:
        """Tell whoever it concerns; call it inside the transaction, behind the statement."""
        for each in self.listeners:
            if each.concerns(change.collection, change.action):
                await each.changed(change)
