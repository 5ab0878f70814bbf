"""The rule that holds for an action: the collection's own, or what plugins have made of it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

Action: TypeAlias = Literal["list", "view", "create", "update", "delete"]
PLANS = "access"  # our shelf in `Schema.plans`; it is there only when a plugin has a say


class Compound(NamedTuple):
    """A rule that is more than the collection's own: any of `allow` (none means all), none of `deny`, and
    all of `restrict`.

    Each is an expression of its own: it asks for its own combination of joined rows.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    restrict: tuple[str, ...] = ()


Rule: TypeAlias = "str | Compound | None"


def rule_of(schema: Schema, collection: Collection, action: Action) -> Rule:
    """The rule that holds: None for superusers only, "" for everyone, else what `rule_condition` takes."""
    shelf = schema.plans.get(PLANS)
    if shelf is not None and (collection.id, action) in shelf:
        return shelf[collection.id, action]  # type: ignore[return-value]  # the shelves are of objects
    match action:
        case "list":
            return collection.list_rule
        case "view":
            return collection.view_rule
        case "create":
            return collection.create_rule
        case "update":
            return collection.update_rule
        case "delete":
            return collection.delete_rule


def has_say(schema: Schema) -> bool:
    """Whether any plugin says anything about access in this version of the schema."""
    return bool(schema.plans.get(PLANS))
