"""What the processes write to standard error: one line per event, for people or for programs."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import structlog

from groundplane.config import LogConfig
from groundplane.context import REQUEST_ID

# These tell every connection and statement at their own levels; what matters they raise.
QUIET = ("asyncio", "httpx", "sqlglot", "uvicorn.access", "uvicorn.error")

# Without the local variables of each frame, which may be passwords and tokens.
TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def set_up_logging(config: LogConfig) -> None:
    """Send the records of `logging` and of structlog the same way; call it once per process."""
    as_json = config.format == "json" or (config.format == "auto" and not sys.stderr.isatty())
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        with_request,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [TRACEBACKS, structlog.processors.JSONRenderer(serializer=encoded)]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def with_request(_logger: Any, _method: str, event: Any) -> Any:
    """Add the id of the request that is being answered, which the client has in `X-Request-Id`."""
    if request_id := REQUEST_ID.get():
        event.setdefault("request_id", request_id)
    return event


def encoded(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
