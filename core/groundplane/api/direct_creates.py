"""Plain creates without a task of their own, as `api.direct` has it for reads.

What is not written here goes the way of all others. The failure is passed on instead when it is clear, and when
nobody knows whether the row was written: another attempt could write it twice.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from groundplane.api.body import json_object
from groundplane.api.direct import Asked, DirectReads, Done, Head
from groundplane.api.records import asker_for
from groundplane.errors import GroundplaneError, Invalid, Unavailable
from groundplane.records.quick import Asker, Question

if TYPE_CHECKING:
    from litestar.types import HTTPScope

log = logging.getLogger(__name__)

# In the scope: the whole body, why the request can have no answer but this failure, and who asked, if proved.
BODY_KEY = "groundplane.body"
FAILED_KEY = "groundplane.failed"
CALLER_KEY = "groundplane.caller"


class Sent(Asked):
    """A create that waits for its row."""

    __slots__ = ("inside",)

    def __init__(
        self,
        creates: DirectCreates,
        question: Question,
        asker: Asker,
        head: Head,
        scope: dict[str, Any],
        client: str,
        done: Done,
    ) -> None:
        super().__init__(creates, question, asker, head, "POST", scope["raw_path"], b"", client, done)
        self.inside = scope

    def failed(self, error: Exception) -> None:
        self.inside[FAILED_KEY] = error
        if isinstance(error, Invalid):
            self.inside[CALLER_KEY] = self.asker.caller
        else:
            log.error("A record was written, and its answer could not be made", exc_info=error)

    def refused(self, error: BaseException) -> None:
        if not isinstance(error, GroundplaneError) or type(error) is Unavailable:
            self.inside[FAILED_KEY] = error


class DirectCreates(DirectReads):
    """Answers creates that need nothing but one row of a lane."""

    def begin(self, scope: HTTPScope, done: Done) -> Asked | None:
        """Take on a request whose body has arrived, or None; then `done` is called once, unless it is cancelled."""
        path: bytes = scope["raw_path"]
        parts = path.split(b"/")
        if (
            len(parts) != 5
            or parts[4] != b"records"
            or parts[2] != b"collections"
            or parts[1] != b"api"
            or b"%" in path
            or scope["query_string"]
            or scope["method"] != "POST"
        ):
            return None
        inside = cast("dict[str, Any]", scope)
        body = inside.get(BODY_KEY)
        services = self._services
        # What plugins do after a create belongs to a request, and here is none.
        if body is None or services.plugins.hooks.record_saved:
            return None
        head = Head(inside["headers"], self._headers_for)
        if b"idempotency-key" in head.headers or not head.headers.get(b"content-type", b"").startswith(
            b"application/json"
        ):
            return None
        asker = asker_for(head.token, services, head.headers)
        if asker is None:
            return None
        client = scope["client"]
        try:
            sent = json_object(body)
            question = services.records.creation(parts[3].decode("latin-1"), sent, asker)
            if question is None or question.lane.is_slow(question.shape):
                return None
            asked = Sent(self, question, asker, head, inside, "" if client is None else client[0], done)
            question.lane.put(question.shape, question.values, asked)
        except Invalid:
            return None
        except Unavailable as error:
            # The queue is full, and the ordinary way must not become the way around it.
            inside[FAILED_KEY] = error
            return None
        return asked
