"""Providers of code hosting, which tell addresses apart from profiles, with what is known of each address."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from groundplane.auth.providers import BadProfile, OAuthProvider, OAuthUser, OAuthVisit
from groundplane_plugins.oauth2_providers.logos import logo
from groundplane_plugins.oauth2_providers.reading import Answer, user_of

# Somebody has not agreed to show the addresses, which is no reason to keep them out.
NOT_SHOWN = frozenset({401, 403, 404})
ADDRESS = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f]+")
GITEE_ADDRESSES = "https://gitee.com/api/v5/emails"


async def addresses(visit: OAuthVisit, url: str, is_wanted: Callable[[Answer], bool], path: str = "") -> str:
    """The first address of a list that is wanted; `path` is where the list is in the answer."""
    fetched = await visit.get(url)
    if fetched.status in NOT_SHOWN:
        return ""
    if fetched.status >= 400:
        raise BadProfile(f"The addresses were answered with {fetched.status}.")
    found: Any = fetched.json()
    answer = Answer(found if path and isinstance(found, dict) else {"list": found})
    for each in answer.objects(path or "list"):
        if is_wanted(each):
            return each.text("email")
    return ""


def beside(visit: OAuthVisit) -> str:
    """The address of the list of addresses, beside that of the user."""
    return f"{visit.settings.user_info_url.rstrip('/')}/emails"


def is_verified_primary(address: Answer) -> bool:
    return address.flag("verified") and address.flag("primary")


async def read_github(visit: OAuthVisit) -> OAuthUser:
    user = user_of(await visit.user_info(), "id", "name", "login", "avatar_url", number=True)
    user.email = await addresses(visit, beside(visit), is_verified_primary)
    return user


async def read_gitea(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    if not Answer(raw).flag("active"):
        raise BadProfile("The account is not active.")
    user = user_of(raw, "id", "full_name", "login", "avatar_url", number=True)
    user.email = await addresses(visit, beside(visit), is_verified_primary)
    return user


async def read_gitlab(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    user = user_of(raw, "id", "name", "username", "avatar_url", "email", number=True)
    if not is_moment(Answer(raw).text("confirmed_at")):
        user.email = ""
    return user


def is_moment(text: str) -> bool:
    """Whether this is a time of RFC 3339, which always has a zone."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None and "T" in text.upper()
    except ValueError:
        return False


async def read_bitbucket(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    if Answer(raw).text("account_status") != "active":
        raise BadProfile("The account is not active.")
    user = user_of(raw, "uuid", "display_name", "username", "links.avatar.href")

    def is_wanted(address: Answer) -> bool:
        return address.flag("is_primary") and address.flag("is_confirmed")

    user.email = await addresses(visit, beside(visit), is_wanted, "values")
    return user


async def read_gitee(visit: OAuthVisit) -> OAuthUser:
    user = user_of(await visit.user_info(), "id", "name", "login", "avatar_url", "email", number=True)
    if not ADDRESS.fullmatch(user.email):

        def is_wanted(address: Answer) -> bool:
            scopes = address.at("scope")
            return address.text("state") == "confirmed" and isinstance(scopes, list) and "primary" in scopes

        user.email = await addresses(visit, GITEE_ADDRESSES, is_wanted)
    return user


PROVIDERS = (
    OAuthProvider(
        name="github",
        display_name="GitHub",
        read=read_github,
        auth_url="https://github.com/login/oauth/authorize",
        token_url="https://github.com/login/oauth/access_token",  # noqa: S106  # an address
        user_info_url="https://api.github.com/user",
        scopes=("read:user", "user:email"),
        logo=logo("GH", "#24292f"),
        order=7,
    ),
    OAuthProvider(
        name="gitlab",
        display_name="GitLab",
        read=read_gitlab,
        auth_url="https://gitlab.com/oauth/authorize",
        token_url="https://gitlab.com/oauth/token",  # noqa: S106  # an address
        user_info_url="https://gitlab.com/api/v4/user",
        scopes=("read_user",),
        logo=logo("GL", "#c3370f"),
        order=8,
    ),
    OAuthProvider(
        name="bitbucket",
        display_name="Bitbucket",
        read=read_bitbucket,
        auth_url="https://bitbucket.org/site/oauth2/authorize",
        token_url="https://bitbucket.org/site/oauth2/access_token",  # noqa: S106  # an address
        user_info_url="https://api.bitbucket.org/2.0/user",
        scopes=("account",),
        pkce=False,
        logo=logo("B", "#0747a6"),
        order=9,
    ),
    OAuthProvider(
        name="gitee",
        display_name="Gitee",
        read=read_gitee,
        auth_url="https://gitee.com/oauth/authorize",
        token_url="https://gitee.com/oauth/token",  # noqa: S106  # an address
        user_info_url="https://gitee.com/api/v5/user",
        scopes=("user_info", "emails"),
        logo=logo("G", "#b8201f"),
        order=10,
    ),
    OAuthProvider(
        name="gitea",
        display_name="Gitea/Forgejo",
        read=read_gitea,
        auth_url="https://gitea.com/login/oauth/authorize",
        token_url="https://gitea.com/login/oauth/access_token",  # noqa: S106  # an address
        user_info_url="https://gitea.com/api/v1/user",
        scopes=("read:user", "user:email"),
        logo=logo("T", "#4c7a18"),
        order=11,
    ),
)
