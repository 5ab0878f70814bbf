"""Plugins at the sign-in with other services: providers of their own, a say in profiles and in links."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.auth.oauth_site import OAuthSite, open_site

from groundplane.auth.providers import BadProfile, OAuthProvider, OAuthUser, OAuthVisit
from groundplane.errors import Forbidden
from groundplane.hooks import hookimpl
from groundplane.hooks.events_oauth import OAuthLink, OAuthProfile
from groundplane.schema.options import is_provider_name
from groundplane.services import Services
from groundplane.testing.plugins import load_plugins, make_plugin
from groundplane_plugins import oauth2_providers

SiteWith: TypeAlias = "Callable[..., Awaitable[OAuthSite]]"
ANN = {"email": "ann@example.com", "email_verified": True, "name": "Ann"}


@pytest.fixture
async def site_with(server_database_url: str, tmp_path: Path) -> AsyncIterator[SiteWith]:
    """`await site_with(module, …, providers={…})` runs a server with these plugins beside the bundled providers."""
    async with AsyncExitStack() as stack:

        async def start(*modules: Any, **sections: dict[str, Any]) -> OAuthSite:
            loaded = load_plugins([oauth2_providers, *modules], sections)
            return await stack.enter_async_context(open_site(str(tmp_path), server_database_url, loaded))

        yield start


async def read_member(visit: OAuthVisit) -> OAuthUser:
    found = await visit.user_info({"X-Club": visit.settings.extra.get("club", "")})
    if not found.get("member"):
        raise BadProfile("Only members have an account.")
    return OAuthUser(id=found["sub"], name=found["name"], email=found["email"], raw=found)


def club(**changed: Any) -> Any:
    provider = OAuthProvider(**{"name": "club", "display_name": "The Club", "read": read_member} | changed)

    @hookimpl
    def register_oauth_providers() -> Sequence[OAuthProvider]:
        return [provider]

    return make_plugin("club", register_oauth_providers)


async def test_a_plugins_provider_is_configured_offered_and_signed_in_with(site_with: SiteWith) -> None:
    site = await site_with(club(scopes=("members",), pkce=False, order=0))
    people = await site.collection(
        [site.configured("club", extra={"club": "chess"})], mapped={"name": "name"}
    )
    methods = (await site.client.get(f"/api/collections/{people}/auth-methods")).json()
    [shown] = methods["oauth2"]["providers"]
    assert (shown["name"], shown["displayName"], shown["codeVerifier"]) == ("club", "The Club", "")
    assert "scope=members&" in shown["authURL"]
    made = await site.signed_in(people, site.provider.code_for("m1", member=True, **ANN), "club")
    assert (made["record"]["name"], made["record"]["verified"]) == ("Ann", True)
    assert site.provider.asked[-1].headers["x-club"] == "chess"
    assert await site.links(people, made["record"]["id"]) == [("club", "m1")]
    refused = await site.sign_in(people, site.provider.code_for("m2", **ANN), "club")
    assert refused.json()["message"] == "Failed to fetch OAuth2 user."
    root = {"Authorization": await site.server.superuser_token()}
    listed = (await site.client.get("/api/collections/meta/oauth2-providers", headers=root)).json()
    assert [each["name"] for each in listed[:3]] == ["club", "apple", "google"]


async def test_a_name_of_a_provider_is_known_as_long_as_its_server_runs(
    server_database_url: str, tmp_path: Path
) -> None:
    assert not is_provider_name("club")
    async with open_site(str(tmp_path), server_database_url, load_plugins([club()], {})) as site:
        assert is_provider_name("club")
        await site.collection([site.configured("club")])
    assert not is_provider_name("club")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"name": "google"}, "oauth2_providers has a provider named google already"),
        ({"name": "a b"}, "'a b' is no name"),
        ({"name": ""}, "'' is no name"),
    ],
)
async def test_a_plugin_with_an_impossible_provider_is_broken(
    site_with: SiteWith, changed: dict[str, Any], reason: str
) -> None:
    site = await site_with(club(**changed))
    [broken] = site.services.plugins.broken
    assert (broken.name, reason in broken.reason) == ("club", True)


@pytest.mark.parametrize("answer", [None, [1], "google"])
async def test_a_plugin_that_registers_something_else_is_broken(site_with: SiteWith, answer: Any) -> None:
    @hookimpl
    def register_oauth_providers() -> Any:
        return answer

    site = await site_with(make_plugin("strange", register_oauth_providers))
    assert [each.name for each in site.services.plugins.broken] == ["strange"]
    await site.signed_in(await site.collection(), site.provider.code_for("ann", **ANN))


async def test_a_plugin_changes_a_profile_before_anybody_is_looked_for(site_with: SiteWith) -> None:
    @hookimpl
    async def oauth_profile(event: OAuthProfile) -> None:
        event.user.id = f"{event.provider}:{event.user.id}"
        event.user.name = event.user.name.upper()

    site = await site_with(make_plugin("shouting", oauth_profile))
    people = await site.collection(mapped={"name": "name"})
    made = await site.signed_in(people, site.provider.code_for("ann", **ANN))
    assert made["record"]["name"] == "ANN"
    assert await site.links(people, made["record"]["id"]) == [("oidc", "oidc:ann")]
    again = await site.signed_in(people, site.provider.code_for("ann", **ANN))
    assert again["record"]["id"] == made["record"]["id"]


async def test_a_plugin_refuses_profiles_and_links_in_its_own_words(site_with: SiteWith) -> None:
    seen: list[tuple[str, str]] = []

    @hookimpl
    async def oauth_profile(event: OAuthProfile) -> None:
        if event.user.name == "Eve":
            raise Forbidden("Not Eve.")

    @hookimpl
    async def oauth_link(event: OAuthLink, services: Services) -> None:
        seen.append((event.by, event.record["email"]))
        if event.user.name == "Bob":
            raise Forbidden("Not Bob.")

    site = await site_with(make_plugin("strict", oauth_profile, oauth_link))
    people = await site.collection()
    eve = await site.sign_in(people, site.provider.code_for(**ANN | {"name": "Eve"}))
    assert (eve.status_code, eve.json()["message"]) == (403, "Not Eve.")
    bob = await site.sign_in(people, site.provider.code_for(**ANN | {"name": "Bob"}))
    assert (bob.status_code, bob.json()["message"]) == (403, "Not Bob.")
    # Nothing is left of the account that was made only for the link.
    found = site.services.schema.current.find(people)
    assert await site.services.records.find_one(found, 'r."email" = $1', ANN["email"]) is None
    ann = await site.signed_in(people, site.provider.code_for("ann", **ANN))
    await site.signed_in(people, site.provider.code_for("ann", **ANN))
    await site.signed_in(people, site.provider.code_for("ann", **ANN), "oidc2")
    for _, _ in await site.links(people, ann["record"]["id"]):
        await site.services.db.execute('DELETE FROM "_externalAuths"')
    await site.signed_in(people, site.provider.code_for("x"), "oidc2", token=ann["token"])
    assert [by for by, _ in seen] == ["sign_up", "sign_up", "email", "caller"]
    assert {email for _, email in seen} == {"ann@example.com"}


async def test_a_collection_is_for_the_domains_of_an_organisation(site_with: SiteWith) -> None:
    staff = {"collections": {"people1": {"allowed_domains": ["Example.com"]}}}
    site = await site_with(oauth2_providers=staff)
    people, others = await site.collection(), await site.collection()
    for email, verified in (
        ("eve@evil.example", True),
        ("eve@sub.example.com", True),
        ("eve@example.com.evil.example", True),
        ("eve@example.com", False),
    ):
        profile = {"email": email, "email_verified": verified}
        answer = await site.sign_in(people, site.provider.code_for(**profile))
        assert answer.status_code == 403
        assert answer.json()["message"] == "Only addresses of this organisation may sign in."
    await site.signed_in(people, site.provider.code_for(**ANN | {"email": "ann@EXAMPLE.com"}))
    await site.signed_in(others, site.provider.code_for(**ANN | {"email": "eve@evil.example"}))


async def test_a_collection_links_accounts_only_for_those_who_are_signed_in(site_with: SiteWith) -> None:
    site = await site_with(oauth2_providers={"collections": {"people1": {"link_by_email": False}}})
    people = await site.collection()
    made = await site.sign_up(people, "ann@example.com")
    answer = await site.sign_in(people, site.provider.code_for("ann", **ANN))
    assert (answer.status_code, answer.json()["message"]) == (
        403,
        "Sign in to your account first, then link it.",
    )
    signed_in = (await site.with_password(people, "ann@example.com")).json()
    linked = await site.signed_in(people, site.provider.code_for("ann", **ANN), token=signed_in["token"])
    assert linked["record"]["id"] == made["id"]
    await site.signed_in(people, site.provider.code_for("ann", **ANN))


async def test_without_the_bundled_plugin_its_providers_can_be_configured_but_are_not_offered(
    server_database_url: str, tmp_path: Path
) -> None:
    async with open_site(str(tmp_path), server_database_url, load_plugins([], {})) as site:
        people = await site.collection()
        methods = (await site.client.get(f"/api/collections/{people}/auth-methods")).json()
        assert methods["oauth2"] == {"providers": [], "enabled": True}
        answer = await site.sign_in(people, site.provider.code_for("ann", **ANN))
        assert answer.json()["data"]["provider"]["code"] == "validation_invalid_provider"
