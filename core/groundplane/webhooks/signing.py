"""Secrets and signatures as the Standard Webhooks specification has them: HMAC-SHA256, version v1."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable

PREFIX = "whsec_"
NEW_SECRET_BYTES = 32
SECRET_BYTES = range(24, 65)  # as the specification recommends


def new_secret() -> str:
    """Return a fresh secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(os.urandom(NEW_SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes | None:
    """The bytes behind a secret; None for a text that is none."""
    if not secret.startswith(PREFIX):
        return None
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) in SECRET_BYTES else None


def signature(secrets: Iterable[str], event: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature for each secret, so that receivers can change over.

    `timestamp` is in seconds since 1970, and signed with the body: an old message cannot be sent again as new.
    """
    text = f"{event}.{timestamp}.".encode() + body
    signed = []
    for secret in secrets:
        key = key_of(secret)
        if key is not None:
            digest = hmac.new(key, text, hashlib.sha256).digest()
            signed.append("v1," + base64.b64encode(digest).decode())
    return " ".join(signed)
