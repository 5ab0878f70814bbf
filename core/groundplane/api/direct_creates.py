"""Plain creates without a task of their own, as `api.direct` has it for reads.

What is not written here goes the way of all others. The failure is passed on instead when it is clear, and when
nobody knows whether the row was written: another attempt could write it twice.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from groundplane.api.body import json_object
from groundplane.api.direct import Asked, DirectReads, Done
from groundplane.api.records import asker_of
from groundplane.errors import GroundplaneError, Invalid, Unavailable
from groundplane.records.quick import Question

if TYPE_CHECKING:
    from litestar.types import HTTPScope

    from groundplane.context import Caller

log = logging.getLogger(__name__)

# In the scope: the whole body, why the request can have no answer but this failure, and who asked, if proved.
BODY_KEY = "groundplane.body"
FAILED_KEY = "groundplane.failed"
CALLER_KEY = "groundplane.caller"


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
        # Of a header that is repeated the first one counts.
        headers = dict(reversed(scope["headers"]))  # type: ignore[call-overload]  # a list, with uvicorn
        if b"idempotency-key" in headers or not headers.get(b"content-type", b"").startswith(
            b"application/json"
        ):
            return None
        asker = asker_of(headers.get(b"authorization", b"").decode("latin-1"), self._services, headers)
        if asker is None:
            return None
        body = inside.get(BODY_KEY)
        # What plugins do after a create belongs to a request, and here is none.
        if body is None or self._services.plugins.hooks.record_saved:
            return None
        started = perf_counter()
        try:
            sent = json_object(body)
            question = self._services.records.creation(parts[3].decode("latin-1"), sent, asker)
            if question is None:
                return None
            asked = question.lane.ask(question.shape, question.values)
        except Invalid:
            return None
        except Unavailable as error:
            # The queue is full, and the ordinary way must not become the way around it.
            inside[FAILED_KEY] = error
            return None
        asked.add_done_callback(
            lambda asked: self._created(question, headers, done, started, scope, asker.caller, asked)
        )
        return asked

    def _created(
        self,
        question: Question,
        headers: dict[bytes, bytes],
        done: Done,
        started: float,
        scope: HTTPScope,
        caller: Caller | None,
        asked: Asked,
    ) -> None:
        if asked.cancelled():
            return
        error = asked.exception()
        if error is not None and (not isinstance(error, GroundplaneError) or type(error) is Unavailable):
            cast("dict[str, Any]", scope)[FAILED_KEY] = error
        row = asked.result() if error is None else None
        try:
            found = question.answer(row) if row is not None else None
        except Invalid as refusal:
            inside = cast("dict[str, Any]", scope)
            inside[FAILED_KEY], inside[CALLER_KEY] = refusal, caller
            found = None
        except Exception as failure:
            log.exception("A record was written, and its answer could not be made")
            cast("dict[str, Any]", scope)[FAILED_KEY] = failure
            found = None
        if found is None:
            done(None, None)
        else:
            self._answer(found, headers, done, started, scope, caller)
