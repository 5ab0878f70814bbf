"""Errors of the API beside the inputs that they are about, in the API's words."""

from __future__ import annotations

from collections.abc import Mapping

from groundplane.errors import ErrorData, FieldError, GroundplaneError


def field_messages(error: GroundplaneError) -> dict[str, str]:
    """The message for each field; of what is nested, the first one stands for the whole."""
    found: dict[str, str] = {}
    for name, data in error.data.items():
        message = first_message(data)
        if message:
            found[str(name)] = message
    return found


def first_message(data: FieldError | ErrorData | object) -> str:
    if isinstance(data, FieldError):
        return data.message
    if isinstance(data, Mapping):
        for each in data.values():
            if message := first_message(each):
                return message
    return ""
