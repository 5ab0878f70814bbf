"""Proving an address, choosing a new password, taking a new address: by links in mails (contract, auth §6.4 to 6.8)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from groundplane.auth.callers import EMAIL_CHANGE, PASSWORD_RESET, VERIFICATION, Callers, issue
from groundplane.auth.counters import Counters
from groundplane.auth.forms import BAD_DATA, email_error, length_error
from groundplane.auth.identities import find_by_email
from groundplane.auth.mails import AccountMails
from groundplane.auth.queries import lock_with_token_key
from groundplane.context import Caller
from groundplane.db.engine import Database
from groundplane.errors import FieldError, Invalid
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import PasswordCheck
from groundplane.jobs.job import Job
from groundplane.mail.message import MailNotSent
from groundplane.schema.collection import Collection
from groundplane.schema.fields.password import PasswordField
from groundplane.security import passwords
from groundplane.security.ids import secret
from groundplane.security.tokens import read_segment

if TYPE_CHECKING:
    from groundplane.records.service import Records

TO_VERIFY, TO_RESET, TO_CHANGE = "verification", "password-reset", "email-change"  # purposes of mails
THROTTLE = timedelta(minutes=2)
MAX_CURRENT_PASSWORD_BYTES = 100

NO_CHANGE_MAIL = "Failed to request email change."
NOT_CHANGED = "Failed to confirm email change."
NOT_RESET = "Failed to set new password."

BAD_TOKEN = FieldError("validation_invalid_token", "Invalid or expired token.")
NO_EMAIL_CLAIM = FieldError("validation_invalid_token_claims", "Missing email token claim.")
NO_NEW_EMAIL = FieldError("validation_invalid_token_payload", "Invalid token payload - newEmail must be set.")
OTHER_COLLECTION = FieldError(
    "validation_token_collection_mismatch", "The provided token is for different auth collection."
)
OTHER_EMAIL = FieldError(
    "validation_token_email_mismatch", "The record email doesn't match with the requested token claims."
)
TAKEN_MEANWHILE = FieldError("validation_invalid_token_email", "The new email address is invalid.")
TAKEN = FieldError("validation_invalid_new_email", "Invalid new email address.")
UNCHANGED = FieldError("validation_not_in_invalid", "Must not be in list.")
WRONG_PASSWORD = FieldError("validation_invalid_password", "Missing or invalid auth record password.")
MISMATCH = FieldError("validation_values_mismatch", "Values don't match.")


class EmailFlows:
    """The verbs of these endpoints; the collection is one that signs in, and was checked for the action."""

    def __init__(
        self,
        db: Database,
        records: Records,
        callers: Callers,
        mails: AccountMails,
        counters: Counters,
        hooks: Hooks | None = None,
    ) -> None:
        self._db = db
        self._records = records
        self._callers = callers
        self._mails = mails
        self._counters = counters
        self._hooks = hooks or Hooks()
        mails.register(TO_VERIFY, self._mail_verification)
        mails.register(TO_RESET, self._mail_reset)

    def collection_of(self, token: str) -> Collection | None:
        """The collection that a token names, which proves nothing; None when it names none that signs in."""
        collection = self._callers.collection(str(unverified_claims(token).get("collectionId", "")))
        return collection if collection is not None and collection.is_auth else None

    # Verification

    async def request_verification(self, collection: Collection, email: str) -> None:
        """Have a link mailed that proves the address, if there is an account with it that needs that."""
        require(email=email_error(email))
        await self._mails.later(TO_VERIFY, collection, {"email": email}, unique_key=email)

    async def _mail_verification(self, collection: Collection, job: Job) -> None:
        record = await find_by_email(self._db, collection, str(job.payload["email"]))
        if record is None or record["verified"] or collection.options is None:
            return
        # Counted by the first run, whatever comes of it.
        if (
            job.runs == 1
            and await self._counters.count(throttle(TO_VERIFY, collection, record), THROTTLE) > 1
        ):
            return
        token = {"{TOKEN}": issue(collection, record, VERIFICATION)}
        template = collection.options.verification_template
        await self._mails.send(TO_VERIFY, collection, record, template, token, record["email"])

    async def confirm_verification(self, collection: Collection, token: str) -> None:
        """Take the address as proven; raises Invalid. A second time nothing happens."""
        record = await self._proven(collection, token)
        if record["email"] != unverified_claims(token).get("email"):
            raise Invalid(BAD_DATA, {"token": OTHER_EMAIL})
        if not record["verified"]:
            changes: dict[str, Any] = {"verified": True}
            options = collection.options
            if options is not None and not options.password_auth.enabled:
                # Whoever set a password before the address was proven need not be its owner.
                changes["password"] = await passwords.hash_password(secret())
            async with self._still(collection, record):
                await self._records.save_fields(collection, record["id"], changes)
        await self._counters.clear(throttle(TO_VERIFY, collection, record))

    # Password reset

    async def request_password_reset(self, collection: Collection, email: str) -> None:
        """Have a link mailed with which a new password is chosen, if there is such an account."""
        require(email=email_error(email))
        await self._mails.later(TO_RESET, collection, {"email": email}, unique_key=email)

    async def _mail_reset(self, collection: Collection, job: Job) -> None:
        options = collection.options
        if options is None or not options.password_auth.enabled:
            return
        record = await find_by_email(self._db, collection, str(job.payload["email"]))
        if record is None or await self._counters.has(throttle(TO_RESET, collection, record)):
            return
        token = {"{TOKEN}": issue(collection, record, PASSWORD_RESET)}
        template = options.reset_password_template
        await self._mails.send(TO_RESET, collection, record, template, token, record["email"])
        await self._counters.count(throttle(TO_RESET, collection, record), THROTTLE)

    async def confirm_password_reset(
        self, collection: Collection, token: str, password: str, confirmation: str
    ) -> None:
        """Give the record behind the token a new password, which ends its sessions; raises Invalid."""
        field = collection.field("password")
        least = max(field.min, 1) if isinstance(field, PasswordField) else 1
        errors = {
            "password": length_error(password, least=least),
            "passwordConfirm": length_error(confirmation, most=2**31)
            or (MISMATCH if confirmation != password else None),
        }
        found = await self._checked(collection, token, PASSWORD_RESET)
        if isinstance(found, FieldError):
            errors["token"] = found
        require(**errors)
        if field is None or isinstance(found, FieldError):
            raise Invalid(BAD_DATA)
        if (error := field.check(password)) is not None:
            raise Invalid(NOT_RESET, {"password": error})
        record = found
        if self._hooks.password_check:
            check = PasswordCheck(collection, "password", password, dict(record), False)
            await self._hooks.password_check(collection, event=check)
        changes: dict[str, Any] = {"password": await passwords.hash_password(password)}
        if not record["verified"] and record["email"] == unverified_claims(token).get("email"):
            changes["verified"] = True
        async with self._still(collection, record):
            await self._records.save_fields(collection, record["id"], changes)
        await self._counters.clear(throttle(TO_RESET, collection, record))

    # Change of the address

    async def request_email_change(self, collection: Collection, caller: Caller, new_email: str) -> None:
        """Mail a link to a new address, and wait for that; raises Invalid."""
        error = email_error(new_email)
        if error is None and new_email == caller.record["email"]:
            error = UNCHANGED
        if error is None and await self._is_taken(collection, new_email, caller.id):
            error = TAKEN
        require(newEmail=error)
        if collection.options is None:
            raise Invalid(NO_CHANGE_MAIL)
        token = {"{TOKEN}": issue(collection, caller.record, EMAIL_CHANGE, newEmail=new_email)}
        template = collection.options.confirm_email_change_template
        try:
            await self._mails.send(TO_CHANGE, collection, caller.record, template, token, new_email)
        except MailNotSent as problem:
            raise Invalid(NO_CHANGE_MAIL) from problem

    async def confirm_email_change(self, collection: Collection, token: str, password: str) -> None:
        """Take the address in the token, which ends all sessions; needs the current password. Raises Invalid."""
        errors: dict[str, FieldError | None] = {
            "password": length_error(password, most=MAX_CURRENT_PASSWORD_BYTES)
        }
        new_email = unverified_claims(token).get("newEmail")
        found = await self._checked(collection, token, EMAIL_CHANGE)
        if token and (not isinstance(new_email, str) or not new_email):
            found = NO_NEW_EMAIL
        if isinstance(found, FieldError):
            errors["token"] = found
            errors["password"] = errors["password"] or WRONG_PASSWORD
            raise Invalid(BAD_DATA, {name: error for name, error in errors.items() if error is not None})
        if await self._is_taken(collection, str(new_email), found["id"]):
            errors["token"] = TAKEN_MEANWHILE
        if errors["password"] is None and not await passwords.verify(password, found["password"]):
            errors["password"] = WRONG_PASSWORD
        require(**errors)
        field = collection.field("email")
        if field is not None and (error := field.check(str(new_email))) is not None:
            raise Invalid(NOT_CHANGED, {"email": error})
        async with self._still(collection, found):
            try:
                changes = {"email": str(new_email), "verified": True}
                await self._records.save_fields(collection, found["id"], changes)
            except Invalid as problem:
                raise Invalid(NOT_CHANGED, problem.data) from problem

    async def _is_taken(self, collection: Collection, email: str, own_id: str) -> bool:
        other = await find_by_email(self._db, collection, email)
        return other is not None and other["id"] != own_id

    # Tokens

    async def _checked(
        self, collection: Collection, token: str, token_type: str
    ) -> dict[str, Any] | FieldError:
        """The stored record behind a token, or what is wrong with it."""
        if not token:
            return length_error("") or BAD_TOKEN
        found = await self._callers.from_token(token, token_type)
        if found is None:
            return BAD_TOKEN
        caller = found[0]
        return dict(caller.record) if caller.collection_id == collection.id else OTHER_COLLECTION

    async def _proven(self, collection: Collection, token: str) -> dict[str, Any]:
        if token and not unverified_claims(token).get("email"):
            raise Invalid(BAD_DATA, {"token": NO_EMAIL_CLAIM})
        found = await self._checked(collection, token, VERIFICATION)
        if isinstance(found, FieldError):
            raise Invalid(BAD_DATA, {"token": found})
        return found

    @asynccontextmanager
    async def _still(self, collection: Collection, record: Mapping[str, Any]) -> AsyncIterator[None]:
        """A transaction in which the token that was checked before is still good.

        Of two requests with one token, the second waits here for the first, and is then refused.
        """
        async with self._db.transaction():
            statement = lock_with_token_key(collection)
            if await self._db.fetchval(statement, record["id"], record["tokenKey"]) is None:
                raise Invalid(BAD_DATA, {"token": BAD_TOKEN})
            yield


def throttle(purpose: str, collection: Collection, record: Mapping[str, Any]) -> str:
    """The counter of mails of a purpose to one record."""
    return f"mail:{purpose}:{collection.id}:{record['id']}"


def unverified_claims(token: str) -> dict[str, Any]:
    """What a token says, whoever has written it; to tell which mistake to name."""
    parts = token.split(".")
    return (read_segment(parts[1]) if len(parts) == 3 else None) or {}


def require(**errors: FieldError | None) -> None:
    """Raise Invalid with all that is wrong, if anything is."""
    if wrong := {name: error for name, error in errors.items() if error is not None}:
        raise Invalid(BAD_DATA, wrong)
