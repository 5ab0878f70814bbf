"""Signing in: who may, with what, and what they get. Read this first."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.auth import factors, origins
from groundplane.auth.callers import Callers, issue
from groundplane.auth.methods import auth_methods
from groundplane.auth.queries import replace_password, select_by_identity, select_some_password
from groundplane.auth.rules import BadRule, meets
from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.errors import REQUIRED, FieldError, Forbidden, GroundplaneError, Invalid, NotFound
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import AuthAttempt, AuthSucceeded
from groundplane.schema.addresses import is_email
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.indexes import is_single_unique, unique_nocase
from groundplane.security import passwords
from groundplane.security.addresses import covers
from groundplane.security.ids import LOWER_ALPHANUMERIC, RECORD_ID_LENGTH
from groundplane.settings.service import Settings

if TYPE_CHECKING:
    from groundplane.records.service import Records

log = logging.getLogger(__name__)

NO_AUTH_COLLECTION = "Missing or invalid auth collection context."
NO_OAUTH2 = "The collection is not configured to allow OAuth2 authentication."
NO_OTP = "The collection is not configured to allow OTP authentication."
NO_PASSWORDS = "The collection is not configured to allow password authentication."
NOT_ADMITTED = "The request doesn't satisfy the collection requirements to authenticate."
BAD_DATA = "An error occurred while validating the submitted data."
FAILED = "Failed to authenticate."

NOT_LISTED = FieldError("validation_in_invalid", "Must be a valid value.")
TOO_SMALL = FieldError(
    "validation_min_greater_equal_than_required", "Must be no less than 0.", {"threshold": 0}
)
MAX_INPUT_BYTES = 255


class Broken(GroundplaneError):
    """The collection is set up in a way that no sign-in can work with."""

    status = 500


class SignIn(msgspec.Struct, frozen=True):
    """The answer to a sign-in that went through, in the order of the wire."""

    record: dict[str, Any]
    token: str


class FirstFactor(msgspec.Struct, frozen=True):
    """A sign-in that needs a second method; the client sends the id with it."""

    mfa_id: str


def length_error(text: str, *, required: bool = True) -> FieldError | None:
    """Lengths of sign-in inputs are counted in bytes."""
    if not text:
        return REQUIRED if required else None
    if len(text.encode("utf-8", "replace")) > MAX_INPUT_BYTES:
        return FieldError(
            "validation_length_out_of_range",
            f"The length must be between 1 and {MAX_INPUT_BYTES}.",
            {"max": MAX_INPUT_BYTES, "min": 1},
        )
    return None


class Auth:
    """The verbs of the sign-in endpoints. `callers` turns tokens into callers, for every endpoint."""

    def __init__(
        self,
        db: Database,
        schema: SchemaCache,
        settings: Settings,
        records: Records,
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks or Hooks()
        self._db = db
        self._schema = schema
        self._settings = settings
        self._records = records
        self.callers = Callers(db, schema)

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

    def methods(self, name_or_id: str) -> dict[str, Any]:
        """How one can sign in to a collection, as the wire shows it."""
        return auth_methods(self.collection(name_or_id))

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
        return await self._sign_in(collection, record, "password", form["mfaId"], info, expand)

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
        token = issue(collection, caller.record) if caller.refreshable else caller.token
        await self._admit(collection, caller.record, info)
        return await self._answer(collection, caller.record, token, info, expand)

    async def impersonate(
        self, name_or_id: str, record_id: str, duration_s: int, info: RequestInfo, *, expand: str = ""
    ) -> SignIn:
        """Give a superuser a token of somebody else that cannot be refreshed; 0 is the usual lifetime."""
        collection = self.collection(name_or_id)
        record = await self.record(name_or_id, record_id)
        if duration_s < 0:
            raise Invalid(BAD_DATA, {"duration": TOO_SMALL})
        token = issue(collection, record, duration_s=duration_s, refreshable=False)
        await self._admit(collection, record, info)
        return await self._answer(collection, record, token, info, expand)

    # The steps that every sign-in shares (contract, auth §5.1)

    async def _sign_in(
        self,
        collection: Collection,
        record: Mapping[str, Any],
        method: str,
        mfa_id: str,
        info: RequestInfo,
        expand: str,
    ) -> SignIn | FirstFactor:
        token = issue(collection, record)
        await self._admit(collection, record, info)
        if await factors.is_needed(self._db, self._schema.current, collection, record, info):
            mfa_id = info.query.get("mfaId") or mfa_id
            if not mfa_id:
                return FirstFactor(await factors.begin(self._db, collection, record, method))
            await factors.complete(self._db, collection, record, method, mfa_id)
        if collection.options is not None and collection.options.auth_alert.enabled:
            await origins.remember(self._db, collection, record, info)
        if self._hooks.auth_succeeded:
            succeeded = AuthSucceeded(collection, method, dict(record), info)
            self._hooks.auth_succeeded(collection, event=succeeded)
        return await self._answer(collection, record, token, info, expand)

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
            if (record := await self._find_by(collection, field, identity)) is not None:
                return record
        return None

    async def _find_by(self, collection: Collection, field: Field, identity: str) -> dict[str, Any] | None:
        nocase = field.kind is Kind.TEXT and unique_nocase(collection, field.name)
        value = identity if field.kind is Kind.TEXT else field.from_input(identity)
        row = await self._db.fetchrow(select_by_identity(collection, field, nocase=nocase), value)
        if row is None:
            return None
        return {
            each.name: each.from_column(stored)
            for each, stored in zip(collection.fields, row.values(), strict=True)
        }

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
