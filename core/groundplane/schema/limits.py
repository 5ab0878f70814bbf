"""Checks of option values: presence, length in bytes, bounds; the codes and texts of the contract's errors."""

from __future__ import annotations

import re

from groundplane.errors import REQUIRED, FieldError, sentence
from groundplane.schema.casting import MAX_EXACT_INTEGER
from groundplane.schema.patterns import pattern_error

WORD = re.compile(r"[A-Za-z0-9_]+")
BAD_FORMAT = FieldError("validation_match_invalid", "Must be in a valid format.")
NOT_ALLOWED = FieldError("validation_in_invalid", "Must be a valid value.")
RESERVED = FieldError("validation_not_in_invalid", "Must not be in list.")
FOUND_VIA = FieldError("validation_found_via", 'The value cannot contain "_via_".')


def first(*errors: FieldError | None) -> FieldError | None:
    """Return the first error there is."""
    return next((error for error in errors if error is not None), None)


def required(value: object) -> FieldError | None:
    return None if value else REQUIRED


def length(text: str, least: int, most: int) -> FieldError | None:
    """Check the length in bytes; an empty text passes."""
    if not text or least <= len(text.encode(errors="replace")) <= most:
        return None
    message = f"The length must be between {least} and {most}."
    return FieldError("validation_length_out_of_range", message, {"max": most, "min": least})


def at_least(value: int, least: int) -> FieldError | None:
    """Check a lower bound; 0, an option that is not set, passes."""
    if value == 0 or value >= least:
        return None
    message = f"Must be no less than {least}."
    return FieldError("validation_min_greater_equal_than_required", message, {"threshold": least})


def at_most(value: int, most: int) -> FieldError | None:
    """Check an upper bound; 0 passes."""
    if value == 0 or value <= most:
        return None
    message = f"Must be no greater than {most}."
    return FieldError("validation_max_less_equal_than_required", message, {"threshold": most})


def between(value: int, least: int, most: int = MAX_EXACT_INTEGER) -> FieldError | None:
    return at_least(value, least) or at_most(value, most)


def word(text: str) -> FieldError | None:
    """Check that a text consists of ASCII letters, digits and underscores; an empty one passes."""
    return None if not text or WORD.fullmatch(text) else BAD_FORMAT


def without_via(text: str) -> FieldError | None:
    """`_via_` inside a name would make back relations ambiguous."""
    return FOUND_VIA if "_via_" in text.lower() else None


def regular_expression(text: str) -> FieldError | None:
    problem = pattern_error(text) if text else None
    return None if problem is None else FieldError("validation_invalid_regex", sentence(problem))


def only_errors(errors: dict[str, FieldError | None]) -> dict[str, FieldError]:
    """Leave out the options that are right."""
    return {name: error for name, error in errors.items() if error is not None}
