"""Signing in by what is not PocketBase's: code generators, passkeys and mailed links."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from groundplane.auth import factors
from groundplane.auth.attempts import Attempts
from groundplane.auth.magic_links import MagicLinks
from groundplane.auth.passkeys import FAILED, Challenge, Passkeys
from groundplane.auth.sessions import Sessions
from groundplane.auth.totp import Totp, require_allowed
from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.errors import Forbidden, Invalid
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import AuthAttempt
from groundplane.schema.collection import Collection
from groundplane.security.passwords import verify

if TYPE_CHECKING:
    from groundplane.auth.service import Auth, FirstFactor, SignIn

TOTP, RECOVERY_CODE, PASSKEY, MAGIC_LINK = "totp", "recoveryCode", "passkey", "magicLink"
FRESH = timedelta(minutes=15)
NOT_FRESH = "Sign in again, or send the password, to change how you sign in."


class OwnMethods:
    """The verbs of these methods; `auth` has what all methods share."""

    def __init__(
        self,
        db: Database,
        auth: Auth,
        sessions: Sessions,
        attempts: Attempts,
        totp: Totp,
        passkeys: Passkeys,
        magic_links: MagicLinks,
        hooks: Hooks,
    ) -> None:
        self._db = db
        self._hooks = hooks
        self._auth = auth
        self._sessions = sessions
        self.attempts = attempts
        self.totp = totp
        self.passkeys = passkeys
        self.magic_links = magic_links

    async def require_fresh(self, caller: Caller, password: str) -> None:
        """Refuse who has a token and no more: it needs the password, or a sign-in of the last minutes.

        Raises Forbidden, and TooManyRequests for who guesses.
        """
        if password:
            await self.attempts.take(caller.collection_id, caller.id)
            if await verify(password, caller.record["password"]):
                await self.attempts.clear(caller.collection_id, caller.id)
                return
        elif await self._sessions.is_younger(caller, FRESH):
            return
        raise Forbidden(NOT_FRESH)

    async def with_totp(
        self, name_or_id: str, form: Mapping[str, str], info: RequestInfo, *, expand: str = ""
    ) -> SignIn | FirstFactor:
        """Complete a sign-in with a code, or a recovery code; `form` has mfaId, code and recoveryCode."""
        collection = self._auth.collection(name_or_id)
        require_allowed(collection)
        method = TOTP if form["code"] or not form["recoveryCode"] else RECOVERY_CODE
        event = AuthAttempt(collection, method, "", info)
        async with self._hooks.auth_attempt(collection, event=event):
            record = await self._begun(collection, form["mfaId"])
            await self.totp.check(collection, record["id"], form["code"], form["recoveryCode"])
            return await self._auth.proven(collection, record, method, form["mfaId"], info, expand)

    async def request_passkey(self, name_or_id: str, mfa_id: str) -> Challenge:
        """What a browser is to sign; with a `mfa_id` by a passkey of the record whose sign-in that is."""
        collection = self._auth.collection(name_or_id)
        if not mfa_id:
            return await self.passkeys.begin_sign_in(collection)
        record = await self._begun(collection, mfa_id)
        return await self.passkeys.begin_sign_in(collection, record["id"])

    async def with_passkey(
        self, name_or_id: str, form: Mapping[str, Any], info: RequestInfo, *, expand: str = ""
    ) -> SignIn | FirstFactor:
        """Sign in with what a browser has signed; `form` has id, credential and mfaId."""
        collection = self._auth.collection(name_or_id)
        event = AuthAttempt(collection, PASSKEY, "", info)
        async with self._hooks.auth_attempt(collection, event=event):
            proof = await self.passkeys.prove(collection, form["id"], form["credential"])
            record = await self._auth.callers.record(collection, proof.record_id)
            if record is None:
                raise Invalid(FAILED)
            return await self._auth.proven(
                collection, record, PASSKEY, form["mfaId"], info, expand, is_enough=proof.is_verified
            )

    async def with_magic_link(
        self, name_or_id: str, form: Mapping[str, str], info: RequestInfo, *, expand: str = ""
    ) -> SignIn | FirstFactor:
        """Sign in with a mailed link; `form` has token, browserKey and mfaId."""
        collection = self._auth.collection(name_or_id)
        event = AuthAttempt(collection, MAGIC_LINK, "", info)
        async with self._hooks.auth_attempt(collection, event=event):
            record = await self.magic_links.prove(collection, form["token"], form["browserKey"])
            return await self._auth.proven(collection, record, MAGIC_LINK, form["mfaId"], info, expand)

    async def _begun(self, collection: Collection, mfa_id: str) -> dict[str, Any]:
        """The record whose sign-in waits for a second factor; raises Invalid."""
        owner = await factors.owner(self._db, mfa_id)
        if owner is None or owner[0] != collection.id:
            raise Invalid(factors.ENDED_SESSION)
        record = await self._auth.callers.record(collection, owner[1])
        if record is None:
            raise Invalid(factors.ENDED_SESSION)
        return record
