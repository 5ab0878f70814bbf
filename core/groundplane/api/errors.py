"""Exceptions to the error body that every client of this API knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Response
from litestar.exceptions import HTTPException

from groundplane.api.exchange import AnyRequest, Exchange, Reply, exchange
from groundplane.api.response import to_response
from groundplane.errors import FieldError, GroundplaneError, NotFound, TooLarge, TooManyRequests, sentence
from groundplane.logs.entry import Failure
from groundplane.records.wire import encode

log = structlog.get_logger(__name__)

DEFAULT_MESSAGE = GroundplaneError.message
MAX_CAUSE = 1000  # characters of a cause in the log
RETRY_AFTER_S = 1  # what a client is told to wait when the database does not answer


def error_body(status: int, message: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body as a dictionary in the order of the wire, for batch items too."""
    return {"data": error_tree(data or {}), "message": message, "status": status}


def error_tree(data: Mapping[str, Any]) -> dict[str, Any]:
    """Sort every level by the bytes of its keys and write leaves as code, message and params."""
    return {
        key: error_node(data[key]) for key in sorted(data, key=lambda key: key.encode("utf-8", "replace"))
    }


def error_node(node: Any) -> Any:
    if isinstance(node, FieldError):
        leaf: dict[str, Any] = {"code": node.code, "message": sentence(node.message)}
        if node.params:
            leaf["params"] = dict(sorted(node.params.items()))
        return leaf
    if isinstance(node, Mapping):
        return error_tree(node)
    return node


def error_reply(error: GroundplaneError) -> Reply:
    """The answer to an expected failure."""
    headers = (("Retry-After", str(RETRY_AFTER_S)),) if error.status == 503 else ()
    return Reply(error.status, encode(error_body(error.status, error.message, error.data)), headers)


def failure_reply(error: BaseException, exchange: Exchange) -> Reply:
    """The answer to any exception; one that nobody expected is logged and shown as nothing but a 500."""
    exchange.failure = failure_of(error, exchange)
    if isinstance(error, GroundplaneError):
        if error.status >= 500:
            log.error(
                "request failed",
                request_id=exchange.request_id,
                path=exchange.path,
                error=error.message,
                cause=repr(error.__cause__),
            )
        return error_reply(error)
    log.error(
        "request crashed",
        request_id=exchange.request_id,
        method=exchange.method,
        path=exchange.path,
        exc_info=error,
    )
    return Reply(500, encode(error_body(500, DEFAULT_MESSAGE)))


def failure_of(error: BaseException, exchange: Exchange) -> Failure:
    """What the log keeps of a failure: the message, and what only administrators may know."""
    message = error.message if isinstance(error, GroundplaneError) else DEFAULT_MESSAGE
    data = error.data if isinstance(error, GroundplaneError) else {}
    if isinstance(error, GroundplaneError) and error.status < 500:
        return Failure(message, error_tree(data) if data else None)
    reason = error.__cause__ if isinstance(error, GroundplaneError) else error
    cause = f"{type(reason).__name__}: {reason}"[:MAX_CAUSE] if reason is not None else str(error)
    return Failure(message, {"cause": cause, "requestId": exchange.request_id})


def translated(error: HTTPException) -> GroundplaneError:
    """What Litestar refuses, in our words: an unknown route and a wrong method are both a 404."""
    match error.status_code:
        case 404 | 405:
            return NotFound()
        case 413:
            return TooLarge()
        case 429:
            return TooManyRequests()
    return GroundplaneError()


def on_http_exception(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    return to_response(failure_reply(translated(error), exchange(request)))


def on_exception(request: AnyRequest, error: Exception) -> Response[bytes]:
    return to_response(failure_reply(error, exchange(request)))
