"""When a database cannot be used at all, and how its address is named; without the driver, which takes long to load."""

from __future__ import annotations

from urllib.parse import urlsplit


class DatabaseUnusable(Exception):
    """The database cannot be used at all; the message is one sentence that says what to do."""


def without_password(url: str) -> str:
    """Return the address for messages: host, port and database, nothing secret."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or dict(
            item.partition("=")[::2] for item in parts.query.split("&") if "=" in item
        ).get("host", "localhost")
        return f"{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "database.url"
