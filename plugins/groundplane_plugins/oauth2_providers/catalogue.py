"""Providers as data: where they are asked, and where in their answers a profile is."""

from __future__ import annotations

from typing import NamedTuple

from groundplane.auth.providers import OAuthProvider, ProviderSettings, Read
from groundplane_plugins.oauth2_providers import special
from groundplane_plugins.oauth2_providers.logos import logo
from groundplane_plugins.oauth2_providers.reading import profile


class Entry(NamedTuple):
    """One provider; addresses without `https://`."""

    order: int
    name: str
    display_name: str
    letters: str
    colour: str
    scopes: tuple[str, ...]
    auth_url: str
    token_url: str
    user_info_url: str
    read: Read
    pkce: bool = True

    def provider(self) -> OAuthProvider:
        return OAuthProvider(
            name=self.name,
            display_name=self.display_name,
            read=self.read,
            auth_url=secure(self.auth_url),
            token_url=secure(self.token_url),
            user_info_url=secure(self.user_info_url),
            scopes=self.scopes,
            pkce=self.pkce,
            logo=logo(self.letters, self.colour),
            order=self.order,
        )


def secure(address: str) -> str:
    return f"https://{address}" if address else ""


def notion_headers(settings: ProviderSettings) -> dict[str, str]:
    return {"Notion-Version": "2022-06-28"}


def trakt_headers(settings: ProviderSettings) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "trakt-api-key": settings.client_id,
        "trakt-api-version": "2",
    }


def twitch_headers(settings: ProviderSettings) -> dict[str, str]:
    return {"Client-Id": settings.client_id}


ENTRIES = (
    Entry(
        2,
        "google",
        "Google",
        "G",
        "#1a67d2",
        (
            "https://www.googleapis.com/auth/userinfo.profile",
            "https://www.googleapis.com/auth/userinfo.email",
        ),
        "accounts.google.com/o/oauth2/v2/auth",
        "oauth2.googleapis.com/token",
        "www.googleapis.com/oauth2/v3/userinfo",
        profile("sub", "name", "", "picture", "email", verified="email_verified"),
    ),
    Entry(
        4,
        "yandex",
        "Yandex",
        "Y",
        "#c4160b",
        ("login:email", "login:avatar", "login:info"),
        "oauth.yandex.com/authorize",
        "oauth.yandex.com/token",
        "login.yandex.ru/info",
        special.read_yandex,
    ),
    Entry(
        5,
        "facebook",
        "Facebook",
        "f",
        "#0a5dc2",
        ("email",),
        "www.facebook.com/v3.2/dialog/oauth",
        "graph.facebook.com/v3.2/oauth/access_token",
        "graph.facebook.com/me?fields=name,email,picture.type(large)",
        profile("id", "name", "", "picture.data.url", "email"),
    ),
    Entry(
        6,
        "instagram2",
        "Instagram",
        "I",
        "#a5266b",
        ("instagram_business_basic",),
        "www.instagram.com/oauth/authorize",
        "api.instagram.com/oauth/access_token",
        "graph.instagram.com/me?fields=id,username,account_type,user_id,name,profile_picture_url,"
        "followers_count,follows_count,media_count",
        special.read_instagram,
    ),
    Entry(
        12,
        "discord",
        "Discord",
        "D",
        "#4450c9",
        ("identify", "email"),
        "discord.com/api/oauth2/authorize",
        "discord.com/api/oauth2/token",
        "discord.com/api/users/@me",
        special.read_discord,
    ),
    Entry(
        13,
        "twitter",
        "X/Twitter",
        "X",
        "#000000",
        ("users.read", "users.email", "tweet.read"),
        "x.com/i/oauth2/authorize",
        "api.x.com/2/oauth2/token",
        "api.x.com/2/users/me?user.fields=id,name,username,profile_image_url,confirmed_email",
        profile("data.id", "data.name", "data.username", "data.profile_image_url", "data.confirmed_email"),
    ),
    Entry(
        14,
        "kakao",
        "Kakao",
        "K",
        "#6b5900",
        ("account_email", "profile_nickname", "profile_image"),
        "kauth.kakao.com/oauth/authorize",
        "kauth.kakao.com/oauth/token",
        "kapi.kakao.com/v2/user/me",
        special.read_kakao,
    ),
    Entry(
        15,
        "vk",
        "ВКонтакте",
        "VK",
        "#0059b3",
        ("email",),
        "oauth.vk.com/authorize",
        "oauth.vk.com/access_token",
        "api.vk.com/method/users.get?fields=photo_max,screen_name&v=5.131",
        special.read_vk,
        pkce=False,
    ),
    Entry(
        16,
        "linear",
        "Linear",
        "L",
        "#4c57b5",
        ("read",),
        "linear.app/oauth/authorize",
        "api.linear.app/oauth/token",
        "api.linear.app/graphql",
        special.read_linear,
        pkce=False,
    ),
    Entry(
        17,
        "notion",
        "Notion",
        "N",
        "#2f2f2f",
        (),
        "api.notion.com/v1/oauth/authorize",
        "api.notion.com/v1/oauth/token",
        "api.notion.com/v1/users/me",
        profile(
            "bot.owner.user.id",
            "bot.owner.user.name",
            "",
            "bot.owner.user.avatar_url",
            "bot.owner.user.person.email",
            headers=notion_headers,
        ),
    ),
    Entry(
        18,
        "monday",
        "monday.com",
        "m",
        "#5b34c9",
        ("me:read",),
        "auth.monday.com/oauth2/authorize",
        "auth.monday.com/oauth2/token",
        "api.monday.com/v2",
        special.read_monday,
    ),
    Entry(
        19,
        "lark",
        "Lark",
        "L",
        "#0b5fb8",
        (),
        "accounts.feishu.cn/open-apis/authen/v1/authorize",
        "open.feishu.cn/open-apis/authen/v2/oauth/token",
        "open.feishu.cn/open-apis/authen/v1/user_info",
        profile("data.union_id", "data.name", "", "data.avatar_url"),
    ),
    Entry(
        20,
        "box",
        "Box",
        "b",
        "#0053ba",
        ("root_readonly",),
        "account.box.com/api/oauth2/authorize",
        "api.box.com/oauth2/token",
        "api.box.com/2.0/users/me",
        special.active(profile("id", "name", "", "avatar_url", "login"), "status"),
    ),
    Entry(
        21,
        "spotify",
        "Spotify",
        "S",
        "#136c33",
        ("user-read-private",),
        "accounts.spotify.com/authorize",
        "accounts.spotify.com/api/token",
        "api.spotify.com/v1/me",
        profile("id", "display_name", "", "images.0.url"),
    ),
    Entry(
        22,
        "trakt",
        "Trakt",
        "t",
        "#b3161d",
        (),
        "trakt.tv/oauth/authorize",
        "api.trakt.tv/oauth/token",
        "api.trakt.tv/users/settings",
        profile(
            "user.ids.uuid", "user.name", "user.username", "user.images.avatar.full", headers=trakt_headers
        ),
    ),
    Entry(
        23,
        "twitch",
        "Twitch",
        "T",
        "#6b32c9",
        ("user:read:email",),
        "id.twitch.tv/oauth2/authorize",
        "id.twitch.tv/oauth2/token",
        "api.twitch.tv/helix/users",
        profile(
            "data.0.id",
            "data.0.display_name",
            "data.0.login",
            "data.0.profile_image_url",
            "data.0.email",
            headers=twitch_headers,
        ),
    ),
    Entry(
        24,
        "patreon",
        "Patreon",
        "P",
        "#b8352c",
        ("identity", "identity[email]"),
        "www.patreon.com/oauth2/authorize",
        "www.patreon.com/api/oauth2/token",
        "www.patreon.com/api/oauth2/v2/identity"
        "?fields%5Buser%5D=full_name,email,vanity,image_url,is_email_verified",
        profile(
            "data.id",
            "data.attributes.full_name",
            "data.attributes.vanity",
            "data.attributes.image_url",
            "data.attributes.email",
            verified="data.attributes.is_email_verified",
        ),
    ),
    Entry(
        25,
        "strava",
        "Strava",
        "S",
        "#b83a00",
        ("profile:read_all",),
        "www.strava.com/oauth/authorize",
        "www.strava.com/api/v3/oauth/token",
        "www.strava.com/api/v3/athlete",
        special.read_strava,
    ),
    Entry(
        26,
        "wakatime",
        "WakaTime",
        "W",
        "#2f2f2f",
        ("email",),
        "wakatime.com/oauth/authorize",
        "wakatime.com/oauth/token",
        "wakatime.com/api/v1/users/current",
        special.read_wakatime,
    ),
    Entry(
        27,
        "livechat",
        "LiveChat",
        "L",
        "#b33d00",
        ("",),
        "accounts.livechat.com/",
        "accounts.livechat.com/token",
        "accounts.livechat.com/v2/accounts/me",
        profile("account_id", "name", "", "avatar_url", "email", verified="email_verified"),
    ),
    Entry(
        28,
        "mailcow",
        "mailcow",
        "mc",
        "#8a5a00",
        ("profile",),
        "",
        "",
        "",
        special.read_mailcow,
    ),
    Entry(
        29,
        "planningcenter",
        "Planning Center",
        "PC",
        "#1f5fbf",
        ("people",),
        "api.planningcenteronline.com/oauth/authorize",
        "api.planningcenteronline.com/oauth/token",
        "api.planningcenteronline.com/people/v2/me",
        special.active(
            profile("data.id", "data.attributes.name", "", "data.attributes.avatar"),
            "data.attributes.status",
        ),
    ),
)

PROVIDERS = tuple(entry.provider() for entry in ENTRIES)
