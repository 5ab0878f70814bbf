"""Which other sites' pages may call us from a browser (contract, auth §4.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

VARY_ORIGIN = (b"vary", b"Origin")
PREFLIGHT = (
    (b"vary", b"Access-Control-Request-Method"),
    (b"vary", b"Access-Control-Request-Headers"),
    (b"access-control-allow-methods", b"GET,HEAD,PUT,PATCH,POST,DELETE"),
)
MAX_ORIGIN_LENGTH = 261  # a host of 253 characters, a scheme and a port


def is_below(origin: str, pattern: str) -> bool:
    """Whether `pattern` is `scheme://*.host` and the origin a host below it, at any depth."""
    scheme, mark, host = pattern.partition("://")
    return (
        mark != ""
        and host.startswith("*.")
        and origin.startswith(f"{scheme}://")
        and len(origin) > len(scheme) + 3 + len(host[1:])
        and origin.endswith(host[1:])
    )


class Cors:
    """The configured origins: exact ones, `scheme://*.host`, or patterns with `*` and `?`; `*` is everybody."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._everybody = "*" in origins
        self._origins = tuple(origins)
        self._patterns = tuple(
            re.compile("".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in origin))
            for origin in origins
            if not re.match(r"[a-z]+://\*\.[^*?]+$", origin) and re.search(r"[*?]", origin)
        )

    def allowed(self, origin: str) -> str | None:
        """What Access-Control-Allow-Origin says to this origin; None when it may not."""
        if self._everybody:
            return "*"
        if origin in self._origins or any(is_below(origin, pattern) for pattern in self._origins):
            return origin
        if len(origin) > MAX_ORIGIN_LENGTH or "://" not in origin:
            return None
        return origin if any(pattern.fullmatch(origin) for pattern in self._patterns) else None

    def headers(self, method: str, origin: str, requested: str | None) -> list[tuple[bytes, bytes]]:
        """The headers for an answer to this origin ("" when the request has none).

        `requested` is the value of Access-Control-Request-Headers.
        """
        headers = [VARY_ORIGIN]
        permitted = self.allowed(origin) if origin else None
        if permitted is None:
            return headers
        headers.append((b"access-control-allow-origin", permitted.encode("latin-1", "replace")))
        if method == "OPTIONS":
            headers += PREFLIGHT
            if requested:
                headers.append((b"access-control-allow-headers", requested.encode("latin-1", "replace")))
        return headers
