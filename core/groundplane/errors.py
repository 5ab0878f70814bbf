"""Failures that we expect and can explain: a status, a sentence for people and codes for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One leaf of an error's `data`: a stable code, a sentence, and the numbers the sentence shows.

    `message` is the final text; use `sentence` where it comes from elsewhere.
    """

    code: str
    message: str
    params: dict[str, Any] | None = None


ErrorData: TypeAlias = Mapping[str, "FieldError | ErrorData | Any"]
"""Keys are field names, option names or decimal positions; values are leaves or further levels.

`Any` covers the one leaf with an extra member, the batch item's `response`.
"""

REQUIRED = FieldError("validation_required", "Cannot be blank.")


def sentence(text: str) -> str:
    """Return the text trimmed, with a capital first letter and an end mark, as every message on the wire."""
    text = text.strip()
    if not text:
        return text
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."


class GroundplaneError(Exception):
    """A failure we expected; subclasses set `status` and the default `message`.

    `data` is the error body's tree of field errors, `{}` when there are no details.
    """

    status: int = 400
    message: str = "Something went wrong while processing your request."

    def __init__(self, message: str | None = None, data: ErrorData | None = None) -> None:
        self.message = sentence(message) if message is not None else type(self).message
        self.data: ErrorData = data if data is not None else {}
        super().__init__(self.message)


class Invalid(GroundplaneError):
    """The request cannot be carried out as sent."""


class Unauthorized(GroundplaneError):
    status = 401
    message = "Missing or invalid authentication."


class Forbidden(GroundplaneError):
    status = 403
    message = "You are not allowed to perform this request."


class NotFound(GroundplaneError):
    status = 404
    message = "The requested resource wasn't found."


class Conflict(GroundplaneError):
    """The same idempotency key was used for another body, or the same thing is being done just now."""

    status = 409
    message = "The request conflicts with an earlier one."


class PreconditionFailed(GroundplaneError):
    """`If-Match` named a version of the record that is no longer the stored one."""

    status = 412
    message = "The record was changed in the meantime. Load it again and repeat your change."


class TooLarge(GroundplaneError):
    status = 413
    message = "Request entity too large."


class TooManyRequests(GroundplaneError):
    status = 429
    message = "Too Many Requests."


class Unavailable(GroundplaneError):
    """A part that the request needs (the database, a store) does not answer; trying again may help."""

    status = 503
    message = "The service is temporarily unavailable. Try again in a moment."


def explained(error: Exception) -> str:
    """The message, and for a refused value the fields it is about, a line each."""
    lines = [str(error)]

    def add(data: ErrorData, path: str) -> None:
        for key, value in data.items():
            name = f"{path}.{key}" if path else str(key)
            if isinstance(value, FieldError):
                lines.append(f"  {name}: {value.message}")
            elif isinstance(value, Mapping):
                add(value, name)

    if isinstance(error, GroundplaneError):
        add(error.data, "")
    return "\n".join(lines)
