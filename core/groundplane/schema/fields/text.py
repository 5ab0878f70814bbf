"""Text, and the record's `id`, which is a text field marked as primary key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from groundplane.errors import REQUIRED, FieldError, sentence
from groundplane.schema.casting import NUL, NUL_VALUE, to_text
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.limits import between, first, only_errors, regular_expression, required
from groundplane.schema.patterns import compile_pattern, generate, generator_error

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

DEFAULT_MAX = 5000
DEFAULT_ID_PATTERN = "^[a-z0-9]+$"
DEFAULT_ID = re.compile("[a-z0-9]+")

BAD_FORMAT = FieldError("validation_invalid_format", "Invalid value format.")
COMPOSITE_KEY = FieldError(
    "validation_unsupported_composite_pk",
    "Composite PKs are not supported and the collection must have only 1 PK.",
)
WRONG_KEY_NAME = FieldError("validation_in_invalid", 'The primary key must be named "id".')
MUST_BE_BLANK = FieldError("validation_empty", "Must be blank.")
SAMPLES = 10
LONGEST_SAMPLE = 200  # characters of a sample in a message

PK_CHANGED = FieldError("validation_pk_change", "The record primary key cannot be changed.")

# In the order in which they are looked for; ids become parts of paths and URLs.
FORBIDDEN_IN_IDS = "./\\|\"'`<>:?*%$\x00\t\n\r "
RESERVED_IDS = frozenset(
    {"CON", "PRN", "AUX", "NUL"}
    | {f"{device}{number}" for device in ("COM", "LPT") for number in range(1, 10)}
)


class TextField(Field, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "text"

    required: bool = False
    help: str = ""
    min: int = 0
    max: int = 0
    pattern: str = ""
    autogenerate_pattern: str = ""
    primary_key: bool = False

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

    def generate(self) -> str:
        """Return a new random value made from `autogeneratePattern`; "" without one, or if it is unusable."""
        return generate(self.autogenerate_pattern)

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if self.primary_key and before:
            return PK_CHANGED if value != before else None
        return self.check_plain(value) or (self.check_id(value) if self.primary_key and value else None)

    def check_plain(self, value: str) -> FieldError | None:
        """Check length and pattern, which concern the text alone."""
        if not value:
            return REQUIRED if self.required or self.primary_key else None
        length = len(value)
        if length < self.min:
            message = f"Must be at least {self.min} character(s)."
            return FieldError("validation_min_text_constraint", message, {"min": self.min})
        most = self.max or DEFAULT_MAX
        if length > most:
            message = f"Must be no more than {most} character(s)."
            return FieldError("validation_max_text_constraint", message, {"max": most})
        if self.pattern == DEFAULT_ID_PATTERN:
            # Every record has such an id; the standard library matches this simple one much faster.
            if not DEFAULT_ID.fullmatch(value):
                return BAD_FORMAT
        elif self.pattern:
            pattern = compile_pattern(self.pattern)
            if pattern is None or not pattern.search(value):
                return BAD_FORMAT
        # An id may say more precisely which character it is that cannot be stored.
        if NUL in value and not self.primary_key:
            return NUL_VALUE
        return None

    def check_id(self, value: str) -> FieldError | None:
        """Check what an id may not contain; the default pattern leaves no room for any of it."""
        if self.pattern == DEFAULT_ID_PATTERN:
            return None
        for character in FORBIDDEN_IN_IDS:
            if character in value:
                message = f"'{character}' is not a valid primary key character."
                return FieldError("validation_forbidden_pk_character", message, {"ch": character})
        reserved = value.upper()
        if reserved in RESERVED_IDS:
            message = f"The primary key '{reserved}' is reserved and cannot be used."
            return FieldError("validation_reserved_pk", message, {"reserved": reserved})
        return None

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        errors: dict[str, FieldError | None] = {
            "min": between(self.min, 0),
            "max": between(self.max, self.min),
            "pattern": first(
                required(self.pattern or not self.primary_key), regular_expression(self.pattern)
            ),
            "autogeneratePattern": self.autogenerate_error(),
        }
        if self.primary_key:
            keys = [each for each in collection.fields if isinstance(each, TextField) and each.primary_key]
            errors["primaryKey"] = COMPOSITE_KEY if len(keys) > 1 else None
            errors["name"] = None if self.name == "id" else WRONG_KEY_NAME
            errors["required"] = required(self.required)
            errors["hidden"] = MUST_BE_BLANK if self.hidden else None
        return only_errors(errors)

    def autogenerate_error(self) -> FieldError | None:
        """Check that the pattern can be generated from, and that what comes out fits the other options."""
        if not self.autogenerate_pattern:
            return None
        invalid = regular_expression(self.autogenerate_pattern)
        if invalid is not None:
            return invalid
        problem = generator_error(self.autogenerate_pattern)
        if problem is not None:
            return FieldError("validation_invalid_autogenerate_pattern", sentence(problem))
        for _ in range(SAMPLES):
            sample = self.generate()
            if self.check_plain(sample) is not None:
                message = (
                    "The provided autogenerate pattern could produce invalid field values, "
                    f'ex.: "{sample[:LONGEST_SAMPLE]}".'
                )
                return FieldError("validation_invalid_autogenerate_pattern_value", message)
        return None
