"""Puts what the server's parts and plugins write to `logging` or structlog into the log as well."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from groundplane.logs.entry import DEBUG, ERROR
from groundplane.logs.writer import LogWriter

# The writer's own troubles must not make more work for it, and a failed request has an entry of its own.
LEFT_OUT = ("groundplane.logs", "groundplane.api.errors")
PLAIN = frozenset({"event", "level", "logger", "timestamp", "exc_info", "stack_info"})


class LogHandler(logging.Handler):
    """Passes records on to a writer; `logging`'s levels 10, 20, 30, 40 are -4, 0, 4, 8."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(LEFT_OUT):
            return
        level = min(max((record.levelno - 20) // 10 * 4, DEBUG), ERROR)
        data: dict[str, Any] = {"type": "log", "logger": record.name}
        if isinstance(record.msg, Mapping):  # structlog's
            message = str(record.msg.get("event", ""))
            data |= {str(key): value for key, value in record.msg.items() if key not in PLAIN}
            raised = record.msg.get("exc_info")
        else:
            try:
                message = record.getMessage()
            except Exception:  # noqa: BLE001  # arguments that do not fit the text; logging itself says so
                message = str(record.msg)
            raised = record.exc_info
        if isinstance(raised, tuple) and len(raised) == 3:
            raised = raised[1]
        if isinstance(raised, BaseException):
            data["error"] = f"{type(raised).__name__}: {raised}"
        self._writer.note(level, message, data)


@contextmanager
def logging_to(writer: LogWriter) -> Iterator[None]:
    """Store what is logged during the block."""
    handler = LogHandler(writer)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
