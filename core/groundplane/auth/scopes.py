"""What a service key may do: which actions on the records of which collections, and with whose rights."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from groundplane.errors import Forbidden
from groundplane.schema.collection import Collection

ACTIONS = ("list", "view", "create", "update", "delete")
EVERYTHING = "*"
OUTSIDE = "The service key is not allowed to perform this action."
ONLY_ITS_OWN = "A service key with access to some collections may not read others through relations."

QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
# A path of several names, or other collections: what reads more than the record itself.
FOLLOWS = re.compile(r"@collection|[A-Za-z_]\w*\s*\.|_via_", re.IGNORECASE)


class Access(enum.Enum):
    """With whose rights a key acts.

    `rules`       as a record, as far as rules and scopes let it
    `full`        past the rules, within its scopes
    `superuser`   as a superuser, without scopes
    """

    RULES = "rules"
    FULL = "full"
    SUPERUSER = "superuser"


class Scope(msgspec.Struct, frozen=True, array_like=True):
    """Actions on collections, by their ids; `*` are all, but for the system's collections."""

    collections: tuple[str, ...]
    actions: tuple[str, ...]

    def covers(self, collection: Collection, action: str) -> bool:
        if action not in self.actions and EVERYTHING not in self.actions:
            return False
        return collection.id in self.collections or (EVERYTHING in self.collections and not collection.system)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is stored; `hint` is its beginning, `previous` the hash of the one before the last rotation."""

    id: str = ""
    name: str = ""
    hash: str = ""
    hint: str = ""
    access: Access = Access.RULES
    collection: str = ""
    record: str = ""
    scopes: tuple[Scope, ...] = ()
    previous: str = ""
    previous_until: datetime | None = None
    expires: datetime | None = None
    used: datetime | None = None
    created: datetime | None = None
    updated: datetime | None = None

    def is_valid(self, moment: datetime) -> bool:
        return self.expires is None or self.expires > moment

    def allows(self, collection: Collection, action: str) -> bool:
        return self.access is Access.SUPERUSER or any(each.covers(collection, action) for each in self.scopes)

    def require(self, collection: Collection, action: str, query: Mapping[str, str] | None = None) -> None:
        """Raise Forbidden for what the scopes do not cover.

        Within its scopes a key with full access is asked for no rules, so nothing would keep a filter, a sort
        or an expand from reading other collections: such a key may name fields of the record alone.
        """
        if not self.allows(collection, action):
            raise Forbidden(OUTSIDE)
        if self.access is Access.FULL and query and follows_relations(query):
            raise Forbidden(ONLY_ITS_OWN)


def follows_relations(query: Mapping[str, str]) -> bool:
    """Whether query parameters read more than the records themselves."""
    return bool(query.get("expand")) or any(
        FOLLOWS.search(QUOTED.sub("''", query.get(name, ""))) for name in ("filter", "sort")
    )


def names_of(scope: Scope, names: Mapping[str, str]) -> Sequence[str]:
    """The collections of a scope by name, as far as they are known."""
    return [names.get(id, id) for id in scope.collections]
