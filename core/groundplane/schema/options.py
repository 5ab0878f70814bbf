"""Options of auth collections, in the order and with the defaults of the wire (contract, collections §4)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

# The OAuth2 providers that every installation knows by name, in the order in which they are offered.
PROVIDER_NAMES = (
    "apple",
    "google",
    "microsoft",
    "yandex",
    "facebook",
    "instagram2",
    "github",
    "gitlab",
    "bitbucket",
    "gitee",
    "gitea",
    "discord",
    "twitter",
    "kakao",
    "vk",
    "linear",
    "notion",
    "monday",
    "lark",
    "box",
    "spotify",
    "trakt",
    "twitch",
    "patreon",
    "strava",
    "wakatime",
    "livechat",
    "mailcow",
    "planningcenter",
    "oidc",
    "oidc2",
    "oidc3",
)

# Those that plugins of this process have added, and how often: tests run several servers in one.
_added: Counter[str] = Counter()


def is_provider_name(name: str) -> bool:
    """Whether an OAuth2 provider of this name can be configured."""
    return name in PROVIDER_NAMES or _added[name] > 0


def add_provider_name(name: str) -> None:
    _added[name] += 1


def remove_provider_name(name: str) -> None:
    _added[name] -= 1


class Template(msgspec.Struct, kw_only=True):
    subject: str = ""
    body: str = ""


class AuthAlert(msgspec.Struct, kw_only=True, rename="camel"):
    enabled: bool = True
    email_template: Template = msgspec.field(default_factory=Template)


class Provider(msgspec.Struct, kw_only=True):
    """One OAuth2 provider of a collection; `clientSecret` is never shown."""

    pkce: bool | None = None
    name: str = ""
    clientId: str = ""
    clientSecret: str = ""
    authURL: str = ""
    tokenURL: str = ""
    userInfoURL: str = ""
    displayName: str = ""
    extra: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Provider(name={self.name!r}, clientId={self.clientId!r}, …)"


class MappedFields(msgspec.Struct, kw_only=True):
    id: str = ""
    name: str = ""
    username: str = ""
    avatarURL: str = ""


class OAuth2(msgspec.Struct, kw_only=True):
    providers: list[Provider] = msgspec.field(default_factory=list)
    mappedFields: MappedFields = msgspec.field(default_factory=MappedFields)
    enabled: bool = False


class PasswordAuth(msgspec.Struct, kw_only=True, rename="camel"):
    enabled: bool = True
    identity_fields: list[str] = msgspec.field(default_factory=lambda: ["email"])


class MFA(msgspec.Struct, kw_only=True):
    enabled: bool = False
    duration: int = 600  # seconds
    rule: str = ""


class OTP(msgspec.Struct, kw_only=True, rename="camel"):
    enabled: bool = False
    duration: int = 180  # seconds
    length: int = 8
    email_template: Template = msgspec.field(default_factory=Template)


class TOTP(msgspec.Struct, kw_only=True):
    """Whether records may have a code generator (RFC 6238) as their second factor."""

    enabled: bool = False


class Passkeys(msgspec.Struct, kw_only=True):
    """Signing in with passkeys; `rpId` and `origins` "" and [] are those of the public address in the settings."""

    enabled: bool = False
    rpId: str = ""
    origins: list[str] = msgspec.field(default_factory=list)


class MagicLink(msgspec.Struct, kw_only=True, rename="camel"):
    """Signing in with a mailed link, which is good for `duration` seconds."""

    enabled: bool = False
    duration: int = 900
    email_template: Template = msgspec.field(default_factory=Template)


class TokenOptions(msgspec.Struct, kw_only=True):
    """`secret` is the collection's part of the signing key and never shown; `duration` is in seconds."""

    secret: str = ""
    duration: int = 0


class AuthOptions(msgspec.Struct, kw_only=True, rename="camel"):
    auth_rule: str | None = ""
    manage_rule: str | None = None
    auth_alert: AuthAlert = msgspec.field(default_factory=AuthAlert)
    oauth2: OAuth2 = msgspec.field(default_factory=OAuth2)
    password_auth: PasswordAuth = msgspec.field(default_factory=PasswordAuth)
    mfa: MFA = msgspec.field(default_factory=MFA)
    otp: OTP = msgspec.field(default_factory=OTP)
    auth_token: TokenOptions = msgspec.field(default_factory=TokenOptions)
    password_reset_token: TokenOptions = msgspec.field(default_factory=TokenOptions)
    email_change_token: TokenOptions = msgspec.field(default_factory=TokenOptions)
    verification_token: TokenOptions = msgspec.field(default_factory=TokenOptions)
    file_token: TokenOptions = msgspec.field(default_factory=TokenOptions)
    verification_template: Template = msgspec.field(default_factory=Template)
    reset_password_template: Template = msgspec.field(default_factory=Template)
    confirm_email_change_template: Template = msgspec.field(default_factory=Template)
    # Not PocketBase's: in the API's answers they are only there when they are not as here.
    totp: TOTP = msgspec.field(default_factory=TOTP)
    passkeys: Passkeys = msgspec.field(default_factory=Passkeys)
    magic_link: MagicLink = msgspec.field(default_factory=MagicLink)


OWN_OPTIONS = ("totp", "passkeys", "magicLink")
