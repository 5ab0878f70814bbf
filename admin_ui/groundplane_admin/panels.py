"""The panel beside a list: where closing it leads, and the answer that empties it."""

from __future__ import annotations

from urllib.parse import urlsplit

from litestar import Response

from groundplane_admin.visits import Visit

NO_PANEL = "none"  # of the parameter `part`


def list_behind(visit: Visit, path: str) -> str:
    """The address of the list that the panel was opened from, with its filter; `path` when that is not known."""
    parts = urlsplit(visit.ask.headers.get("hx-current-url", ""))
    if parts.path != path or not parts.query.isascii() or not parts.query.isprintable():
        return path
    return f"{path}?{parts.query}" if parts.query else path


def emptied(visit: Visit) -> Response[bytes] | None:
    """The answer when only the panel is to be closed; None when it is not."""
    if visit.is_fragment and visit.ask.query.get("part") == NO_PANEL:
        return visit.fragment("parts/_no_panel.html", None)
    return None


def closing(address: str) -> str:
    """What htmx asks for to close the panel of a list."""
    return f"{address}{'&' if '?' in address else '?'}part={NO_PANEL}"
