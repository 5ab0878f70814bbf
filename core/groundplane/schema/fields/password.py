"""Passwords: plain on the way in, a hash in the column, nothing on the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.casting import NUL, NUL_VALUE, to_text
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.text import BAD_FORMAT
from groundplane.schema.limits import between, only_errors, regular_expression
from groundplane.schema.patterns import compile_pattern

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

MAX_BYTES = 72  # what bcrypt can take
DEFAULT_MAX = 71  # characters
LEAST_COST, MOST_COST = 4, 31


class PasswordField(Field, kw_only=True, rename="camel"):
    """The stored form is the hash, but `from_input` and `check` handle the plain text that makes it."""

    type_name: ClassVar[str] = "password"

    required: bool = False
    help: str = ""
    min: int = 0
    max: int = 0
    pattern: str = ""
    cost: int = 0

    @property
    def kind(self) -> Kind:
        return Kind.TEXT

    @property
    def zero(self) -> str:
        return ""

    def is_zero(self, value: Any) -> bool:
        return not value

    def from_input(self, raw: Any) -> str:
        return to_text(raw)

    def to_wire(self, value: Any) -> str:
        return ""

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        """Check a plain text; for a record whose password stays as it is, pass nothing here but its hash to
        `is_zero`."""
        if not value:
            return REQUIRED if self.required else None
        if NUL in value or len(value.encode()) > MAX_BYTES:
            return NUL_VALUE
        length = len(value)
        if length < self.min:
            return FieldError("validation_min_text_constraint", f"Must be at least {self.min} character(s).")
        most = self.max or DEFAULT_MAX
        if length > most:
            return FieldError("validation_max_text_constraint", f"Must be less than {most} character(s).")
        if self.pattern:
            pattern = compile_pattern(self.pattern)
            if pattern is None or not pattern.search(value):
                return BAD_FORMAT
        return None

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        return only_errors(
            {
                "min": between(self.min, 1, DEFAULT_MAX),
                "max": between(self.max, self.min, DEFAULT_MAX),
                "pattern": regular_expression(self.pattern),
                "cost": between(self.cost, LEAST_COST, MOST_COST),
            }
        )
