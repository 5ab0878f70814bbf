"""Any JSON value, kept as compact text with its member order and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.json_text import INVALID, json_text
from groundplane.schema.limits import between, only_errors

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

DEFAULT_MAX_SIZE = 1 << 20  # bytes
INVALID_JSON = FieldError("validation_invalid_json", "Must be a valid json value.")
EMPTY = frozenset({None, '""', "[]", "{}"})


class JsonField(Field, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "json"

    required: bool = False
    help: str = ""
    max_size: int = 0  # bytes

    @property
    def kind(self) -> Kind:
        return Kind.JSON

    @property
    def zero(self) -> None:
        return None

    def is_zero(self, value: Any) -> bool:
        return value in EMPTY

    @property
    def size_limit(self) -> int:
        """The largest allowed value in bytes."""
        return self.max_size or DEFAULT_MAX_SIZE

    def from_input(self, raw: Any) -> str | None:
        return json_text(raw)

    def to_wire(self, value: Any) -> Any:
        return None if value is None else msgspec.Raw(value.encode())

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if value is not None:
            if value == INVALID:
                return INVALID_JSON
            limit = self.max_size or DEFAULT_MAX_SIZE
            if len(value) * 4 > limit and len(value.encode()) > limit:
                message = f"The maximum allowed JSON size is {limit} bytes."
                return FieldError("validation_json_size_limit", message, {"maxSize": limit})
        return REQUIRED if self.required and value in EMPTY else None

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        return only_errors({"maxSize": between(self.max_size, 0)})
