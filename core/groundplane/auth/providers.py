"""What we know of each OAuth2 provider before a collection configures it (contract, auth §7.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ProviderDefaults(NamedTuple):
    """`auth_url` "" must be configured; `logo` is an SVG text."""

    display_name: str
    auth_url: str = ""
    scopes: tuple[str, ...] = ()
    pkce: bool = True
    response_mode: str = ""
    logo: str = ""

    def scopes_for(self, extra: Mapping[str, Any]) -> tuple[str, ...]:
        """The scopes to ask for; Microsoft's e-mail claim is in the id token, which needs one more."""
        if self.display_name == "Microsoft" and extra.get("idTokenEmailClaim"):
            return (*self.scopes, "openid")
        return self.scopes


OIDC = ProviderDefaults("OIDC", "", ("openid", "email", "profile"))

DEFAULTS: dict[str, ProviderDefaults] = {
    "apple": ProviderDefaults(
        "Apple", "https://appleid.apple.com/auth/authorize", ("name", "email"), response_mode="form_post"
    ),
    "bitbucket": ProviderDefaults(
        "Bitbucket", "https://bitbucket.org/site/oauth2/authorize", ("account",), pkce=False
    ),
    "box": ProviderDefaults("Box", "https://account.box.com/api/oauth2/authorize", ("root_readonly",)),
    "discord": ProviderDefaults("Discord", "https://discord.com/api/oauth2/authorize", ("identify", "email")),
    "facebook": ProviderDefaults("Facebook", "https://www.facebook.com/v3.2/dialog/oauth", ("email",)),
    "gitea": ProviderDefaults(
        "Gitea/Forgejo", "https://gitea.com/login/oauth/authorize", ("read:user", "user:email")
    ),
    "gitee": ProviderDefaults("Gitee", "https://gitee.com/oauth/authorize", ("user_info", "emails")),
    "github": ProviderDefaults(
        "GitHub", "https://github.com/login/oauth/authorize", ("read:user", "user:email")
    ),
    "gitlab": ProviderDefaults("GitLab", "https://gitlab.com/oauth/authorize", ("read_user",)),
    "google": ProviderDefaults(
        "Google",
        "https://accounts.google.com/o/oauth2/v2/auth",
        (
            "https://www.googleapis.com/auth/userinfo.profile",
            "https://www.googleapis.com/auth/userinfo.email",
        ),
    ),
    "instagram2": ProviderDefaults(
        "Instagram", "https://www.instagram.com/oauth/authorize", ("instagram_business_basic",)
    ),
    "kakao": ProviderDefaults(
        "Kakao",
        "https://kauth.kakao.com/oauth/authorize",
        ("account_email", "profile_nickname", "profile_image"),
    ),
    "lark": ProviderDefaults("Lark", "https://accounts.feishu.cn/open-apis/authen/v1/authorize"),
    "linear": ProviderDefaults("Linear", "https://linear.app/oauth/authorize", ("read",), pkce=False),
    "livechat": ProviderDefaults("LiveChat", "https://accounts.livechat.com/", ("",)),
    "mailcow": ProviderDefaults("mailcow", "", ("profile",)),
    "microsoft": ProviderDefaults(
        "Microsoft", "https://login.microsoftonline.com/common/oauth2/v2.0/authorize", ("User.Read",)
    ),
    "monday": ProviderDefaults("monday.com", "https://auth.monday.com/oauth2/authorize", ("me:read",)),
    "notion": ProviderDefaults("Notion", "https://api.notion.com/v1/oauth/authorize"),
    "oidc": OIDC,
    "oidc2": OIDC,
    "oidc3": OIDC,
    "patreon": ProviderDefaults(
        "Patreon", "https://www.patreon.com/oauth2/authorize", ("identity", "identity[email]")
    ),
    "planningcenter": ProviderDefaults(
        "Planning Center", "https://api.planningcenteronline.com/oauth/authorize", ("people",)
    ),
    "spotify": ProviderDefaults("Spotify", "https://accounts.spotify.com/authorize", ("user-read-private",)),
    "strava": ProviderDefaults("Strava", "https://www.strava.com/oauth/authorize", ("profile:read_all",)),
    "trakt": ProviderDefaults("Trakt", "https://trakt.tv/oauth/authorize"),
    "twitch": ProviderDefaults("Twitch", "https://id.twitch.tv/oauth2/authorize", ("user:read:email",)),
    "twitter": ProviderDefaults(
        "X/Twitter", "https://x.com/i/oauth2/authorize", ("users.read", "users.email", "tweet.read")
    ),
    "vk": ProviderDefaults("ВКонтакте", "https://oauth.vk.com/authorize", ("email",), pkce=False),
    "wakatime": ProviderDefaults("WakaTime", "https://wakatime.com/oauth/authorize", ("email",)),
    "yandex": ProviderDefaults(
        "Yandex", "https://oauth.yandex.com/authorize", ("login:email", "login:avatar", "login:info")
    ),
}
