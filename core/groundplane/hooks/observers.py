"""Who looks on while plugins work: each call of a hook is told to observers, as a span of a trace has it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

CallOutcome: TypeAlias = Literal["done", "refused", "failed", "timed_out", "cancelled"]
NANOSECONDS = 1_000_000_000


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a plugin's function that has ended.

    `hook`         name of the hook, or of what else was called: `GET /api/x/hello/`, `job hello.send`
    `started`      seconds since 1970
    `duration_s`   of an around hook without what it surrounds
    `outcome`      done; refused: it raised a `GroundplaneError`; failed; timed_out; cancelled: the request ended
    `request_id`   as in the header `X-Request-Id`; "" outside of requests
    `error`        what it raised, "" when it is done
    """

    plugin: str
    hook: str
    started: float
    duration_s: float
    outcome: CallOutcome
    request_id: str = ""
    error: str = ""


class Observer(Protocol):
    """Register one with `services.plugins.hooks.observers.append(observer)`."""

    def called(self, call: Call) -> None:
        """Take a call; returns at once, since the request waits. What it raises is logged."""


class Spans:
    """Makes each call a span of OpenTelemetry, when the package `opentelemetry-api` is installed."""

    def __init__(self, tracer: Any, failed: Any) -> None:
        self._tracer = tracer
        self._failed = failed  # the status of a span that went wrong

    def called(self, call: Call) -> None:
        attributes = {
            "groundplane.plugin": call.plugin,
            "groundplane.hook": call.hook,
            "groundplane.outcome": call.outcome,
        }
        if call.request_id:
            attributes["groundplane.request_id"] = call.request_id
        started = int(call.started * NANOSECONDS)
        span = self._tracer.start_span(
            f"{call.plugin}.{call.hook}", start_time=started, attributes=attributes
        )
        if call.outcome in ("failed", "timed_out"):
            span.set_status(self._failed, call.error)
        span.end(end_time=started + int(call.duration_s * NANOSECONDS))


def spans() -> Spans | None:
    """The observer for OpenTelemetry; None when it is not installed."""
    if importlib.util.find_spec("opentelemetry") is None:
        return None
    try:
        trace = importlib.import_module("opentelemetry.trace")
    except ImportError:
        return None  # another part of it is installed, without the API
    return Spans(trace.get_tracer("groundplane"), trace.StatusCode.ERROR)
