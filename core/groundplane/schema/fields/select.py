"""One or several of a fixed list of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.casting import to_text_list
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.limits import between, only_errors, required

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection


def too_many(limit: int) -> FieldError:
    """The error of a select or relation value with more than `limit` elements."""
    return FieldError("validation_too_many_values", f"Select no more than {limit}.", {"maxSelect": limit})


class SelectField(Field, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "select"

    required: bool = False
    help: str = ""
    values: list[str] = msgspec.field(default_factory=list)
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
        if isinstance(value, str):
            return None if value in self.values else self.not_allowed(value)
        if len(value) > self.max_select:
            return too_many(self.max_select)
        allowed = frozenset(self.values) if len(value) > 8 else self.values
        for item in value:
            if item not in allowed:
                return self.not_allowed(item)
        return None

    @staticmethod
    def not_allowed(item: str) -> FieldError:
        return FieldError("validation_invalid_value", f"Invalid value {item}.", {"value": item})

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        count = max(len(self.values), 1)
        return only_errors({"values": required(self.values), "maxSelect": between(self.max_select, 0, count)})
