"""The time of creation or of the last change, set by the server only."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from groundplane.clock import wire_date
from groundplane.errors import FieldError
from groundplane.schema.dates import to_date
from groundplane.schema.fields.base import Field, Kind

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

NEVER_SET = FieldError("validation_required", "Either onCreate or onUpdate must be enabled.")
MISMATCH = FieldError("validation_values_mismatch", "Values don't match.")


class AutodateField(Field, kw_only=True, rename="camel"):
    """Writers leave submitted values aside; `from_input` reads them only for imports."""

    type_name: ClassVar[str] = "autodate"
    has_help: ClassVar[bool] = False

    on_create: bool = False
    on_update: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.DATE

    @property
    def zero(self) -> None:
        return None

    def is_zero(self, value: Any) -> bool:
        return value is None

    def from_input(self, raw: Any) -> datetime | None:
        return to_date(raw)

    def to_wire(self, value: Any) -> str:
        return wire_date(value)

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        if not self.on_create and not self.on_update:
            return {"onCreate": NEVER_SET, "onUpdate": NEVER_SET}
        known = schema.by_id.get(collection.id)
        old = known.by_field_id.get(self.id) if known is not None else None
        if not isinstance(old, AutodateField) or not old.system:
            return {}
        errors = {}
        if old.on_create != self.on_create:
            errors["onCreate"] = MISMATCH
        if old.on_update != self.on_update:
            errors["onUpdate"] = MISMATCH
        return errors
