"""Values to answers: JSON as the contract writes it, cut down by `fields`."""

from __future__ import annotations

from typing import Any

from litestar import Response

from groundplane.api.exchange import Reply
from groundplane.records.project import BadFields, project
from groundplane.records.wire import encode

NO_CONTENT = Reply(204)


def json_reply(
    value: Any, status: int = 200, *, fields: str | None = None, headers: tuple[tuple[str, str], ...] = ()
) -> Reply:
    """Answer with JSON; `fields` is the query parameter of that name, absent or empty meaning everything.

    A malformed `fields` gives the status with an empty body, as the status of PocketBase is already out then.
    """
    if fields:
        try:
            value = project(value, fields)
        except BadFields:
            return Reply(status, b"", headers)
    return Reply(status, encode(value), headers)


def to_response(reply: Reply) -> Response[bytes]:
    """The reply as Litestar wants it from a handler."""
    return Response(
        content=reply.body,
        status_code=reply.status,
        headers=dict(reply.headers),
        media_type=reply.content_type,
    )
