"""Codes that change with the time (RFC 6238), as authenticator apps show them: SHA-1, six digits, 30 seconds."""

from __future__ import annotations

import base64
import hmac
import os
from urllib.parse import quote, urlencode

SECRET_BYTES = 20  # as long as the hash, as RFC 4226 §4 recommends
DIGITS = 6
STEP_S = 30
DRIFT = 1  # steps that the clock of a phone may be wrong


def new_secret() -> str:
    """A random secret as authenticator apps take it: base32."""
    return base64.b32encode(os.urandom(SECRET_BYTES)).decode()


def code_at(secret: str, step: int) -> str:
    """The code of one time step (RFC 4226 §5.3)."""
    digest = hmac.digest(base64.b32decode(secret), step.to_bytes(8), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def matching_step(secret: str, code: str, moment: float, after: int) -> int | None:
    """The step later than `after` whose code this is, at about `moment` (seconds since 1970); None for a wrong one.

    A code counts once: remember the step, and ask with it as `after` next time.
    """
    given = code.encode("utf-8", "replace")
    current = int(moment) // STEP_S
    found = None
    for step in range(current - DRIFT, current + DRIFT + 1):
        # Every code is compared, so that the time taken tells nothing.
        if hmac.compare_digest(code_at(secret, step).encode(), given) and step > after and found is None:
            found = step
    return found


def setup_url(secret: str, issuer: str, account: str) -> str:
    """What authenticator apps read from a QR code."""
    label = quote(f"{issuer.replace(':', ' ')}:{account}", safe="@:")
    fields = {"secret": secret, "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S}
    return f"otpauth://totp/{label}?{urlencode(fields, quote_via=quote)}"
