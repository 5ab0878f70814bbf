"""What a collection is: its fields, rules, indexes and options, as the collections API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, TypeAlias

from groundplane.context import SUPERUSERS
from groundplane.schema.fields.base import Field, physical_name
from groundplane.schema.options import AuthOptions

CollectionType: TypeAlias = Literal["base", "auth", "view"]
RULES = ("listRule", "viewRule", "createRule", "updateRule", "deleteRule")


class Collection:
    """One collection; immutable once it is part of a Schema (make a changed copy instead).

    A rule is None (superusers only), "" (everyone) or an expression. `options` is set for auth
    collections, `view_query` for views. `created` decides the default order of collections.
    """

    def __init__(
        self,
        *,
        id: str,
        name: str,
        type: CollectionType = "base",
        fields: Sequence[Field] = (),
        indexes: Sequence[str] = (),
        list_rule: str | None = None,
        view_rule: str | None = None,
        create_rule: str | None = None,
        update_rule: str | None = None,
        delete_rule: str | None = None,
        system: bool = False,
        view_query: str = "",
        options: AuthOptions | None = None,
        created: datetime | None = None,
        updated: datetime | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.type: CollectionType = type
        self.fields = tuple(fields)
        self.indexes = tuple(indexes)
        self.list_rule = list_rule
        self.view_rule = view_rule
        self.create_rule = create_rule
        self.update_rule = update_rule
        self.delete_rule = delete_rule
        self.system = system
        self.view_query = view_query
        self.options = options
        self.created = created
        self.updated = updated

    def replaced(self, **changes: Any) -> Collection:
        """Return a copy with some attributes changed."""
        values: dict[str, Any] = {
            key: getattr(self, key)
            for key in [
                "id",
                "name",
                "type",
                "fields",
                "indexes",
                "list_rule",
                "view_rule",
                "create_rule",
                "update_rule",
                "delete_rule",
                "system",
                "view_query",
                "options",
                "created",
                "updated",
            ]
        }
        return Collection(**(values | changes))

    @property
    def is_auth(self) -> bool:
        return self.type == "auth"

    @property
    def is_view(self) -> bool:
        return self.type == "view"

    @property
    def is_superusers(self) -> bool:
        return self.name == SUPERUSERS

    @cached_property
    def table(self) -> str:
        """The name of the table or view in PostgreSQL, not quoted."""
        return physical_name(self.name)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """The fields by their exact name."""
        return {field.name: field for field in self.fields}

    @cached_property
    def has_own_wire(self) -> bool:
        """Whether some value of its records is shown by Python only."""
        return any(field.has_own_wire for field in self.fields)

    @cached_property
    def by_field_id(self) -> dict[str, Field]:
        return {field.id: field for field in self.fields}

    def field(self, name: str) -> Field | None:
        return self.by_name.get(name)
