"""Yes or no; there is no third value, and `required` means yes."""

from __future__ import annotations

from typing import Any, ClassVar

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.casting import to_bool
from groundplane.schema.fields.base import Field, Kind


class BoolField(Field, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "bool"

    required: bool = False
    help: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.BOOL

    @property
    def zero(self) -> bool:
        return False

    def is_zero(self, value: Any) -> bool:
        return not value

    def from_input(self, raw: Any) -> bool:
        return to_bool(raw)

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        return REQUIRED if self.required and not value else None
