"""The client secret for signing in through Apple: a token that the account's private key signs."""

from __future__ import annotations

import re
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from groundplane.clock import unix_time
from groundplane.errors import REQUIRED, FieldError, Invalid

AUDIENCE = "https://appleid.apple.com"
MAX_DURATION_S = 15_777_000  # what Apple accepts: six months
ID_LENGTH = 10
MAX_KEY_BYTES = 10_000
PRIVATE_KEY = re.compile(r"\s*-----BEGIN PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END PRIVATE KEY-----\s*")

SHAPE = FieldError("validation_match_invalid", "Must be in a valid format.")
BAD_LENGTH = FieldError(
    "validation_length_invalid",
    f"The length must be exactly {ID_LENGTH}.",
    {"max": ID_LENGTH, "min": ID_LENGTH},
)
TOO_LONG = FieldError(
    "validation_max_less_equal_than_required",
    f"Must be no greater than {MAX_DURATION_S}.",
    {"threshold": MAX_DURATION_S},
)
TOO_SHORT = FieldError(
    "validation_min_greater_equal_than_required", "Must be no less than 1.", {"threshold": 1}
)


def form_errors(form: dict[str, Any]) -> dict[str, FieldError]:
    """Check the form; every key is required."""
    errors = {name: REQUIRED for name, value in form.items() if not value}
    for name in ("teamId", "keyId"):
        if form[name] and len(form[name].encode("utf-8", "replace")) != ID_LENGTH:
            errors[name] = BAD_LENGTH
    key: str = form["privateKey"]
    if key and (len(key) > MAX_KEY_BYTES or not PRIVATE_KEY.fullmatch(key)):
        errors["privateKey"] = SHAPE
    if form["duration"] < 0:
        errors["duration"] = TOO_SHORT
    elif form["duration"] > MAX_DURATION_S:
        errors["duration"] = TOO_LONG
    return errors


def apple_client_secret(form: dict[str, Any]) -> str:
    """Sign a secret that is good for `duration` seconds; raises Invalid."""
    if errors := form_errors(form):
        raise Invalid("Invalid client secret data.", errors)
    moment = int(unix_time())
    claims = {
        "aud": [AUDIENCE],
        "exp": moment + form["duration"],
        "iat": moment,
        "iss": form["teamId"],
        "sub": form["clientId"],
    }
    try:
        key = ECKey.import_key(form["privateKey"].strip())
        return jwt.encode({"alg": "ES256", "kid": form["keyId"]}, claims, key, algorithms=["ES256"])
    except (JoseError, ValueError, TypeError) as error:
        # The reason names the kind of failure, never the key.
        raise Invalid(f"Failed to generate client secret. Raw error: \n{type(error).__name__}.") from None
