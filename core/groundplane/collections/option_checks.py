"""What makes the options of an auth collection invalid, its rules aside (contract, collections §4)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from groundplane.errors import FieldError
from groundplane.schema import limits
from groundplane.schema.addresses import is_url
from groundplane.schema.collection import Collection
from groundplane.schema.indexes import is_single_unique
from groundplane.schema.options import (
    AuthOptions,
    MagicLink,
    OAuth2,
    Passkeys,
    PasswordAuth,
    Provider,
    Template,
    TokenOptions,
    is_provider_name,
)

SHORTEST_DURATION_S = 10
LONGEST_FLOW_S = 86_400  # a second factor or a one-time password
LONGEST_TOKEN_S = 94_670_856  # three years
SHORTEST_SECRET, LONGEST_SECRET = 30, 255
SHORTEST_OTP = 4

LONGEST_SITE = 253
SITE = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

NO_DOMAIN = FieldError("validation_is_domain", "Must be a valid domain.")
NO_URL = FieldError("validation_is_url", "Must be a valid URL.")
NOT_ENOUGH_METHODS = FieldError(
    "validation_mfa_not_enough_auths", "MFA requires at least 2 auth methods to be enabled."
)


def option_errors(collection: Collection, options: AuthOptions) -> dict[str, Any]:
    """Check the options; keys are those of the wire, only wrong ones are in the answer."""
    errors: dict[str, Any] = {
        "authAlert": nested("emailTemplate", template_errors(options.auth_alert.email_template)),
        "oauth2": oauth2_errors(options.oauth2),
        "passwordAuth": password_errors(collection, options.password_auth),
        "mfa": mfa_errors(options),
        "otp": otp_errors(options),
        "passkeys": passkey_errors(options.passkeys),
        "magicLink": magic_link_errors(options.magic_link),
        "authToken": token_errors(options.auth_token),
        "passwordResetToken": token_errors(options.password_reset_token),
        "emailChangeToken": token_errors(options.email_change_token),
        "verificationToken": token_errors(options.verification_token),
        "fileToken": token_errors(options.file_token),
        "verificationTemplate": template_errors(options.verification_template),
        "resetPasswordTemplate": template_errors(options.reset_password_template),
        "confirmEmailChangeTemplate": template_errors(options.confirm_email_change_template),
    }
    return {key: error for key, error in errors.items() if error}


def nested(key: str, errors: dict[str, Any]) -> dict[str, Any]:
    return {key: errors} if errors else {}


def template_errors(template: Template) -> dict[str, Any]:
    return limits.only_errors(
        {"subject": limits.required(template.subject), "body": limits.required(template.body)}
    )


def token_errors(token: TokenOptions) -> dict[str, Any]:
    return limits.only_errors(
        {
            "secret": limits.required(token.secret)
            or limits.length(token.secret, SHORTEST_SECRET, LONGEST_SECRET),
            "duration": limits.required(token.duration)
            or limits.between(token.duration, SHORTEST_DURATION_S, LONGEST_TOKEN_S),
        }
    )


def oauth2_errors(oauth2: OAuth2) -> dict[str, Any]:
    if not oauth2.enabled:
        return {}
    errors: dict[str, Any] = {}
    names: set[str] = set()
    for position, provider in enumerate(oauth2.providers):
        found = provider_errors(provider)
        if not found and provider.name in names:
            message = f"The provider {provider.name} is already registered."
            found = {"name": FieldError("validation_duplicated_provider", message, {"name": provider.name})}
        names.add(provider.name)
        if found:
            errors[str(position)] = found
    return nested("providers", errors)


def provider_errors(provider: Provider) -> dict[str, Any]:
    name = limits.required(provider.name)
    if name is None and not is_provider_name(provider.name):
        message = f"Invalid or missing provider with name {provider.name}."
        name = FieldError("validation_missing_provider", message, {"name": provider.name})
    return limits.only_errors(
        {
            "name": name,
            "clientId": limits.required(provider.clientId),
            "clientSecret": limits.required(provider.clientSecret),
            "authURL": url_error(provider.authURL),
            "tokenURL": url_error(provider.tokenURL),
            "userInfoURL": url_error(provider.userInfoURL),
        }
    )


def url_error(url: str) -> FieldError | None:
    return None if not url or is_url(url) else NO_URL


def password_errors(collection: Collection, options: PasswordAuth) -> dict[str, Any]:
    """Check that every identity field exists and that at most one record can have a given value."""
    if not options.enabled:
        return {}
    error = limits.required(options.identity_fields)
    for name in options.identity_fields:
        if collection.field(name) is None:
            message = f"Invalid or missing field {name}."
            error = FieldError("validation_missing_field", message, {"fieldName": name})
        elif not is_single_unique(collection, name):
            message = f"The field {name} doesn't have a UNIQUE constraint."
            error = FieldError("validation_missing_unique_constraint", message, {"fieldName": name})
        if error is not None:
            break
    return limits.only_errors({"identityFields": error})


def mfa_errors(options: AuthOptions) -> dict[str, Any]:
    mfa = options.mfa
    if not mfa.enabled:
        return {}
    methods = (
        options.password_auth.enabled,
        options.oauth2.enabled,
        options.otp.enabled or options.magic_link.enabled,  # both prove the same mailbox
        options.totp.enabled,
        options.passkeys.enabled,
    )
    return limits.only_errors(
        {
            "enabled": NOT_ENOUGH_METHODS if sum(methods) < 2 else None,
            "duration": limits.required(mfa.duration)
            or limits.between(mfa.duration, SHORTEST_DURATION_S, LONGEST_FLOW_S),
        }
    )


def otp_errors(options: AuthOptions) -> dict[str, Any]:
    otp = options.otp
    errors: dict[str, Any] = nested("emailTemplate", template_errors(otp.email_template))
    if otp.enabled:
        errors |= limits.only_errors(
            {
                "duration": limits.required(otp.duration)
                or limits.between(otp.duration, SHORTEST_DURATION_S, LONGEST_FLOW_S),
                "length": limits.required(otp.length) or limits.at_least(otp.length, SHORTEST_OTP),
            }
        )
    return errors


def passkey_errors(passkeys: Passkeys) -> dict[str, Any]:
    """Check the site's name and the pages that may use its passkeys; pages without TLS only on this machine."""
    name = passkeys.rpId
    wrong = [origin for origin in passkeys.origins if not is_origin(origin, name)]
    return limits.only_errors(
        {
            "rpId": NO_DOMAIN if name and not is_site(name) else None,
            "origins": NO_URL if wrong else None,
        }
    )


def is_site(name: str) -> bool:
    return SITE.fullmatch(name) is not None and len(name) <= LONGEST_SITE


def is_origin(origin: str, site: str) -> bool:
    """Whether it is an address without a path, on the site or below it."""
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        spelled = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return False
    if spelled != origin or not is_site(host):
        return False
    if parts.scheme != "https" and not (parts.scheme == "http" and host == "localhost"):
        return False
    return not site or host == site or host.endswith(f".{site}")


def magic_link_errors(link: MagicLink) -> dict[str, Any]:
    if not link.enabled:
        return {}
    errors: dict[str, Any] = nested("emailTemplate", template_errors(link.email_template))
    errors |= limits.only_errors(
        {
            "duration": limits.required(link.duration)
            or limits.between(link.duration, SHORTEST_DURATION_S, LONGEST_FLOW_S)
        }
    )
    return errors
