"""OAuth2 providers: what they are made of, what a sign-in through one goes through, and which there are."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from groundplane.auth.openid import Expected, OpenID
from groundplane.outgoing.client import Client, Fetched, NotFetched
from groundplane.schema.options import Provider, add_provider_name, remove_provider_name

log = logging.getLogger(__name__)


class BadProfile(Exception):
    """A provider's answer from which nobody can be recognised; a sentence that says why."""


class OAuthUser(msgspec.Struct, kw_only=True):
    """Somebody as a provider knows them.

    `email` is one that the provider has verified, "" otherwise: accounts are found by it.
    `raw` is the provider's own answer, which clients get along.
    """

    id: str
    name: str = ""
    username: str = ""
    email: str = ""
    avatar_url: str = ""
    raw: dict[str, Any] = {}


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as one collection has set it up, with what it leaves out filled in; without the secret.

    `parameters` go into the address of the provider's page. `nonce` says that ID tokens carry one, `issuers`
    and `keys_url` whose they are and where the keys are that sign them, as far as that is known.
    """

    name: str
    client_id: str = ""
    display_name: str = ""
    auth_url: str = ""
    token_url: str = ""
    user_info_url: str = ""
    scopes: tuple[str, ...] = ()
    pkce: bool = True
    nonce: bool = False
    keys_url: str = ""
    issuers: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    extra: Mapping[str, Any] = {}


class OAuthVisit:
    """A sign-in whose code has been exchanged; what a provider's `read` gets.

    `tokens` is the provider's answer to the exchange, `verifier` the PKCE verifier that the client sent,
    `name` what was told to the redirect address beside the code (Apple does, once).
    """

    def __init__(
        self,
        settings: ProviderSettings,
        tokens: Mapping[str, Any],
        *,
        client: Client,
        openid: OpenID,
        verifier: str = "",
        name: str = "",
    ) -> None:
        self.settings = settings
        self.tokens = tokens
        self.verifier = verifier
        self.name = name
        self._client = client
        self._openid = openid

    @property
    def access_token(self) -> str:
        return str(self.tokens["access_token"])

    @property
    def id_token(self) -> str:
        """The ID token that came with the access token; raises BadProfile when there was none."""
        token = self.tokens.get("id_token")
        if not isinstance(token, str) or not token:
            raise BadProfile("There is no ID token.")
        return token

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """Ask the provider for something with the access token; raises NotFetched."""
        return await self._client.get(url, self._authorized(headers))

    async def user_info(self, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What the provider's address for that says of the user; raises BadProfile and NotFetched."""
        if not self.settings.user_info_url:
            raise BadProfile("The provider has no userInfoURL.")
        return self._object(await self.get(self.settings.user_info_url, headers))

    async def query(self, text: str) -> dict[str, Any]:
        """What the provider answers to a GraphQL query at its address for users."""
        body = msgspec.json.encode({"query": text})
        headers = self._authorized({"Content-Type": "application/json"})
        return self._object(await self._client.post(self.settings.user_info_url, headers, body))

    async def claims(self, expected: Expected | None = None, *, keys_url: str = "") -> dict[str, Any]:
        """The claims of the ID token; raises BadProfile, BadIdToken and NotFetched.

        Unless told otherwise it must be for this client and not have ended (with the five minutes of leeway
        that PocketBase gives). `keys_url` as in `OpenID.claims`.
        """
        expected = expected or Expected(self.settings.client_id, leeway_s=300)
        return await self._openid.claims(self.id_token, expected, keys_url)

    def _authorized(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}", **(headers or {})}

    def _object(self, fetched: Fetched) -> dict[str, Any]:
        if fetched.status >= 400:
            raise BadProfile(f"The provider answered with {fetched.status}.")
        found = fetched.json()
        if not isinstance(found, dict):
            raise BadProfile("The answer is no JSON object.")
        return found


Read = Callable[[OAuthVisit], Awaitable[OAuthUser]]
Complete = Callable[[ProviderSettings, OpenID], Awaitable[ProviderSettings]]


class OAuthProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as `register_oauth_providers` returns it; collections may set other addresses for it.

    `read`        asks who has signed in and translates the answer; may raise BadProfile
    `auth_url`    the page where people agree; "" must be set by the collection
    `token_url`   where codes are exchanged
    `user_info_url`  for `OAuthVisit.user_info`
    `scopes`      what is asked for; `pkce` whether the provider knows of it
    `parameters`  more of them for the page's address
    `complete`    changes the settings of a collection before they are used, as its `extra` says
    `logo`        an SVG text for buttons
    `order`       of the list of providers
    """

    name: str
    display_name: str
    read: Read
    auth_url: str = ""
    token_url: str = ""
    user_info_url: str = ""
    scopes: tuple[str, ...] = ()
    pkce: bool = True
    parameters: tuple[tuple[str, str], ...] = ()
    complete: Complete | None = None
    logo: str = ""
    order: int = 1000


def problem_of(provider: object) -> str:
    """Why this is no provider; "" when it is one."""
    if not isinstance(provider, OAuthProvider):
        return f"it is {type(provider).__name__}, not an OAuthProvider"
    if (
        not provider.name.isascii()
        or not provider.name.replace("_", "").isalnum()
        or len(provider.name) > 100
    ):
        return f"{provider.name!r} is no name: letters, digits and _"
    return ""


def client_secret(provider: Provider) -> str:
    """The secret of a collection's provider: the one place where it is read."""
    return provider.clientSecret


class Providers:
    """The providers that plugins have registered, by name; `client` is how they are asked."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.openid = OpenID(client)
        self._plugins: dict[str, str] = {}
        self._known: dict[str, OAuthProvider] = {}

    def register(self, plugin: str, registered: Sequence[object]) -> None:
        """Take a plugin's providers; raises ValueError with a sentence."""
        if not isinstance(registered, list | tuple):
            problem = f"register_oauth_providers returned {type(registered).__name__}, not a list"
            raise ValueError(problem)  # noqa: TRY004  # the value is a plugin's
        for each in registered:
            if problem := problem_of(each):
                raise ValueError(f"register_oauth_providers: {problem}")
        for each in registered:
            if each.name in self._known:
                raise ValueError(f"{self._plugins[each.name]} has a provider named {each.name} already")
        for each in registered:
            self._known[each.name] = each
            self._plugins[each.name] = plugin
            add_provider_name(each.name)

    async def close(self) -> None:
        for name in self._known:
            remove_provider_name(name)
        self._known.clear()
        await self.client.close()

    def get(self, name: str) -> OAuthProvider | None:
        return self._known.get(name)

    @property
    def all(self) -> list[OAuthProvider]:
        """In the order in which they are offered."""
        return sorted(self._known.values(), key=lambda each: (each.order, each.name))

    async def settings(self, provider: Provider) -> ProviderSettings:
        """A collection's provider with everything filled in; raises NotFetched when that cannot be done."""
        known = self._known.get(provider.name)
        if known is None:
            raise NotFetched(f"No plugin knows the provider {provider.name}.")
        settings = ProviderSettings(
            name=provider.name,
            client_id=provider.clientId,
            display_name=provider.displayName or known.display_name or provider.name,
            auth_url=provider.authURL or known.auth_url,
            token_url=provider.tokenURL or known.token_url,
            user_info_url=provider.userInfoURL or known.user_info_url,
            scopes=known.scopes,
            pkce=known.pkce if provider.pkce is None else provider.pkce,
            parameters=known.parameters,
            extra=provider.extra or {},
        )
        return await known.complete(settings, self.openid) if known.complete is not None else settings
