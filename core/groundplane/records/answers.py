"""What the verbs on records give back, the version in it, and the words of their refusals."""

from __future__ import annotations

from typing import Any, NamedTuple

from groundplane.errors import PreconditionFailed
from groundplane.records.plan import Row

SUPERUSERS_ONLY = "Only superusers can perform this action."
NO_VIEWS = "Unsupported collection type."
CREATE_FAILED = "Failed to create record."
UPDATE_FAILED = "Failed to update record."


class Answer(NamedTuple):
    """A record as the caller may see it, and its version for `ETag` ("" for records of views)."""

    record: Any
    etag: str = ""


def is_possible_id(record_id: str) -> bool:
    """Whether PostgreSQL can be asked for this id at all."""
    return (
        bool(record_id)
        and "\x00" not in record_id
        and not any("\ud800" <= char <= "\udfff" for char in record_id)
    )


def etag_of(row: Row) -> str:
    return f'"{row.version}"' if row.version else ""


def check_version(row: Row, if_match: str) -> None:
    """Compare with an If-Match header: a list of quoted versions, or `*` for any; weak ones never match."""
    if not if_match or if_match.strip() == "*":
        return
    if etag_of(row) not in [each.strip() for each in if_match.split(",")]:
        raise PreconditionFailed()
