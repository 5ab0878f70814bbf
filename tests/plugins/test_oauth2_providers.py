"""Each provider's answer, in the shape that its documentation shows, to the profile that comes of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest

from groundplane.auth.openid import OpenID
from groundplane.auth.providers import (
    BadProfile,
    OAuthProvider,
    OAuthUser,
    OAuthVisit,
    Providers,
    ProviderSettings,
)
from groundplane.outgoing.addresses import Reach
from groundplane.outgoing.client import Client, Fetched
from groundplane.schema.options import PROVIDER_NAMES, Provider
from groundplane_plugins.oauth2_providers import register_oauth_providers

KNOWN: dict[str, OAuthProvider] = {each.name: each for each in register_oauth_providers()}
MAIL = "ann@example.com"
LEAVE_OUT = object()


class Case(msgspec.Struct, frozen=True):
    """`answer` is the provider's; `verified` is where it says so, and `tokens` what came with the token."""

    answer: dict[str, Any]
    user: tuple[str, str, str, str, str]  # id, name, username, avatar, email
    verified: str = ""
    tokens: dict[str, Any] = {}
    more: dict[str, Any] = {}  # further addresses that are asked


CASES: dict[str, Case] = {
    "google": Case(
        {
            "sub": "110169484474386276334",
            "name": "Ann Example",
            "given_name": "Ann",
            "family_name": "Example",
            "picture": "https://lh3.googleusercontent.com/a/x",
            "email": MAIL,
            "email_verified": True,
            "locale": "en",
        },
        ("110169484474386276334", "Ann Example", "", "https://lh3.googleusercontent.com/a/x", MAIL),
        "email_verified",
    ),
    "microsoft": Case(
        {
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/$entity",
            "businessPhones": ["+1 425 555 0109"],
            "displayName": "Ann Example",
            "id": "87d349ed-44d7-43e1-9a83-5f2406dee5bd",
            "jobTitle": None,
            "mail": MAIL,
            "userPrincipalName": "ann@tenant.example",
        },
        ("87d349ed-44d7-43e1-9a83-5f2406dee5bd", "Ann Example", "", "", MAIL),
    ),
    "yandex": Case(
        {
            "id": "1000034426",
            "login": "ann",
            "client_id": "4760187d81bc4b7799476b42b5103713",
            "real_name": "Ann Example",
            "first_name": "Ann",
            "default_email": MAIL,
            "emails": [MAIL],
            "default_avatar_id": "131652443",
            "is_avatar_empty": False,
        },
        (
            "1000034426",
            "Ann Example",
            "ann",
            "https://avatars.yandex.net/get-yapic/131652443/islands-200",
            MAIL,
        ),
    ),
    "facebook": Case(
        {
            "id": "10210000000000001",
            "name": "Ann Example",
            "email": MAIL,
            "picture": {
                "data": {"height": 200, "is_silhouette": False, "url": "https://f.example/a", "width": 200}
            },
        },
        ("10210000000000001", "Ann Example", "", "https://f.example/a", MAIL),
    ),
    "instagram2": Case(
        {
            "id": "17841405",
            "user_id": "17841400",
            "username": "ann",
            "name": "Ann Example",
            "account_type": "BUSINESS",
            "profile_picture_url": "https://i.example/a",
            "followers_count": 5,
            "follows_count": 6,
            "media_count": 7,
        },
        ("17841400", "Ann Example", "ann", "https://i.example/a", ""),
        tokens={"permissions": ["instagram_business_basic"]},
    ),
    "github": Case(
        {
            "login": "ann",
            "id": 583231,
            "node_id": "MDQ6VXNlcjE=",
            "avatar_url": "https://avatars.githubusercontent.com/u/583231?v=4",
            "name": "Ann Example",
            "email": "public@example.com",
            "site_admin": False,
        },
        (
            "583231",
            "Ann Example",
            "ann",
            "https://avatars.githubusercontent.com/u/583231?v=4",
            MAIL,
        ),
        more={
            "https://api.github.com/user/emails": [
                {"email": "old@example.com", "verified": True, "primary": False, "visibility": None},
                {"email": MAIL, "verified": True, "primary": True, "visibility": "public"},
            ]
        },
        verified="https://api.github.com/user/emails#1.verified",
    ),
    "gitlab": Case(
        {
            "id": 1,
            "username": "ann",
            "name": "Ann Example",
            "state": "active",
            "avatar_url": "https://gitlab.example/a.jpg",
            "email": MAIL,
            "confirmed_at": "2012-05-23T09:05:22.000Z",
        },
        ("1", "Ann Example", "ann", "https://gitlab.example/a.jpg", MAIL),
    ),
    "bitbucket": Case(
        {
            "uuid": "{470c176d-3574-44ea-bb41-89e8638bcca4}",
            "display_name": "Ann Example",
            "username": "ann",
            "account_status": "active",
            "links": {"avatar": {"href": "https://bitbucket.example/a"}, "self": {"href": "https://x"}},
        },
        ("{470c176d-3574-44ea-bb41-89e8638bcca4}", "Ann Example", "ann", "https://bitbucket.example/a", MAIL),
        more={
            "https://api.bitbucket.org/2.0/user/emails": {
                "values": [
                    {"email": "old@example.com", "is_primary": False, "is_confirmed": True},
                    {"email": MAIL, "is_primary": True, "is_confirmed": True, "type": "email"},
                ],
                "size": 2,
            }
        },
        verified="https://api.bitbucket.org/2.0/user/emails#values.1.is_confirmed",
    ),
    "gitee": Case(
        {
            "id": 123456,
            "login": "ann",
            "name": "Ann Example",
            "avatar_url": "https://gitee.example/a.png",
            "email": "Not public",
        },
        ("123456", "Ann Example", "ann", "https://gitee.example/a.png", MAIL),
        more={
            "https://gitee.com/api/v5/emails": [
                {"email": "old@example.com", "state": "confirmed", "scope": ["committed"]},
                {"email": MAIL, "state": "confirmed", "scope": ["primary", "notified"]},
            ]
        },
    ),
    "gitea": Case(
        {
            "id": 42,
            "login": "ann",
            "full_name": "Ann Example",
            "email": "ann@noreply.gitea.example",
            "avatar_url": "https://gitea.example/a",
            "active": True,
        },
        ("42", "Ann Example", "ann", "https://gitea.example/a", MAIL),
        more={
            "https://gitea.com/api/v1/user/emails": [
                {"email": MAIL, "verified": True, "primary": True, "user_id": 42}
            ]
        },
        verified="https://gitea.com/api/v1/user/emails#0.verified",
    ),
    "discord": Case(
        {
            "id": "80351110224678912",
            "username": "ann",
            "discriminator": "1337",
            "global_name": None,
            "avatar": "8342729096ea3675442027381ff50dfe",
            "verified": True,
            "email": MAIL,
            "flags": 64,
        },
        (
            "80351110224678912",
            "ann#1337",
            "ann",
            "https://cdn.discordapp.com/avatars/80351110224678912/8342729096ea3675442027381ff50dfe.png",
            MAIL,
        ),
        "verified",
    ),
    "twitter": Case(
        {
            "data": {
                "id": "2244994945",
                "name": "Ann Example",
                "username": "ann",
                "profile_image_url": "https://pbs.example/a.jpg",
                "confirmed_email": MAIL,
            }
        },
        ("2244994945", "Ann Example", "ann", "https://pbs.example/a.jpg", MAIL),
    ),
    "kakao": Case(
        {
            "id": 123456789,
            "connected_at": "2022-04-11T01:45:28Z",
            "properties": {"nickname": "Ann", "profile_image": "https://k.example/a.jpg"},
            "kakao_account": {
                "has_email": True,
                "is_email_valid": True,
                "is_email_verified": True,
                "email": MAIL,
            },
        },
        ("123456789", "", "Ann", "https://k.example/a.jpg", MAIL),
        "kakao_account.is_email_verified",
    ),
    "vk": Case(
        {
            "response": [
                {
                    "id": 743784474,
                    "screen_name": "ann",
                    "photo_max": "https://vk.example/a.jpg",
                    "first_name": "Ann",
                    "last_name": "Example",
                }
            ]
        },
        ("743784474", "Ann Example", "ann", "https://vk.example/a.jpg", MAIL),
        tokens={"user_id": 743784474, "email": MAIL},
    ),
    "linear": Case(
        {
            "data": {
                "viewer": {
                    "id": "f4a6-1",
                    "displayName": "ann",
                    "name": "Ann Example",
                    "email": MAIL,
                    "avatarUrl": "https://linear.example/a",
                    "active": True,
                }
            }
        },
        ("f4a6-1", "Ann Example", "ann", "https://linear.example/a", MAIL),
    ),
    "notion": Case(
        {
            "object": "user",
            "id": "16d84278-ab0e-484c-9bdd-b35da3bd8905",
            "type": "bot",
            "bot": {
                "owner": {
                    "type": "user",
                    "user": {
                        "object": "user",
                        "id": "5389a034-eb5c-47b5-8a9e-f79c99ef166c",
                        "name": "Ann Example",
                        "avatar_url": None,
                        "type": "person",
                        "person": {"email": MAIL},
                    },
                }
            },
        },
        ("5389a034-eb5c-47b5-8a9e-f79c99ef166c", "Ann Example", "", "", MAIL),
    ),
    "monday": Case(
        {
            "data": {
                "me": {
                    "id": "4012689",
                    "enabled": True,
                    "name": "Ann Example",
                    "email": MAIL,
                    "is_verified": True,
                    "photo_small": "https://monday.example/a",
                }
            },
            "account_id": 1,
        },
        ("4012689", "Ann Example", "", "https://monday.example/a", MAIL),
        "data.me.is_verified",
    ),
    "lark": Case(
        {
            "code": 0,
            "msg": "success",
            "data": {
                "name": "Ann Example",
                "en_name": "Ann",
                "avatar_url": "https://lark.example/a",
                "open_id": "ou-x",
                "union_id": "on-d89jhsdhjsajkda",
                "email": MAIL,
            },
        },
        ("on-d89jhsdhjsajkda", "Ann Example", "", "https://lark.example/a", ""),
    ),
    "box": Case(
        {
            "type": "user",
            "id": "11446498",
            "name": "Ann Example",
            "login": MAIL,
            "status": "active",
            "avatar_url": "https://box.example/a",
        },
        ("11446498", "Ann Example", "", "https://box.example/a", MAIL),
    ),
    "spotify": Case(
        {
            "display_name": "Ann Example",
            "id": "ann",
            "email": MAIL,
            "images": [{"url": "https://s.example/a", "height": 300, "width": 300}],
            "type": "user",
        },
        ("ann", "Ann Example", "", "https://s.example/a", ""),
    ),
    "trakt": Case(
        {
            "user": {
                "username": "ann",
                "private": False,
                "name": "Ann Example",
                "ids": {"slug": "ann", "uuid": "b6589fc6"},
                "images": {"avatar": {"full": "https://t.example/a"}},
            },
            "account": {"timezone": "UTC"},
        },
        ("b6589fc6", "Ann Example", "ann", "https://t.example/a", ""),
    ),
    "twitch": Case(
        {
            "data": [
                {
                    "id": "141981764",
                    "login": "ann",
                    "display_name": "Ann",
                    "profile_image_url": "https://tw.example/a.png",
                    "email": MAIL,
                }
            ]
        },
        ("141981764", "Ann", "ann", "https://tw.example/a.png", MAIL),
    ),
    "patreon": Case(
        {
            "data": {
                "id": "12345",
                "type": "user",
                "attributes": {
                    "email": MAIL,
                    "full_name": "Ann Example",
                    "image_url": "https://p.example/a",
                    "is_email_verified": True,
                    "vanity": "ann",
                },
            },
            "links": {"self": "https://www.patreon.com/api/oauth2/v2/user/12345"},
        },
        ("12345", "Ann Example", "ann", "https://p.example/a", MAIL),
        "data.attributes.is_email_verified",
    ),
    "strava": Case(
        {
            "id": 1234567890987654,
            "username": "ann",
            "firstname": "Ann",
            "lastname": "Example",
            "profile": "https://st.example/a",
        },
        ("1234567890987654", "Ann Example", "ann", "https://st.example/a", ""),
    ),
    "wakatime": Case(
        {
            "data": {
                "id": "5dca-1",
                "display_name": "Ann Example",
                "username": "ann",
                "email": MAIL,
                "is_email_confirmed": True,
                "photo": "https://w.example/a",
                "photo_public": True,
            }
        },
        ("5dca-1", "Ann Example", "ann", "https://w.example/a", MAIL),
        "data.is_email_confirmed",
    ),
    "livechat": Case(
        {
            "account_id": "d24fa41e",
            "email": MAIL,
            "email_verified": True,
            "name": "Ann Example",
            "avatar_url": "https://l.example/a",
        },
        ("d24fa41e", "Ann Example", "", "https://l.example/a", MAIL),
        "email_verified",
    ),
    "mailcow": Case(
        {
            "success": True,
            "username": MAIL,
            "id": MAIL,
            "email": MAIL,
            "full_name": "Ann Example",
            "active": 1,
        },
        (MAIL, "Ann Example", "ann", "", MAIL),
    ),
    "planningcenter": Case(
        {
            "data": {
                "type": "Person",
                "id": "1",
                "attributes": {
                    "name": "Ann Example",
                    "avatar": "https://pc.example/a",
                    "status": "active",
                },
            }
        },
        ("1", "Ann Example", "", "https://pc.example/a", ""),
    ),
    "oidc": Case(
        {
            "sub": "248289761001",
            "name": "Ann Example",
            "preferred_username": "ann",
            "picture": "https://o.example/a",
            "email": MAIL,
            "email_verified": True,
        },
        ("248289761001", "Ann Example", "ann", "https://o.example/a", MAIL),
        "email_verified",
    ),
}


class Recorded(Client):
    """Answers with what was recorded, and keeps what was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(Reach())
        self.answers = answers
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    async def get(self, url: str, headers: Any = None, **_: Any) -> Fetched:
        return self._told("GET", url, headers or {}, b"")

    async def post(self, url: str, headers: Any, body: bytes, **_: Any) -> Fetched:
        return self._told("POST", url, headers, body)

    def _told(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Fetched:
        self.asked.append((method, url, dict(headers), body))
        answer = self.answers[url]
        if isinstance(answer, int):
            return Fetched(answer, "application/json", b"{}")
        return Fetched(200, "application/json", json.dumps(answer).encode())


class Claims(OpenID):
    """Believes any ID token to have these claims, and keeps what was expected."""

    def __init__(self, claims: dict[str, Any]) -> None:
        super().__init__(Client(Reach()))
        self.told = claims
        self.expected: list[Any] = []

    async def claims(self, token: str, expected: Any, keys_url: str = "") -> dict[str, Any]:
        self.expected.append((expected, keys_url))
        return self.told


def user_url(name: str) -> str:
    return KNOWN[name].user_info_url or "https://configured.example/me"


async def settings_of(name: str, extra: dict[str, Any] | None = None) -> ProviderSettings:
    providers = Providers(Client(Reach()))
    providers.register("oauth2_providers", register_oauth_providers())
    try:
        url = "" if KNOWN[name].user_info_url else user_url(name)
        given = Provider(name=name, clientId="client", userInfoURL=url, extra=extra)
        return await providers.settings(given)
    finally:
        await providers.close()


async def read(
    name: str,
    answer: Any,
    tokens: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
    told_name: str = "",
) -> tuple[OAuthUser, Recorded]:
    client = Recorded({user_url(name): answer, **(more or {})})
    visit = OAuthVisit(
        await settings_of(name, extra),
        {"access_token": "token", "id_token": "a.b.c", **(tokens or {})},
        client=client,
        openid=Claims(claims or {}),
        name=told_name,
    )
    return await KNOWN[name].read(visit), client


def shown(user: OAuthUser) -> tuple[str, str, str, str, str]:
    return user.id, user.name, user.username, user.avatar_url, user.email


def with_value(found: Any, path: str, value: Any) -> Any:
    """A copy with another value at a path, or without it."""
    changed = copy.deepcopy(found)
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner = changed
    for part in way:
        inner = inner[part]
    if value is LEAVE_OUT:
        del inner[last]
    else:
        inner[last] = value
    return changed


def changed_case(case: Case, value: Any) -> tuple[Any, dict[str, Any]]:
    """The answers with another word at the place where the address is called verified."""
    url, mark, path = case.verified.rpartition("#")
    if not mark:
        return with_value(case.answer, path, value), case.more
    return case.answer, case.more | {url: with_value(case.more[url], path, value)}


def test_every_provider_of_the_contract_is_there_in_its_order() -> None:
    ordered = sorted(KNOWN.values(), key=lambda each: (each.order, each.name))
    assert tuple(each.name for each in ordered) == PROVIDER_NAMES
    assert set(CASES) | {"apple", "oidc2", "oidc3"} == set(PROVIDER_NAMES)
    for each in ordered:
        assert each.logo.startswith("<svg ")
        assert "script" not in each.logo


@pytest.mark.parametrize("name", CASES)
async def test_the_answer_of(name: str) -> None:
    case = CASES[name]
    user, client = await read(name, case.answer, case.tokens, case.more)
    assert shown(user) == case.user
    for key, value in case.answer.items():
        assert user.raw[key] == value
    for _, _, headers, _ in client.asked:
        assert headers["Authorization"] == "Bearer token"


VERIFYING = [name for name, case in CASES.items() if case.verified]


@pytest.mark.parametrize("name", VERIFYING)
@pytest.mark.parametrize("value", [False, None, LEAVE_OUT], ids=["false", "null", "missing"])
async def test_an_address_that_is_not_called_verified_is_none(name: str, value: Any) -> None:
    case = CASES[name]
    answer, more = changed_case(case, value)
    user, _ = await read(name, answer, case.tokens, more)
    assert shown(user) == (*case.user[:4], "")


NUMBERED = {"github", "gitea", "gitee", "gitlab", "kakao", "strava", "vk"}
IDS = {
    "vk": "response.0.id",
    "twitter": "data.id",
    "linear": "data.viewer.id",
    "notion": "bot.owner.user.id",
    "monday": "data.me.id",
    "lark": "data.union_id",
    "trakt": "user.ids.uuid",
    "twitch": "data.0.id",
    "patreon": "data.id",
    "wakatime": "data.id",
    "livechat": "account_id",
    "planningcenter": "data.id",
    "bitbucket": "uuid",
    "google": "sub",
    "oidc": "sub",
    "instagram2": "user_id",
}


@pytest.mark.parametrize("name", CASES)
async def test_an_id_is_of_its_own_type_or_nobodys(name: str) -> None:
    case, path = CASES[name], IDS.get(name, "id")
    for wrong in ("text" if name in NUMBERED else 12345, True, ["a"], {"a": 1}, 1.5):
        with pytest.raises(BadProfile):
            await read(name, with_value(case.answer, path, wrong), case.tokens, case.more)
    for nobody in (None, LEAVE_OUT, 0 if name in NUMBERED else ""):
        user, _ = await read(name, with_value(case.answer, path, nobody), case.tokens, case.more)
        assert user.id == ""


INACTIVE: dict[str, tuple[str, Any]] = {
    "bitbucket": ("account_status", "closed"),
    "gitea": ("active", False),
    "linear": ("data.viewer.active", False),
    "monday": ("data.me.enabled", False),
    "box": ("status", "inactive"),
    "mailcow": ("active", 0),
    "planningcenter": ("data.attributes.status", "inactive"),
}


@pytest.mark.parametrize("name", INACTIVE)
async def test_an_account_that_is_not_active_is_nobodys(name: str) -> None:
    path, value = INACTIVE[name]
    for wrong in (value, LEAVE_OUT):
        with pytest.raises(BadProfile):
            await read(name, with_value(CASES[name].answer, path, wrong), more=CASES[name].more)


@pytest.mark.parametrize("name", ["github", "gitea", "bitbucket", "gitee"])
async def test_addresses_that_are_not_shown_are_none_and_a_failure_is_one(name: str) -> None:
    case = CASES[name]
    [url] = case.more
    for status in (401, 403, 404):
        user, _ = await read(name, case.answer, more={url: status})
        assert shown(user) == (*case.user[:4], "")
    for wrong in (500, {"values": "x"} if name == "bitbucket" else {"message": "x"}):
        with pytest.raises(BadProfile):
            await read(name, case.answer, more={url: wrong})


@pytest.mark.parametrize("confirmed", ["", "yesterday", "2012-05-23", None])
async def test_an_address_of_gitlab_counts_with_the_time_of_its_confirmation_only(
    confirmed: str | None,
) -> None:
    answer = with_value(CASES["gitlab"].answer, "confirmed_at", confirmed)
    assert (await read("gitlab", answer))[0].email == ""


async def test_a_well_formed_public_address_of_gitee_needs_no_further_question() -> None:
    user, client = await read("gitee", with_value(CASES["gitee"].answer, "email", "public@example.com"))
    assert (user.email, len(client.asked)) == ("public@example.com", 1)
    lists = CASES["gitee"].more["https://gitee.com/api/v5/emails"]
    more = {"https://gitee.com/api/v5/emails": with_value(lists, "1.state", "unconfirmed")}
    assert (await read("gitee", CASES["gitee"].answer, more=more))[0].email == ""


async def test_names_and_pictures_of_discord_have_several_forms() -> None:
    answer = CASES["discord"].answer
    assert (await read("discord", answer | {"global_name": "Ann"}))[0].name == "Ann"
    assert (await read("discord", answer | {"discriminator": "0"}))[0].name == "ann"
    assert (await read("discord", answer | {"avatar": None}))[0].avatar_url == ""


async def test_pictures_that_are_empty_or_not_public_are_not_told() -> None:
    assert (await read("yandex", CASES["yandex"].answer | {"is_avatar_empty": True}))[0].avatar_url == ""
    hidden = with_value(CASES["wakatime"].answer, "data.photo_public", False)
    assert (await read("wakatime", hidden))[0].avatar_url == ""
    assert (await read("spotify", CASES["spotify"].answer | {"images": []}))[0].avatar_url == ""


async def test_what_else_a_provider_wants_to_be_sent() -> None:
    for name, wanted in (
        ("notion", {"Notion-Version": "2022-06-28"}),
        ("trakt", {"trakt-api-key": "client", "trakt-api-version": "2"}),
        ("twitch", {"Client-Id": "client"}),
    ):
        _, client = await read(name, CASES[name].answer)
        assert wanted.items() <= client.asked[0][2].items()
    for name, word in (("linear", "viewer"), ("monday", "me {")):
        _, client = await read(name, CASES[name].answer)
        method, _, _, body = client.asked[0]
        assert method == "POST"
        assert word in json.loads(body)["query"]


async def test_the_agreement_of_instagram_is_told_along() -> None:
    case = CASES["instagram2"]
    user, _ = await read("instagram2", case.answer, case.tokens)
    assert user.raw["permissions"] == ["instagram_business_basic"]


@pytest.mark.parametrize(("value", "counts"), [(True, True), ("true", True), (1, True), ("1", True), (False, False), ("false", False), (0, False), ("", False), (None, False), ([1], False)])  # fmt: skip
async def test_what_issuers_write_for_yes(value: Any, counts: bool) -> None:
    user, _ = await read("oidc", CASES["oidc"].answer | {"email_verified": value})
    assert user.email == (MAIL if counts else "")


APPLE = {"iss": "https://appleid.apple.com", "sub": "001234.a", "aud": "client", "email": MAIL, "is_private_email": "false"}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "counts"), [(True, True), ("true", True), ("false", False), (LEAVE_OUT, False)]
)
async def test_apple_tells_in_its_token_and_the_name_beside_it(value: Any, counts: bool) -> None:
    claims = APPLE | ({} if value is LEAVE_OUT else {"email_verified": value})
    user, _ = await read("apple", {}, claims=claims, told_name="Ann Example")
    assert shown(user) == ("001234.a", "Ann Example", "", "", MAIL if counts else "")


async def test_apple_is_checked_against_its_own_keys_and_name() -> None:
    settings = await settings_of("apple")
    openid = Claims(APPLE)
    visit = OAuthVisit(
        settings, {"access_token": "x", "id_token": "a.b.c"}, client=Recorded({}), openid=openid
    )
    await KNOWN["apple"].read(visit)
    [(expected, keys_url)] = openid.expected
    assert keys_url == "https://appleid.apple.com/auth/keys"
    assert (expected.audience, expected.issuers, expected.leeway_s) == (
        "client",
        ("https://appleid.apple.com",),
        300,
    )
    with pytest.raises(BadProfile):
        await KNOWN["apple"].read(
            OAuthVisit(settings, {"access_token": "x"}, client=Recorded({}), openid=openid)
        )


@pytest.mark.parametrize(
    ("wanted", "claims", "email"),
    [
        ("email", {"email": "a@x.io"}, "a@x.io"),
        ("email_and_xms_edov", {"email": "a@x.io", "xms_edov": True}, "a@x.io"),
        ("email_and_xms_edov", {"email": "a@x.io", "xms_edov": "1"}, "a@x.io"),
        ("email_and_xms_edov", {"email": "a@x.io", "xms_edov": False}, ""),
        ("email_and_xms_edov", {"email": "a@x.io"}, ""),
        ("verified_primary_email", {"verified_primary_email": "b@x.io", "email": "a@x.io"}, "b@x.io"),
        ("verified_primary_email", {"verified_primary_email": ["b@x.io"]}, ""),
        ("any_verified", {"verified_primary_email": "b@x.io", "email": "a@x.io", "xms_edov": 1}, "b@x.io"),
        ("any_verified", {"email": "a@x.io", "xms_edov": 1}, "a@x.io"),
        ("any_verified", {"email": "a@x.io"}, ""),
        ("something else", {"email": "a@x.io"}, MAIL),
    ],
)
async def test_which_address_of_microsoft_counts_is_up_to_the_collection(
    wanted: str, claims: dict[str, Any], email: str
) -> None:
    extra = {"idTokenEmailClaim": wanted}
    user, _ = await read("microsoft", CASES["microsoft"].answer, extra=extra, claims=claims)
    assert user.email == email
    assert (await settings_of("microsoft", extra)).scopes == ("User.Read", "openid")
    assert (await settings_of("microsoft")).scopes == ("User.Read",)
