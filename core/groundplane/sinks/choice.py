"""Which events a sink gets, and what of them: the settings that every sink's configuration has."""

from __future__ import annotations

from typing import Literal

import msgspec

from groundplane.events.changes import ChangeAction
from groundplane.schema.collection import Collection

ALL = "*"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's `Config` may inherit from it, so that its section has these settings.

    `collections`   names or ids; "*" is every one that is not the system's own
    `actions`       of create, update and delete
    `condition`     only records that meet this expression, in the language of rules; "" is all
    `fields`        names of the fields that a message has; empty is all
    `before`        whether the message of an update tells what there was
    """

    collections: tuple[str, ...] = (ALL,)
    actions: tuple[Literal["create", "update", "delete"], ...] = ("create", "update", "delete")
    condition: str = ""
    fields: tuple[str, ...] = ()
    before: bool = True

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        """Whether changes of this kind are chosen, whatever the condition says of the record."""
        return action in self.actions and (
            collection.name in self.collections
            or collection.id in self.collections
            or (ALL in self.collections and not collection.system)
        )
