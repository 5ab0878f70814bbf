"""Signing in with other services: the addresses to go to, and the code that comes back (contract, auth §7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from groundplane.auth.callers import Callers
from groundplane.auth.methods import provider_method
from groundplane.auth.oauth_accounts import (
    OAuthAccounts,
    Visitor,
    check_id,
    mapped_fields,
    wants_avatar_file,
)
from groundplane.auth.oauth_avatars import Avatar, fetch_avatar
from groundplane.auth.oauth_exchange import exchange_code, expiry_of
from groundplane.auth.oauth_names import keep_name, take_name
from groundplane.auth.openid import BadIdToken
from groundplane.auth.providers import (
    BadProfile,
    OAuthProvider,
    OAuthUser,
    OAuthVisit,
    Providers,
    client_secret,
)
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.errors import REQUIRED, FieldError, Invalid
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events_oauth import OAuthProfile
from groundplane.outgoing.addresses import Reach
from groundplane.outgoing.client import Client, NotFetched
from groundplane.records.service import Records
from groundplane.schema.addresses import is_email
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.options import Provider

log = logging.getLogger(__name__)

LIMIT_S = 30.0  # for the exchange and the profile together
NOT_LOADED = "An error occurred while loading the submitted data."
NO_TOKEN = "Failed to fetch OAuth2 token."  # noqa: S105  # a sentence
NO_USER = "Failed to fetch OAuth2 user."
MAX_PROVIDER_BYTES = 100
MAX_TEXT_BYTES = 16 * 1024  # of all else that is passed on to the provider

FORM: dict[str, type] = {
    "provider": str,
    "code": str,
    "codeVerifier": str,
    "redirectURL": str,
    "createData": dict,
    "mfaId": str,
}


class OAuthSignIn(msgspec.Struct, frozen=True):
    """Whom a code has turned out to be: the stored record, and what the client is told beside it."""

    record: dict[str, Any]
    meta: dict[str, Any]


class OAuth2:
    """The verbs of the OAuth2 endpoints.

    `providers` are those that plugins know; `avatars` fetches pictures from addresses that anybody may have
    put into a profile, and so from the open internet only, whatever the configuration allows to others.
    """

    def __init__(
        self,
        db: Database,
        records: Records,
        callers: Callers,
        hooks: Hooks,
        schema: SchemaCache,
        reach: Reach = Reach(),  # noqa: B008  # frozen
    ) -> None:
        self._db = db
        self._hooks = hooks
        self.providers = Providers(Client(reach))
        self.avatars = Client(Reach(allow_http=True))
        self._accounts = OAuthAccounts(db, schema, records, callers, hooks)

    async def close(self) -> None:
        await self.providers.close()
        await self.avatars.close()

    async def methods(self, collection: Collection) -> list[dict[str, Any]]:
        """The collection's providers as `auth-methods` shows them; one that cannot be set up is left out."""
        options = collection.options
        if options is None or not options.oauth2.enabled:
            return []
        asked = [self._method(collection, each) for each in options.oauth2.providers]
        return [shown for shown in await asyncio.gather(*asked) if shown is not None]

    async def _method(self, collection: Collection, provider: Provider) -> dict[str, Any] | None:
        known = self.providers.get(provider.name)
        if known is None:
            return None
        try:
            settings = await self.providers.settings(provider)
        except NotFetched as error:
            log.warning("%s of %s cannot be offered: %s", provider.name, collection.name, error)
            return None
        return provider_method(settings, known)

    async def remember_name(self, code: str, first: str, last: str) -> None:
        """Keep the name that came with a code until the code is exchanged, for a minute."""
        await keep_name(self._db, code, first, last)

    async def forget_name(self, code: str) -> None:
        await take_name(self._db, code)

    async def sign_in(
        self,
        collection: Collection,
        form: Mapping[str, Any],
        info: RequestInfo,
        may_create: Callable[[], Awaitable[None]],
    ) -> OAuthSignIn:
        """Exchange a code, and find or make the account of whom it stands for; raises GroundplaneError.

        `form` is as `FORM`. `may_create` is asked before an account is made, and raises.
        """
        provider, known = self._checked(collection, form)
        tokens, user = await self._profile(collection, provider, known, form)
        if self._hooks.oauth_profile:
            profile = OAuthProfile(collection, provider.name, user, info)
            await self._hooks.oauth_profile(collection, event=profile)
            user = profile.user
        check_id(user)
        visitor = Visitor(collection, provider.name, user, form["createData"], info, may_create)
        avatar = await self._avatar(visitor)
        try:
            if avatar is not None:
                visitor = visitor._replace(uploads=[(mapped_fields(collection).avatarURL, avatar)])
            record, is_new = await self._accounts.settle(visitor)
        finally:
            if avatar is not None:
                avatar.file.close()
        return OAuthSignIn(record, meta_of(tokens, user, is_new=is_new))

    def _checked(self, collection: Collection, form: Mapping[str, Any]) -> tuple[Provider, OAuthProvider]:
        """The provider that is meant; raises Invalid for a form that lacks something."""
        name, code = form["provider"], form["code"]
        configured = collection.options.oauth2.providers if collection.options is not None else []
        provider = next((each for each in configured if each.name == name), None)
        known = self.providers.get(name)
        errors: dict[str, FieldError] = {}
        if not name:
            errors["provider"] = REQUIRED
        elif (error := length_error(name, MAX_PROVIDER_BYTES)) is not None:
            errors["provider"] = error
        elif provider is None or known is None:
            message = f"Provider with name {name} is missing or is not enabled."
            errors["provider"] = FieldError("validation_invalid_provider", message, {"name": name})
        if not code:
            errors["code"] = REQUIRED
        for key in ("code", "codeVerifier", "redirectURL"):
            if (error := length_error(form[key], MAX_TEXT_BYTES)) is not None:
                errors[key] = error
        if errors or provider is None or known is None:
            raise Invalid(NOT_LOADED, errors)
        return provider, known

    async def _profile(
        self, collection: Collection, provider: Provider, known: OAuthProvider, form: Mapping[str, Any]
    ) -> tuple[dict[str, Any], OAuthUser]:
        """The provider's tokens, and whom they are of; raises Invalid and says the reason to the log."""
        failed = NO_TOKEN
        name = await take_name(self._db, form["code"])
        try:
            async with asyncio.timeout(LIMIT_S):
                settings = await self.providers.settings(provider)
                tokens = await exchange_code(
                    self.providers.client,
                    settings,
                    client_secret(provider),
                    form["code"],
                    form["codeVerifier"],
                    form["redirectURL"],
                )
                failed = NO_USER
                visit = OAuthVisit(
                    settings,
                    tokens,
                    client=self.providers.client,
                    openid=self.providers.openid,
                    verifier=form["codeVerifier"],
                    name=name,
                )
                user = await known.read(visit)
        except (BadIdToken, BadProfile, NotFetched, TimeoutError) as error:
            reason = str(error) or "It took too long."
            log.warning(
                "Signing in to %s with %s failed: %s %s", collection.name, provider.name, failed, reason
            )
            raise Invalid(failed) from None
        if user.email and not is_email(user.email):
            # Nobody has such an address, so it says nothing about whose account this is.
            user.email = ""
        return tokens, user

    async def _avatar(self, visitor: Visitor) -> Avatar | None:
        """The profile's picture, when an account is about to be made that stores it."""
        field = wants_avatar_file(visitor.collection)
        name = mapped_fields(visitor.collection).avatarURL
        if field is None or not visitor.user.avatar_url or name in visitor.create_data:
            return None
        # Outside of the transaction, which does not wait for others; it looks again.
        if await self._accounts.find(visitor) is not None:
            return None
        return await fetch_avatar(self.avatars, visitor.user.avatar_url, field)


def length_error(text: str, most: int) -> FieldError | None:
    if len(text.encode("utf-8", "replace")) <= most:
        return None
    message = f"The length must be between 1 and {most}."
    return FieldError("validation_length_out_of_range", message, {"max": most, "min": 1})


def meta_of(tokens: Mapping[str, Any], user: OAuthUser, *, is_new: bool) -> dict[str, Any]:
    """What the client is told of the person at the provider, in the order of the wire; kept nowhere."""
    refresh = tokens.get("refresh_token")
    return {
        "accessToken": tokens["access_token"],
        "avatarURL": user.avatar_url,
        "avatarUrl": user.avatar_url,
        "email": user.email,
        "expiry": expiry_of(tokens),
        "id": user.id,
        "isNew": is_new,
        "name": user.name,
        "rawUser": user.raw,
        "refreshToken": refresh if isinstance(refresh, str) else "",
        "username": user.username,
    }
