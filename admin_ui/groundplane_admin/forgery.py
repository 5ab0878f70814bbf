"""Requests that another site makes in an admin's name: a token in every form, and who the browser says asks."""

from __future__ import annotations

import hashlib
import hmac
import os
from urllib.parse import urlsplit

TOKEN_BYTES = 20
HEADER, FIELD = "x-csrf-token", "_csrf"


def proof_of(secret: str) -> bytes:
    """What only somebody with the cookie's content can know; a page shows it, masked."""
    return hmac.digest(secret.encode(), b"groundplane console form", hashlib.sha256)[:TOKEN_BYTES]


def masked(secret: str) -> str:
    """The token of one answer: different each time, so that its compressed size says nothing of it."""
    mask = os.urandom(TOKEN_BYTES)
    proof = proof_of(secret)
    return (mask + bytes(a ^ b for a, b in zip(mask, proof, strict=True))).hex()


def matches(secret: str, token: str) -> bool:
    """Whether a sent token belongs to this cookie."""
    try:
        raw = bytes.fromhex(token) if token.isascii() and len(token) == 4 * TOKEN_BYTES else b""
    except ValueError:
        raw = b""
    if len(raw) != 2 * TOKEN_BYTES:
        return False
    sent = bytes(a ^ b for a, b in zip(raw[:TOKEN_BYTES], raw[TOKEN_BYTES:], strict=True))
    return hmac.compare_digest(sent, proof_of(secret))


def is_of_this_site(origin: str, site: str, host: str, app_url: str) -> bool:
    """Whether a browser says that the request comes from our own pages.

    `origin` is the header of that name, `site` Sec-Fetch-Site; `host` is what was asked, `app_url` the address
    of the settings, for servers behind a proxy that does not pass the Host on. Without either header it is no
    browser of these years: then the token decides.
    """
    if site and site not in ("same-origin", "none"):
        return False
    if not origin:
        return True
    if origin == "null":
        return False
    place = urlsplit(origin).netloc.lower()
    return place != "" and place in (host.lower(), urlsplit(app_url).netloc.lower())
