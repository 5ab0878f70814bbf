"""What is kept beside a record that signs in, and goes with it.

It goes inside the transaction: a record that takes the id of a deleted one must not find its passkeys. And who
set up factors before an address was proven may not keep them when somebody else proves it.
"""

from __future__ import annotations

from groundplane.auth.attempts import QUERIES
from groundplane.db.engine import Database
from groundplane.events.changes import Change, ChangeAction
from groundplane.schema.collection import Collection


class AccountData:
    """A listener to changes of records that sign in."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        options = collection.options
        if options is None or action == "create":
            return False
        return action == "delete" or (
            options.totp.enabled or options.passkeys.enabled or options.magic_link.enabled
        )

    async def changed(self, change: Change) -> None:
        owner = change.collection.id, change.record["id"]
        if change.action == "delete":
            await self._db.execute(QUERIES["forget_account"], *owner)
        elif change.before is not None and change.record["verified"] and not change.before["verified"]:
            await self._db.execute(QUERIES["forget_factors"], *owner)

    async def forget_collection(self, collection: Collection) -> None:
        """Forget what was kept about all records of a collection that is gone."""
        await self._db.execute(QUERIES["forget_collection"], collection.id)
