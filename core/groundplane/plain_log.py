"""The supervisor's lines on standard error, in the form of `log.py` without its libraries: it stays small."""

from __future__ import annotations

import json
import logging
import sys
import time

from groundplane.config import LogConfig

# As structlog's console writes it: time, level and message in columns, then the logger.
TEXT = "%(asctime)s [%(levelname)-9s] %(message)-30s [%(name)s]"


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": self.formatTime(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        return super().format(record)


def set_up_plain_logging(config: LogConfig) -> None:
    """Send the records of `logging` to standard error; call it once per process."""
    as_json = config.format == "json" or (config.format == "auto" and not sys.stderr.isatty())
    formatter = JsonLines() if as_json else TextLines(TEXT)
    formatter.converter = time.gmtime
    formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    formatter.default_msec_format = "%s.%03dZ"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))
