"""Providers whose answers want more than values at paths: conditions, parts put together, GraphQL."""

from __future__ import annotations

from groundplane.auth.providers import BadProfile, OAuthUser, OAuthVisit, Read
from groundplane_plugins.oauth2_providers.reading import Answer, user_of

YANDEX_AVATARS = "https://avatars.yandex.net/get-yapic/{}/islands-200"
DISCORD_AVATARS = "https://cdn.discordapp.com/avatars/{}/{}.png"
LINEAR_QUERY = "query { viewer { id displayName name email avatarUrl active } }"
MONDAY_QUERY = "query { me { id enabled name email is_verified photo_small } }"


async def read_yandex(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    user = user_of(raw, "id", "real_name", "login", email="default_email")
    answer = Answer(raw)
    if not answer.flag("is_avatar_empty"):
        user.avatar_url = YANDEX_AVATARS.format(answer.text("default_avatar_id"))
    return user


async def read_instagram(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    # What was agreed to is told with the token only.
    raw.setdefault("permissions", visit.tokens.get("permissions"))
    return user_of(raw, "user_id", "name", "username", "profile_picture_url")


async def read_discord(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    user = user_of(raw, "id", "global_name", "username", email="email", verified="verified")
    answer = Answer(raw)
    if not user.name:
        number = answer.text("discriminator")
        user.name = user.username if number in ("", "0") else f"{user.username}#{number}"
    if avatar := answer.text("avatar"):
        user.avatar_url = DISCORD_AVATARS.format(user.id, avatar)
    return user


async def read_kakao(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    user = user_of(
        raw, "id", "", "properties.nickname", "properties.profile_image", "kakao_account.email", number=True
    )
    answer = Answer(raw)
    if not (answer.flag("kakao_account.is_email_valid") and answer.flag("kakao_account.is_email_verified")):
        user.email = ""
    return user


async def read_vk(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    person = "response.0."
    user = user_of(raw, person + "id", "", person + "screen_name", person + "photo_max", number=True)
    answer = Answer(raw)
    user.name = f"{answer.text(person + 'first_name')} {answer.text(person + 'last_name')}".strip()
    user.email = Answer(visit.tokens).text("email")
    return user


async def read_linear(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.query(LINEAR_QUERY)
    must(Answer(raw).flag("data.viewer.active"))
    person = "data.viewer."
    return user_of(
        raw, person + "id", person + "name", person + "displayName", person + "avatarUrl", person + "email"
    )


async def read_monday(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.query(MONDAY_QUERY)
    must(Answer(raw).flag("data.me.enabled"))
    person = "data.me."
    return user_of(
        raw,
        person + "id",
        person + "name",
        "",
        person + "photo_small",
        person + "email",
        verified=person + "is_verified",
    )


async def read_strava(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    user = user_of(raw, "id", "", "username", "profile", number=True)
    answer = Answer(raw)
    user.name = f"{answer.text('firstname')} {answer.text('lastname')}"
    return user


async def read_wakatime(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    user = user_of(
        raw,
        "data.id",
        "data.display_name",
        "data.username",
        "data.photo",
        "data.email",
        verified="data.is_email_confirmed",
    )
    if not Answer(raw).flag("data.photo_public"):
        user.avatar_url = ""
    return user


async def read_mailcow(visit: OAuthVisit) -> OAuthUser:
    raw = await visit.user_info()
    must(Answer(raw).at("active") == 1)
    user = user_of(raw, "id", "full_name", "username", email="email")
    user.username = user.username.partition("@")[0]
    return user


def active(read: Read, path: str) -> Read:
    """Read as `read`, only accounts whose state at the path is `active`."""

    async def checked(visit: OAuthVisit) -> OAuthUser:
        user = await read(visit)
        must(Answer(user.raw).text(path) == "active")
        return user

    return checked


def must(is_active: bool) -> None:
    if not is_active:
        raise BadProfile("The account is not active.")
