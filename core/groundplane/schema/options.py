"""Options of auth collections, in the order and with the defaults of the wire (contract, collections §4)."""

from __future__ import annotations

from typing import Any

import msgspec

# The OAuth2 providers that can be configured, in the order in which they are offered.
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
