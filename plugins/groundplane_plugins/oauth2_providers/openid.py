"""Any provider that speaks OpenID Connect, and Apple and Microsoft, which do in their own ways."""

from __future__ import annotations

from typing import Any

import msgspec

from groundplane.auth.openid import Expected, OpenID, nonce_of
from groundplane.auth.providers import BadProfile, OAuthProvider, OAuthUser, OAuthVisit, ProviderSettings
from groundplane_plugins.oauth2_providers.logos import logo
from groundplane_plugins.oauth2_providers.reading import Answer, is_true, user_of

APPLE = "https://appleid.apple.com"
LONG_LEEWAY_S = 300  # as PocketBase gives


# Any OpenID Connect provider


def issuer_of(settings: ProviderSettings) -> str:
    issuer = settings.extra.get("issuer")
    return issuer if isinstance(issuer, str) else ""


async def discover(settings: ProviderSettings, openid: OpenID) -> ProviderSettings:
    """Fill in what the issuer says of itself, when the collection names one."""
    if not issuer_of(settings):
        return settings
    found = await openid.issuer(issuer_of(settings))
    return msgspec.structs.replace(
        settings,
        auth_url=settings.auth_url or found.authorization_endpoint,
        token_url=settings.token_url or found.token_endpoint,
        user_info_url=settings.user_info_url or found.userinfo_endpoint,
        keys_url=found.jwks_uri,
        issuers=(found.issuer,),
        nonce=settings.pkce,
    )


async def read_openid(visit: OAuthVisit) -> OAuthUser:
    settings = visit.settings
    raw: dict[str, Any]
    if issuer_of(settings):
        raw = await read_strictly(visit)
    elif settings.user_info_url:
        raw = await visit.user_info()
    else:
        given, keys_url = settings.extra.get("issuers"), settings.extra.get("jwksURL")
        issuers = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        expected = Expected(
            settings.client_id,
            tuple(each for each in issuers if isinstance(each, str)),
            leeway_s=LONG_LEEWAY_S,
        )
        raw = await visit.claims(expected, keys_url=keys_url if isinstance(keys_url, str) else "")
    return user_of(raw, "sub", "name", "preferred_username", "picture", "email", verified="email_verified")


async def read_strictly(visit: OAuthVisit) -> dict[str, Any]:
    """The claims of a token that is in every respect as the standard wants it, and what else the provider tells."""
    settings = visit.settings
    if not settings.keys_url:
        raise BadProfile("The issuer publishes no keys.")
    expected = Expected(
        settings.client_id,
        settings.issuers,
        nonce=nonce_of(visit.verifier) if settings.nonce else "",
        access_token=visit.access_token,
        is_strict=True,
    )
    claims = await visit.claims(expected, keys_url=settings.keys_url)
    if not settings.user_info_url:
        return claims
    told = await visit.user_info()
    if told.get("sub") != claims["sub"]:
        # Or a token of one person could be completed with the address of another (Core §5.3.2).
        raise BadProfile("The provider tells of somebody else than the ID token.")
    return claims | told


# Apple


async def read_apple(visit: OAuthVisit) -> OAuthUser:
    expected = Expected(visit.settings.client_id, (APPLE,), leeway_s=LONG_LEEWAY_S)
    claims = await visit.claims(expected, keys_url=visit.settings.keys_url)
    user = user_of(claims, "sub", "name", email="email", verified="email_verified")
    user.name = user.name or visit.name
    return user


async def with_apple_keys(settings: ProviderSettings, openid: OpenID) -> ProviderSettings:
    return msgspec.structs.replace(settings, keys_url=f"{APPLE}/auth/keys")


# Microsoft


async def with_openid(settings: ProviderSettings, openid: OpenID) -> ProviderSettings:
    """An address from the ID token needs one that has it."""
    if not settings.extra.get("idTokenEmailClaim"):
        return settings
    return msgspec.structs.replace(settings, scopes=(*settings.scopes, "openid"))


async def read_microsoft(visit: OAuthVisit) -> OAuthUser:
    user = user_of(await visit.user_info(), "id", "displayName", email="mail")
    wanted = visit.settings.extra.get("idTokenEmailClaim")
    if wanted not in EMAIL_CLAIMS:
        return user
    claims = Answer(await visit.claims())
    user.email = next(
        (address for name in EMAIL_CLAIMS[wanted] if (address := email_claim(claims, name))), ""
    )
    return user


# What a collection may name, and where to look then; anybody with a tenant of their own can choose `email`.
EMAIL_CLAIMS = {
    "any_verified": ("verified_primary_email", "email_and_xms_edov"),
    "verified_primary_email": ("verified_primary_email",),
    "email_and_xms_edov": ("email_and_xms_edov",),
    "email": ("email",),
}


def email_claim(claims: Answer, name: str) -> str:
    if name == "email_and_xms_edov":
        name = "email" if is_true(claims.at("xms_edov")) else ""
    value = claims.at(name) if name else None
    return value if isinstance(value, str) else ""


def openid_provider(name: str, order: int) -> OAuthProvider:
    return OAuthProvider(
        name=name,
        display_name="OIDC",
        read=read_openid,
        scopes=("openid", "email", "profile"),
        complete=discover,
        logo=logo("ID", "#b0470b"),
        order=order,
    )


PROVIDERS = (
    OAuthProvider(
        name="apple",
        display_name="Apple",
        read=read_apple,
        auth_url=f"{APPLE}/auth/authorize",
        token_url=f"{APPLE}/auth/token",
        scopes=("name", "email"),
        parameters=(("response_mode", "form_post"),),
        complete=with_apple_keys,
        logo=logo("A", "#000000"),
        order=1,
    ),
    OAuthProvider(
        name="microsoft",
        display_name="Microsoft",
        read=read_microsoft,
        auth_url="https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        token_url="https://login.microsoftonline.com/common/oauth2/v2.0/token",  # noqa: S106  # an address
        user_info_url="https://graph.microsoft.com/v1.0/me",
        scopes=("User.Read",),
        complete=with_openid,
        logo=logo("M", "#0067b8"),
        order=3,
    ),
    openid_provider("oidc", 99),
    openid_provider("oidc2", 99),
    openid_provider("oidc3", 99),
)
