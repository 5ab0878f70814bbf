"""Numbers: 64-bit floats, as everywhere in JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.casting import short_number, to_float
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.limits import only_errors

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

NOT_A_NUMBER = FieldError("validation_not_a_number", "The submitted number is not properly formatted.")
ONLY_INTEGERS = FieldError("validation_only_int_constraint", "Decimal numbers are not allowed.")


def below_minimum(minimum: float) -> FieldError:
    message = f"Must be greater or equal than {short_number(minimum)}."
    return FieldError("validation_min_number_constraint", message, {"min": minimum})


class NumberField(Field, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "number"

    required: bool = False
    help: str = ""
    min: float | None = None
    max: float | None = None
    only_int: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.NUMBER

    @property
    def zero(self) -> float:
        return 0.0

    def is_zero(self, value: Any) -> bool:
        return not value

    def from_input(self, raw: Any) -> float:
        return to_float(raw)

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if not math.isfinite(value):
            return NOT_A_NUMBER
        if value == 0:
            return REQUIRED if self.required else None
        if self.only_int and value != math.trunc(value):
            return ONLY_INTEGERS
        if self.min is not None and value < self.min:
            return below_minimum(self.min)
        if self.max is not None and value > self.max:
            message = f"Must be less or equal than {short_number(self.max)}."
            return FieldError("validation_max_number_constraint", message, {"max": self.max})
        return None

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        return only_errors({"min": self.bound_error(self.min), "max": self.maximum_error()})

    def bound_error(self, bound: float | None) -> FieldError | None:
        if bound is None or not self.only_int or bound == math.trunc(bound):
            return None
        return ONLY_INTEGERS

    def maximum_error(self) -> FieldError | None:
        if self.min is not None and self.max is not None and self.max < self.min:
            return self.bound_error(self.max) or below_minimum(self.min)
        return self.bound_error(self.max)
