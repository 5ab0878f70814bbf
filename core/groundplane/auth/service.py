"""Signing in: who may, with what, and what they get. Read this first.

Every method ends in `Auth.proven`: a method proves by its own means whose record it is, inside the hook
`auth_attempt`, and hands the stored record over. From there all is one path (contract, auth §5): the superusers'
addresses and the authRule, the second factor (a 401 with an id to come back with, or that id used up), the notice
of a new location, the hook `auth_succeeded`, the session with its token, and the record as it sees itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.auth import factors, origins
from groundplane.auth.callers import Callers
from groundplane.auth.forms import BAD_DATA, length_error
from groundplane.auth.identities import find_by
from groundplane.auth.mails import AccountMails
from groundplane.auth.methods import auth_methods
from groundplane.auth.oauth2 import OAuth2
from groundplane.auth.queries import replace_password, select_some_password
from groundplane.auth.rules import BadRule, meets
from groundplane.auth.sessions import IMPERSONATION, Sessions
from groundplane.auth.totp import Totp
from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.errors import FieldError, Forbidden, GroundplaneError, Invalid, NotFound
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import AuthAttempt, AuthSucceeded
from groundplane.mail.message import MailNotSent
from groundplane.outgoing.addresses import Reach
from groundplane.schema.addresses import is_email
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.indexes import is_single_unique
from groundplane.security import passwords
from groundplane.security.addresses import covers
from groundplane.security.ids import LOWER_ALPHANUMERIC, RECORD_ID_LENGTH
from groundplane.settings.service import Settings

if TYPE_CHECKING:
    from groundplane.records.service import Records

log = logging.getLogger(__name__)

# What completes the sign-in of a record that has set up a code generator.
STRONG = frozenset({"totp", "recoveryCode", "passkey"})
NO_AUTH_COLLECTION = "Missing or invalid auth collection context."
NO_OAUTH2 = "The collection is not configured to allow OAuth2 authentication."
NO_OTP = "The collection is not configured to allow OTP authentication."
NO_PASSWORDS = "The collection is not configured to allow password authentication."
NOT_ADMITTED = "The request doesn't satisfy the collection requirements to authenticate."
FAILED = "Failed to authenticate."

NOT_LISTED = FieldError("validation_in_invalid", "Must be a valid value.")
TOO_SMALL = FieldError(
    "validation_min_greater_equal_than_required", "Must be no less than 0.", {"threshold": 0}
)
ALERT_S = 15.0  # that a sign-in waits for its notice


class Broken(GroundplaneError):
    """The collection is set up in a way that no sign-in can work with."""

    status = 500


class SignIn(msgspec.Struct, frozen=True):
    """The answer to a sign-in that went through; `meta` is what an OAuth2 provider said."""

    record: dict[str, Any]
    token: str
    meta: dict[str, Any] | None = None


class FirstFactor(msgspec.Struct, frozen=True):
    """A sign-in that needs a second method; the client sends the id with it."""

    mfa_id: str


class Auth:
    """The verbs of the sign-in endpoints. `callers` turns tokens into callers, for every endpoint."""

    def __init__(
        self,
        db: Database,
        schema: SchemaCache,
        settings: Settings,
        records: Records,
        callers: Callers,
        sessions: Sessions,
        totp: Totp,
        hooks: Hooks | None = None,
        reach: Reach = Reach(),  # noqa: B008  # frozen
        mails: AccountMails | None = None,
    ) -> None:
        self._hooks = hooks or Hooks()
        # What plugins add to `auth-methods`, see `added_methods`.
        self.added: Callable[[Collection], dict[str, Any]] = lambda _: {}
        self._db = db
        self._schema = schema
        self._settings = settings
        self._records = records
        self._sessions = sessions
        self._totp = totp
        self._mails = mails
        self.callers = callers
        self.oauth2 = OAuth2(db, records, self.callers, self._hooks, schema, reach)

    def collection(self, name_or_id: str) -> Collection:
        """Find an auth collection; raises NotFound."""
        collection = self._schema.current.find(name_or_id, NO_AUTH_COLLECTION)
        if collection.options is None:
            raise NotFound(NO_AUTH_COLLECTION)
        return collection

    async def record(self, name_or_id: str, record_id: str) -> dict[str, Any]:
        """The stored record of an auth collection; raises NotFound."""
        record = await self.callers.record(self.collection(name_or_id), record_id)
        if record is None:
            raise NotFound()
        return record

    async def methods(self, name_or_id: str) -> dict[str, Any]:
        """How one can sign in to a collection, as the wire shows it."""
        collection = self.collection(name_or_id)
        shown = auth_methods(collection, await self.oauth2.methods(collection))
        return shown | self.added(collection)

    def require_oauth2(self, name_or_id: str) -> Collection:
        """Find an auth collection that lets people in through providers."""
        collection = self.collection(name_or_id)
        if collection.options is None or not collection.options.oauth2.enabled:
            raise Forbidden(NO_OAUTH2)
        return collection

    def require_otp(self, name_or_id: str) -> Collection:
        """Find an auth collection that lets people in with mailed codes."""
        collection = self.collection(name_or_id)
        if collection.options is None or not collection.options.otp.enabled:
            raise Forbidden(NO_OTP)
        return collection

    def require_ordinary(self, name_or_id: str, refusal: str) -> Collection:
        """Find an auth collection other than the superusers', who are refused with `refusal`."""
        collection = self.collection(name_or_id)
        if collection.is_superusers:
            raise Invalid(refusal)
        return collection

    async def with_password(
        self, name_or_id: str, form: Mapping[str, str], info: RequestInfo, *, expand: str = ""
    ) -> SignIn | FirstFactor:
        """Sign in with an identity and a password.

        `form` has identity, password, identityField and mfaId, each "" when absent. Unknown accounts,
        wrong passwords and accounts without one are one answer after the same amount of work.
        """
        if not self._hooks.auth_attempt:
            return await self._with_password(name_or_id, form, info, expand)
        collection = self.collection(name_or_id)
        event = AuthAttempt(collection, "password", form["identity"], info)
        async with self._hooks.auth_attempt(collection, event=event):
            return await self._with_password(name_or_id, form, info, expand)

    async def _with_password(
        self, name_or_id: str, form: Mapping[str, str], info: RequestInfo, expand: str
    ) -> SignIn | FirstFactor:
        collection = self.collection(name_or_id)
        options = collection.options
        if options is None or not options.password_auth.enabled:
            raise Forbidden(NO_PASSWORDS)
        identity, password, chosen = form["identity"], form["password"], form["identityField"]
        fields = options.password_auth.identity_fields
        errors = {"identity": length_error(identity), "password": length_error(password)}
        if chosen:
            errors["identityField"] = length_error(chosen) or (None if chosen in fields else NOT_LISTED)
        if wrong := {name: error for name, error in errors.items() if error is not None}:
            raise Invalid(BAD_DATA, wrong)

        record = await self._find(collection, identity, [chosen] if chosen else ordered(fields))
        if record is None:
            await passwords.waste(password, await self._some_hash(collection, identity))
            raise Invalid(FAILED)
        if not await passwords.verify(password, record["password"]):
            raise Invalid(FAILED)
        await self._upgrade(collection, record, password)
        return await self.proven(collection, record, "password", form["mfaId"], info, expand)

    async def with_oauth2(
        self,
        name_or_id: str,
        form: Mapping[str, Any],
        info: RequestInfo,
        may_create: Callable[[], Awaitable[None]],
        *,
        expand: str = "",
    ) -> SignIn | FirstFactor:
        """Sign in with the code of another service; `form` and `may_create` as in `OAuth2.sign_in`."""
        collection = self.require_oauth2(name_or_id)
        event = AuthAttempt(collection, "oauth2", form["provider"], info)
        async with self._hooks.auth_attempt(collection, event=event):
            found = await self.oauth2.sign_in(collection, form, info, may_create)
            # What was made or linked stays, also when this sign-in is refused or waits for a second factor.
            outcome = await self.proven(collection, found.record, "oauth2", form["mfaId"], info, expand)
        return msgspec.structs.replace(outcome, meta=found.meta) if isinstance(outcome, SignIn) else outcome

    async def refresh(
        self, name_or_id: str, caller: Caller, info: RequestInfo, *, expand: str = ""
    ) -> SignIn:
        """Give a new token for a refreshable one, and any other one back as it is."""
        if not self._hooks.auth_attempt:
            return await self._refresh(name_or_id, caller, info, expand)
        collection = self.collection(name_or_id)
        async with self._hooks.auth_attempt(collection, event=AuthAttempt(collection, "refresh", "", info)):
            return await self._refresh(name_or_id, caller, info, expand)

    async def _refresh(self, name_or_id: str, caller: Caller, info: RequestInfo, expand: str) -> SignIn:
        collection = self.collection(name_or_id)
        await self._admit(collection, caller.record, info)
        token = await self._sessions.renew(collection, caller, info) if caller.refreshable else caller.token
        return await self._answer(collection, caller.record, token, info, expand)

    async def impersonate(
        self, name_or_id: str, record_id: str, duration_s: int, info: RequestInfo, *, expand: str = ""
    ) -> SignIn:
        """Give a superuser a token of somebody else that cannot be refreshed; 0 is the usual lifetime."""
        collection = self.collection(name_or_id)
        record = await self.record(name_or_id, record_id)
        if duration_s < 0:
            raise Invalid(BAD_DATA, {"duration": TOO_SMALL})
        await self._admit(collection, record, info)
        token = await self._sessions.begin(
            collection, record, IMPERSONATION, info, duration_s=duration_s, refreshable=False
        )
        return await self._answer(collection, record, token, info, expand)

    async def sign_out_others(
        self, name_or_id: str, caller: Caller, info: RequestInfo, *, expand: str = ""
    ) -> SignIn:
        """End all sessions of a caller but this one, which gets another token."""
        collection = self.collection(name_or_id)
        await self._admit(collection, caller.record, info)
        record, token = await self._sessions.end_others(collection, caller, info)
        return await self._answer(collection, record, token, info, expand)

    # The steps that every sign-in shares (contract, auth §5.1)

    async def proven(
        self,
        collection: Collection,
        record: Mapping[str, Any],
        method: str,
        mfa_id: str,
        info: RequestInfo,
        expand: str,
        *,
        is_enough: bool = False,
    ) -> SignIn | FirstFactor:
        """Sign in whoever has proven by `method` to be this record; `is_enough` when that was two factors."""
        await self._admit(collection, record, info)
        set_up = await self._totp.is_on(collection, record["id"])
        needed = set_up or await factors.is_needed(self._db, self._schema.current, collection, record, info)
        if needed and not is_enough:
            mfa_id = info.query.get("mfaId") or mfa_id
            if not mfa_id:
                return FirstFactor(await factors.begin(self._db, collection, record, method))
            if set_up and method not in STRONG:
                # What the record's owner has set up is not got around by a mailed code.
                raise Invalid(factors.SAME_METHOD)
            await factors.complete(self._db, collection, record, method, mfa_id)
        await self._notice_origin(collection, record, info)
        if self._hooks.auth_succeeded:
            succeeded = AuthSucceeded(collection, method, dict(record), info)
            self._hooks.auth_succeeded(collection, event=succeeded)
        token = await self._sessions.begin(collection, record, method, info)
        return await self._answer(collection, record, token, info, expand)

    async def _notice_origin(
        self, collection: Collection, record: Mapping[str, Any], info: RequestInfo
    ) -> None:
        """Write to whoever signs in from a new place, and remember the place; a failure stops nobody."""
        options = collection.options
        if options is None or not options.auth_alert.enabled:
            return
        if (
            self._mails is not None
            and record["email"]
            and await origins.is_new(self._db, collection, record, info)
        ):
            template = options.auth_alert.email_template
            told = {"{ALERT_INFO}": html.escape(origins.alert_info(info))}
            try:
                async with asyncio.timeout(ALERT_S):
                    await self._mails.send("login-alert", collection, record, template, told, record["email"])
            except (GroundplaneError, MailNotSent, TimeoutError) as error:
                log.warning("The notice of a sign-in from a new location was not sent: %s", error)
                return
        await origins.remember(self._db, collection, record, info)

    async def _admit(self, collection: Collection, record: Mapping[str, Any], info: RequestInfo) -> None:
        """Apply the superusers' address list and the collection's authRule; raises Forbidden."""
        allowed_ips = self._settings.current.superuser_ips
        if collection.is_superusers and allowed_ips and not covers(allowed_ips, info.ip):
            raise Forbidden()
        if info.is_superuser:
            return
        rule = collection.options.auth_rule if collection.options is not None else None
        if rule == "":
            return
        if rule is not None:
            try:
                if await meets(self._db, self._schema.current, collection, record["id"], rule, info):
                    return
            except BadRule as error:
                log.warning("The auth rule of %s cannot be evaluated: %s", collection.name, error)
        raise Forbidden(NOT_ADMITTED)

    async def _answer(
        self, collection: Collection, record: Mapping[str, Any], token: str, info: RequestInfo, expand: str
    ) -> SignIn:
        """The record as it sees itself: with its own e-mail, expanded by its own rights."""
        seen_by = Caller(
            id=record["id"], collection_id=collection.id, collection_name=collection.name, record=record
        )
        own = msgspec.structs.replace(info, caller=seen_by, context="default")
        shown = await self._records.enrich(collection, [dict(record)], own, expand=expand)
        return SignIn(shown[0], token)

    # Looking up and comparing

    async def _find(self, collection: Collection, identity: str, names: list[str]) -> dict[str, Any] | None:
        """The record with this identity; the first field that has one wins.

        Raises Broken for a field that is not unique: more than one record could answer to it.
        """
        if "\x00" in identity:
            return None
        for name in names:
            if name == "email" and len(names) > 1 and not is_email(identity):
                continue
            field = collection.field(name)
            if field is None or not is_single_unique(collection, name):
                raise Broken()
            if (record := await find_by(self._db, collection, field, identity)) is not None:
                return record
        return None

    async def _some_hash(self, collection: Collection, identity: str) -> str:
        """The hash of an existing record, "" when there is none.

        The same one for the same identity: a collection with old and new hashes has fast and slow
        accounts, and an unknown one must look like one or the other, not like now one and now the other.
        """
        secret = collection.options.auth_token.secret if collection.options is not None else ""
        digest = hashlib.sha256(f"{secret}\0{identity}".encode("utf-8", "replace")).digest()
        start = "".join(LOWER_ALPHANUMERIC[byte % 36] for byte in digest[:RECORD_ID_LENGTH])
        return await self._db.fetchval(select_some_password(collection), start) or ""

    async def _upgrade(self, collection: Collection, record: Mapping[str, Any], password: str) -> None:
        """Keep a better hash of a password that just matched. Its tokens and sessions stay as they are."""
        stored: str = record["password"]
        if passwords.needs_upgrade(stored):
            better = await passwords.hash_password(password)
            await self._db.execute(replace_password(collection), record["id"], stored, better)


def ordered(names: list[str]) -> list[str]:
    """The identity fields in the order in which they are tried: the e-mail first."""
    return sorted(names, key=lambda name: name != "email")
