"""Signed tokens: JSON Web Tokens with HMAC SHA-256, whose key the record and its collection share."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from groundplane.clock import unix_time

ALGORITHMS = ["HS256"]
MAX_TOKEN_LENGTH = 8192  # characters; ours have about 300
MAX_CACHED_LENGTH = 1024
CACHED_CHECKS = 4096
SEGMENT = re.compile(r"[A-Za-z0-9_-]+")


def sign(claims: Mapping[str, Any], key: str) -> str:
    """Return the token for these claims; the key's UTF-8 bytes are used as they are."""
    payload = msgspec.json.encode(dict(sorted(claims.items())))
    header = {"alg": "HS256", "typ": "JWT"}
    return jws.serialize_compact(header, payload, OctKey.import_key(key.encode()), algorithms=ALGORITHMS)


def read_segment(segment: str) -> dict[str, Any] | None:
    """Decode one base64url part that must hold a JSON object; None for anything else."""
    if not SEGMENT.fullmatch(segment):
        return None
    try:
        raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        value = msgspec.json.decode(raw)
    except (binascii.Error, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return value if isinstance(value, dict) else None


def read_unverified(token: str) -> dict[str, Any] | None:
    """Return the claims of a token that is well formed and not expired, *without* checking who made it.

    Needed to find the record whose key verifies the token; None means that no key could make it valid.
    The checks of the contract (auth §3.2): `exp`, when present, must be a number in the future, `nbf`
    and `iat` must not be in the future, and the algorithm is ours. A token without `exp` does not expire.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        return None
    parts = token.split(".")
    if len(parts) != 3:
        return None
    header = read_segment(parts[0])
    if header is None or header.get("alg") != "HS256":
        return None
    claims = read_segment(parts[1])
    if claims is None or not is_current(claims, unix_time()):
        return None
    return claims


def is_current(claims: Mapping[str, Any], now: float) -> bool:
    """Check the times in the claims against `now` (seconds since 1970), without leeway."""
    for name in ("exp", "nbf", "iat"):
        if name not in claims:
            continue
        moment = claims[name]
        if isinstance(moment, bool) or not isinstance(moment, int | float) or not math.isfinite(moment):
            return False
        if (now >= moment) if name == "exp" else (moment > now):
            return False
    return True


def mark_of(token: str) -> str:
    """22 characters that tell a token from all others and from which it cannot be made; kept where tokens must not be.

    The signature alone says which token it is: it is of all the rest, and only one way of writing it is accepted.
    """
    digest = hashlib.sha256(token.rpartition(".")[2].encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def verify(token: str, key: str) -> bool:
    """Say whether the token carries a signature made with this key; nothing but HS256 is accepted."""
    return check_signature(token, key) if len(token) <= MAX_CACHED_LENGTH else uncached_check(token, key)


def uncached_check(token: str, key: str) -> bool:
    try:
        jws.deserialize_compact(token, OctKey.import_key(key.encode()), algorithms=ALGORITHMS)
    except (JoseError, ValueError):
        return False
    return True


# A client sends the same token with every request, and the answer for a token and a key never changes:
# what expires or is revoked is decided elsewhere, by the claims and by the key the record has now.
check_signature = lru_cache(maxsize=CACHED_CHECKS)(uncached_check)
