"""Points in time, cut to milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from groundplane.clock import wire_date
from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.dates import parse_date, rfc3339, shown_date, to_date
from groundplane.schema.fields.base import Field, Kind


class DateField(Field, kw_only=True, rename="camel"):
    """`min` and `max` keep the normalised text; what cannot be read as a date is no limit."""

    type_name: ClassVar[str] = "date"

    required: bool = False
    help: str = ""
    min: str = ""
    max: str = ""

    def __post_init__(self) -> None:
        self.min = wire_date(parse_date(self.min))
        self.max = wire_date(parse_date(self.max))

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

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if value is None:
            return REQUIRED if self.required else None
        if self.min:
            least = parse_date(self.min)
            if least is not None and value < least:
                message = f"Must be no less than {shown_date(least)}."
                return FieldError(
                    "validation_min_greater_equal_than_required", message, {"threshold": rfc3339(least)}
                )
        if self.max:
            most = parse_date(self.max)
            if most is not None and value > most:
                message = f"Must be no greater than {shown_date(most)}."
                return FieldError(
                    "validation_max_less_equal_than_required", message, {"threshold": rfc3339(most)}
                )
        return None
