"""How one can sign in to a collection, as `auth-methods` shows it (contract, auth §6.1)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from groundplane.auth.openid import nonce_of
from groundplane.auth.providers import OAuthProvider, ProviderSettings
from groundplane.schema.collection import Collection
from groundplane.schema.options import AuthOptions
from groundplane.security.ids import secret

STATE_LENGTH = 30
VERIFIER_LENGTH = 43


def auth_methods(collection: Collection, providers: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The answer in the order of the wire; `providers` as `provider_method` makes them."""
    options = collection.options or AuthOptions()
    identity_fields = list(options.password_auth.identity_fields) if options.password_auth.enabled else []
    return {
        "password": {"identityFields": identity_fields, "enabled": options.password_auth.enabled},
        "oauth2": {"providers": list(providers), "enabled": options.oauth2.enabled},
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
        **own_methods(options),
    }


def own_methods(options: AuthOptions) -> dict[str, Any]:
    """The methods that only we have, as far as the collection has them: clients of PocketBase see no others."""
    found: dict[str, Any] = {}
    if options.totp.enabled:
        found["totp"] = {"enabled": True}
    if options.passkeys.enabled:
        found["passkeys"] = {"enabled": True}
    if options.magic_link.enabled:
        found["magicLink"] = {"enabled": True, "duration": options.magic_link.duration}
    return found


def provider_method(settings: ProviderSettings, known: OAuthProvider) -> dict[str, Any]:
    """One provider with the address to send the user to; each call makes a fresh state and verifier."""
    state = secret(STATE_LENGTH)
    verifier = secret(VERIFIER_LENGTH) if settings.pkce else ""
    challenge = s256(verifier) if settings.pkce else ""
    method = "S256" if settings.pkce else ""
    parameters = {"client_id": settings.client_id, "response_type": "code", "state": state}
    if settings.pkce:
        parameters |= {"code_challenge": challenge, "code_challenge_method": method}
    if settings.scopes:
        parameters["scope"] = " ".join(settings.scopes)
    if settings.nonce and verifier:
        parameters["nonce"] = nonce_of(verifier)
    parameters |= dict(settings.parameters)
    mark = "&" if "?" in settings.auth_url else "?"
    # Clients append the address to come back to, so this must be the end.
    url = f"{settings.auth_url}{mark}{urlencode(sorted(parameters.items()))}&redirect_uri="
    return {
        "name": settings.name,
        "displayName": settings.display_name,
        "logo": known.logo,
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
