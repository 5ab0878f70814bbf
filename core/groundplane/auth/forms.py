"""What is wrong with the inputs of the sign-in endpoints."""

from __future__ import annotations

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.addresses import is_email

BAD_DATA = "An error occurred while validating the submitted data."
BAD_EMAIL = FieldError("validation_is_email", "Must be a valid email address.")
MAX_INPUT_BYTES = 255


def length_error(
    text: str, *, required: bool = True, least: int = 1, most: int = MAX_INPUT_BYTES
) -> FieldError | None:
    """Lengths of sign-in inputs are counted in bytes."""
    if not text:
        return REQUIRED if required else None
    if not least <= len(text.encode("utf-8", "replace")) <= most:
        return FieldError(
            "validation_length_out_of_range",
            f"The length must be between {least} and {most}.",
            {"max": most, "min": least},
        )
    return None


def email_error(text: str) -> FieldError | None:
    """An address is needed, and a well-formed one."""
    return length_error(text) or (None if is_email(text) else BAD_EMAIL)
