"""How one can sign in to a collection, as `auth-methods` shows it (contract, auth §6.1)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import urlencode

from groundplane.auth.providers import DEFAULTS
from groundplane.schema.collection import Collection
from groundplane.schema.options import AuthOptions, Provider
from groundplane.security.ids import secret

STATE_LENGTH = 30
VERIFIER_LENGTH = 43


def auth_methods(collection: Collection) -> dict[str, Any]:
    """The answer in the order of the wire; each call makes fresh states and verifiers."""
    options = collection.options or AuthOptions()
    identity_fields = list(options.password_auth.identity_fields) if options.password_auth.enabled else []
    providers: list[dict[str, Any]] = []
    if options.oauth2.enabled:
        providers = [
            shown for each in options.oauth2.providers if (shown := provider_method(each)) is not None
        ]
    return {
        "password": {"identityFields": identity_fields, "enabled": options.password_auth.enabled},
        "oauth2": {"providers": providers, "enabled": options.oauth2.enabled},
        "mfa": {
            "enabled": options.mfa.enabled,
            "duration": options.mfa.duration if options.mfa.enabled else 0,
        },
        "otp": {
            "enabled": options.otp.enabled,
            "duration": options.otp.duration if options.otp.enabled else 0,
        },
        # What clients of before asked for; a disabled OAuth2 is null there.
        "authProviders": [provider | {"logo": ""} for provider in providers]
        if options.oauth2.enabled
        else None,
        "usernamePassword": "username" in identity_fields,
        "emailPassword": "email" in identity_fields,
    }


def provider_method(provider: Provider) -> dict[str, Any] | None:
    """One provider with the address to send the user to; None for one that cannot be set up."""
    default = DEFAULTS.get(provider.name)
    if default is None:
        return None
    auth_url = provider.authURL or default.auth_url
    pkce = default.pkce if provider.pkce is None else provider.pkce
    state = secret(STATE_LENGTH)
    verifier = secret(VERIFIER_LENGTH) if pkce else ""
    challenge = s256(verifier) if pkce else ""
    method = "S256" if pkce else ""
    parameters = {"client_id": provider.clientId, "response_type": "code", "state": state}
    if pkce:
        parameters |= {"code_challenge": challenge, "code_challenge_method": method}
    if scopes := default.scopes_for(provider.extra or {}):
        parameters["scope"] = " ".join(scopes)
    if default.response_mode:
        parameters["response_mode"] = default.response_mode
    mark = "&" if "?" in auth_url else "?"
    # Clients append the address to come back to, so this must be the end.
    url = f"{auth_url}{mark}{urlencode(sorted(parameters.items()))}&redirect_uri="
    return {
        "name": provider.name,
        "displayName": provider.displayName or default.display_name or provider.name,
        "logo": default.logo,
        "state": state,
        "authURL": url,
        "authUrl": url,
        "codeVerifier": verifier,
        "codeChallenge": challenge,
        "codeChallengeMethod": method,
    }


def s256(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
