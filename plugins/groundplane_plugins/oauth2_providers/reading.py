"""Takes values out of a provider's answer, each of the type that the provider documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from groundplane.auth.providers import BadProfile, OAuthUser, OAuthVisit, ProviderSettings, Read

Headers: TypeAlias = "Callable[[ProviderSettings], Mapping[str, str]]"
TRUE_TEXTS = frozenset({"1", "t", "T", "true", "TRUE", "True"})


class Answer:
    """An answer whose values are named by paths such as `data.0.id`.

    What is missing or null is empty. A value of another type is a BadProfile: an id that is read as something
    else today than yesterday would be somebody else's.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = dict(raw)

    def at(self, path: str) -> Any:
        """The value as it is; None when there is none."""
        value: Any = self.raw
        for name in path.split("."):
            if value is None:
                return None
            if isinstance(value, dict):
                value = value.get(name)
            elif isinstance(value, list) and name.isdigit():
                value = value[int(name)] if int(name) < len(value) else None
            else:
                raise wrong(path)
        return value

    def text(self, path: str) -> str:
        value = self.at(path)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise wrong(path)
        return value

    def number(self, path: str) -> str:
        """A whole number in decimal digits; nobody has the number 0."""
        value = self.at(path)
        if value is None:
            return ""
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(path)
        return str(value) if value else ""

    def flag(self, path: str) -> bool:
        value = self.at(path)
        if value is not None and not isinstance(value, bool):
            raise wrong(path)
        return bool(value)

    def objects(self, path: str) -> list[Answer]:
        """The objects of a list."""
        value = self.at(path)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise wrong(path)
        return [Answer(each) for each in value]


def wrong(path: str) -> BadProfile:
    return BadProfile(f"{path} is not what it should be.")


def is_true(value: Any) -> bool:
    """Whether a claim says yes; some issuers write it as text or as a number."""
    if isinstance(value, str):
        return value in TRUE_TEXTS
    return isinstance(value, bool | int | float) and bool(value)


def profile(
    id: str,
    name: str = "",
    username: str = "",
    avatar: str = "",
    email: str = "",
    *,
    verified: str = "",
    number: bool = False,
    headers: Headers | None = None,
) -> Read:
    """Read a profile from the provider's address for users, each value at its path.

    `verified` is where the answer says that the address is proven. `number` says that ids are numbers.
    """

    async def read(visit: OAuthVisit) -> OAuthUser:
        raw = await visit.user_info(headers(visit.settings) if headers is not None else None)
        return user_of(raw, id, name, username, avatar, email, verified=verified, number=number)

    return read


def user_of(
    raw: Mapping[str, Any],
    id: str,
    name: str = "",
    username: str = "",
    avatar: str = "",
    email: str = "",
    *,
    verified: str = "",
    number: bool = False,
) -> OAuthUser:
    """The values of an answer at these paths; "" is for what the provider does not tell."""
    answer = Answer(raw)

    def text(path: str) -> str:
        return answer.text(path) if path else ""

    address = text(email)
    return OAuthUser(
        id=answer.number(id) if number else answer.text(id),
        name=text(name),
        username=text(username),
        avatar_url=text(avatar),
        email=address if not verified or is_true(answer.at(verified)) else "",
        raw=answer.raw,
    )
