"""References to records of another collection, by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.casting import NUL, to_text_list
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.select import too_many
from groundplane.schema.limits import between, first, only_errors, required

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

NO_COLLECTION = FieldError(
    "validation_field_relation_missing_collection", "The relation collection doesn't exist."
)
COLLECTION_CHANGED = FieldError(
    "validation_field_relation_change", "The relation collection cannot be changed."
)
TO_A_VIEW = FieldError(
    "validation_relation_field_non_view_base_collection",
    "Only view collections are allowed to have relations to other views.",
)
MISSING_RECORDS = FieldError(
    "validation_missing_rel_records", "Failed to find all relation records with the provided ids."
)


class RelationField(Field, kw_only=True, rename="camel"):
    """`check` counts only; whether the collection and the records exist is for the writer to look up."""

    type_name: ClassVar[str] = "relation"

    required: bool = False
    help: str = ""
    collection_id: str = ""
    cascade_delete: bool = False
    min_select: int = 0
    max_select: int = 0

    @property
    def kind(self) -> Kind:
        return Kind.MULTI if self.max_select > 1 else Kind.TEXT

    @property
    def is_multiple(self) -> bool:
        return self.max_select > 1

    @property
    def zero(self) -> str | list[str]:
        return [] if self.max_select > 1 else ""

    def is_zero(self, value: Any) -> bool:
        return not value

    def from_input(self, raw: Any) -> str | list[str]:
        items = to_text_list(raw)
        if self.max_select > 1:
            return items
        return items[-1] if items else ""

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if not value:
            return REQUIRED if self.required else None
        ids = [value] if isinstance(value, str) else value
        if len(ids) < self.min_select:
            message = f"Select at least {self.min_select}."
            return FieldError("validation_not_enough_values", message, {"minSelect": self.min_select})
        limit = max(self.max_select, 1)
        if len(ids) > limit:
            return too_many(limit)
        # Such an id can belong to no record, and must not reach the look-up either.
        return MISSING_RECORDS if any(NUL in item for item in ids) else None

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        fewest = max(self.min_select, 0)
        return only_errors(
            {
                "collectionId": self.collection_error(collection, schema),
                "minSelect": between(self.min_select, 0),
                "maxSelect": first(required(self.max_select or not fewest), between(self.max_select, fewest)),
            }
        )

    def collection_error(self, collection: Collection, schema: Schema) -> FieldError | None:
        """Check what the field points to; `schema` has the stored form of `collection`, if there is one."""
        if not self.collection_id:
            return REQUIRED
        stored = schema.by_id.get(collection.id)
        old = stored.by_field_id.get(self.id) if stored is not None else None
        if isinstance(old, RelationField) and old.collection_id != self.collection_id:
            return COLLECTION_CHANGED
        # A new collection may refer to itself.
        own = self.collection_id == collection.id
        target = collection if own else schema.by_id.get(self.collection_id)
        if target is None:
            return NO_COLLECTION
        return TO_A_VIEW if target.is_view and not collection.is_view else None
