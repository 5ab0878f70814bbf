"""How a page leaves the server: its headers, its policy, compressed."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence

from litestar import Response
from litestar.datastructures import Cookie

# Nothing from other origins, nothing inline: a stored value that looks like a script stays text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "HX-Request, Cookie, Accept-Encoding",
}
WORTH_ZIPPING = 1024  # bytes
LEVEL = 5  # of gzip: larger ones take twice the time for two percent


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header names gzip, and not as refused."""
    for part in accepted.lower().split(","):
        name, _, quality = part.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def html_answer(
    html: str,
    *,
    accepted: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    cookies: Sequence[Cookie] = (),
) -> Response[bytes]:
    """A page or a part of one; `accepted` is the request's Accept-Encoding.

    The token against forged requests is masked anew in every answer, so that compressing it tells nothing.
    """
    body = html.encode("utf-8", "replace")
    sent = {**PAGE_HEADERS, **(headers or {})}
    if len(body) >= WORTH_ZIPPING and takes_gzip(accepted):
        body = gzip.compress(body, LEVEL, mtime=0)
        sent["Content-Encoding"] = "gzip"
    return Response(
        body, media_type="text/html; charset=utf-8", status_code=status, headers=sent, cookies=list(cookies)
    )
