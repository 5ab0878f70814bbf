"""The services that people can sign in with, and for each collection who of them may."""

from __future__ import annotations

from typing import Any

import msgspec

from groundplane.auth.providers import OAuthProvider
from groundplane.errors import Forbidden
from groundplane.hooks import hookimpl
from groundplane.hooks.events_oauth import OAuthLink, OAuthProfile
from groundplane.services import Services
from groundplane_plugins.oauth2_providers import addresses, catalogue, openid

API_VERSION = 1
NAME = "oauth2_providers"

OTHER_DOMAIN = "Only addresses of this organisation may sign in."
NOT_BY_EMAIL = "Sign in to your account first, then link it."


class CollectionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[plugins.oauth2_providers.collections.<name>]`.

    `allowed_domains`  what must stand behind the @ of an address that the provider has verified; any, if empty
    `link_by_email`    false: an account is linked only by whoever is signed in to it
    """

    allowed_domains: tuple[str, ...] = ()
    link_by_email: bool = True


def configured(services: Services, collection: str) -> CollectionConfig:
    plugin = services.plugins.get(NAME)
    found: Any = plugin.collections.get(collection) if plugin is not None else None
    return found or CollectionConfig()


@hookimpl
def register_oauth_providers() -> list[OAuthProvider]:
    return [*openid.PROVIDERS, *addresses.PROVIDERS, *catalogue.PROVIDERS]


@hookimpl
async def oauth_profile(event: OAuthProfile, services: Services) -> None:
    allowed = configured(services, event.collection.name).allowed_domains
    domain = event.user.email.rpartition("@")[2].lower()
    if allowed and domain not in {each.lower() for each in allowed}:
        raise Forbidden(OTHER_DOMAIN)


@hookimpl
async def oauth_link(event: OAuthLink, services: Services) -> None:
    if event.by == "email" and not configured(services, event.collection.name).link_by_email:
        raise Forbidden(NOT_BY_EMAIL)
