"""One-time passwords by mail (contract, auth §6.9)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from groundplane.auth.counters import QUERIES, Counters
from groundplane.auth.forms import BAD_DATA, email_error, length_error
from groundplane.auth.identities import find_by_email
from groundplane.auth.mails import AccountMails
from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.errors import Invalid, TooManyRequests
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import AuthAttempt
from groundplane.jobs.job import GiveUp, Job
from groundplane.mail.message import MailNotSent
from groundplane.records.accounts import OTPS
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.security import passwords
from groundplane.security.ids import DIGITS, LOWER_ALPHANUMERIC, RECORD_ID_LENGTH, random_text, secret

if TYPE_CHECKING:
    from groundplane.auth.service import Auth, FirstFactor, SignIn
    from groundplane.records.service import Records

PURPOSE = METHOD = "otp"
MAX_CODES = 10  # unexpired ones of a record
MAX_CODE_BYTES = 71
MAX_ATTEMPTS, ATTEMPTS_WINDOW = 5, timedelta(seconds=180)
TAG_LENGTH = 7  # of an id; 36 bits

INVALID = "Invalid or expired OTP."
TOO_MANY = "Too many attempts, please try again later with a new OTP."
TOO_LATE = "The code would come too late."


class OneTimePasswords:
    """The verbs of these endpoints; `auth` has what all sign-in methods share."""

    def __init__(
        self,
        db: Database,
        schema: SchemaCache,
        records: Records,
        auth: Auth,
        mails: AccountMails,
        counters: Counters,
        hooks: Hooks | None = None,
    ) -> None:
        self._db = db
        self._schema = schema
        self._records = records
        self._auth = auth
        self._mails = mails
        self._counters = counters
        self._hooks = hooks or Hooks()
        mails.register(PURPOSE, self._mail)

    async def request(self, name_or_id: str, email: str) -> str:
        """Have a code mailed, if there is such an account; returns the id to sign in with, as if there were.

        The same statements run either way, and the code is made by the job that mails it.
        """
        collection = self._auth.require_otp(name_or_id)
        if (error := email_error(email)) is not None:
            raise Invalid(BAD_DATA, {"email": error})
        record = await find_by_email(self._db, collection, email)
        otp_id = new_otp_id(collection, email)
        used_up = await self._newest_of_many(collection, record["id"] if record is not None else "")
        until = (now() + self._lifetime(collection)).timestamp()
        payload = {"email": email, "otp": otp_id, "until": until}
        # Also when there are too many codes: the job finds that out again, and the request stays the same.
        await self._mails.later(PURPOSE, collection, payload)
        return used_up or otp_id

    async def issue(self, collection: Collection, record: Mapping[str, Any]) -> tuple[str, str]:
        """Make a code that is not mailed; returns its id and the code, which is kept nowhere."""
        otp_id, code = new_otp_id(collection, record["email"]), new_code(collection)
        await self._store(collection, record, otp_id, code)
        return otp_id, code

    async def sign_in(
        self, name_or_id: str, form: Mapping[str, str], info: RequestInfo, *, expand: str = ""
    ) -> SignIn | FirstFactor:
        """Sign in with a code; `form` has otpId, password and mfaId, each "" when absent."""
        collection = self._auth.require_otp(name_or_id)
        event = AuthAttempt(collection, METHOD, form["otpId"], info)
        async with self._hooks.auth_attempt(collection, event=event):
            record = await self._use(collection, form["otpId"], form["password"], info)
            return await self._auth.proven(collection, record, METHOD, form["mfaId"], info, expand)

    async def _use(self, collection: Collection, otp_id: str, code: str, info: RequestInfo) -> dict[str, Any]:
        """Use a code up and return whose it is; raises Invalid, and TooManyRequests for who guesses."""
        errors = {"otpId": length_error(otp_id), "password": length_error(code, most=MAX_CODE_BYTES)}
        if wrong := {name: error for name, error in errors.items() if error is not None}:
            raise Invalid(BAD_DATA, wrong)
        if "\x00" in otp_id:
            raise Invalid(INVALID)
        # By account and address. The end of the id stands for the account, whether there is one or not.
        key = f"otp:{collection.id}:{otp_id[-TAG_LENGTH:]}:{info.ip}"
        if await self._counters.count(key, ATTEMPTS_WINDOW) > MAX_ATTEMPTS:
            raise TooManyRequests(TOO_MANY)
        row = await self._db.fetchrow(QUERIES["find_otp"], otp_id)
        is_good = (
            row is not None
            and row["collectionRef"] == collection.id
            and self._is_current(collection, row["created"])
        )
        if row is None or not is_good:
            await passwords.waste(code)
            raise Invalid(INVALID)
        record = await self._auth.callers.record(collection, row["recordRef"])
        if not await passwords.verify(code, row["password"]) or record is None:
            raise Invalid(INVALID)
        if await self._db.fetchval(QUERIES["take_otp"], otp_id) is None:
            raise Invalid(INVALID)
        if record["verified"] or not row["sentTo"] or row["sentTo"] != record["email"]:
            return record
        # Whoever reads the mail owns the address; who has set a password before need not.
        changes: dict[str, Any] = {"verified": True}
        if collection.options is not None and not collection.options.mfa.enabled:
            changes["password"] = await passwords.hash_password(secret())
        return await self._records.save_fields(collection, record["id"], changes)

    async def _mail(self, collection: Collection, job: Job) -> None:
        """Make a code, store its hash and mail it; each attempt makes another one."""
        options, payload = collection.options, job.payload
        otp_id = str(payload["otp"])
        record = await find_by_email(self._db, collection, str(payload["email"]))
        if record is None or options is None or not options.otp.enabled:
            return
        if now().timestamp() > float(payload["until"]):
            await self._db.execute(QUERIES["take_otp"], otp_id)
            raise GiveUp(TOO_LATE)
        code = new_code(collection)
        if await self._db.fetchrow(QUERIES["find_otp"], otp_id) is not None:
            await self._db.execute(QUERIES["set_otp"], otp_id, await passwords.hash_password(code), now())
        elif await self._newest_of_many(collection, record["id"]) is not None:
            return
        else:
            await self._store(collection, record, otp_id, code)
        try:
            is_sent = await self._mails.send(
                PURPOSE,
                collection,
                record,
                options.otp.email_template,
                {"{OTP}": code, "{OTP_ID}": otp_id},
                record["email"],
            )
        except MailNotSent as error:
            if error.is_final or job.is_last_attempt:
                await self._db.execute(QUERIES["take_otp"], otp_id)
            raise
        if is_sent:
            await self._db.execute(QUERIES["sent_otp"], otp_id, record["email"], now())

    async def _store(self, collection: Collection, record: Mapping[str, Any], otp_id: str, code: str) -> None:
        values = {
            "id": otp_id,
            "collectionRef": collection.id,
            "recordRef": record["id"],
            "password": await passwords.hash_password(code),
        }
        await self._records.create_internal(self._schema.current.find(OTPS), values)

    async def _newest_of_many(self, collection: Collection, record_id: str) -> str | None:
        oldest = now() - self._lifetime(collection)
        found: str | None = await self._db.fetchval(
            QUERIES["newest_otp"], collection.id, record_id, oldest, MAX_CODES
        )
        return found

    def _lifetime(self, collection: Collection) -> timedelta:
        return timedelta(seconds=collection.options.otp.duration if collection.options is not None else 0)

    def _is_current(self, collection: Collection, created: datetime | None) -> bool:
        return created is not None and now() - created <= self._lifetime(collection)


def new_code(collection: Collection) -> str:
    return random_text(collection.options.otp.length if collection.options is not None else 8, DIGITS)


def new_otp_id(collection: Collection, email: str) -> str:
    """A random id that ends in a mark of the account: the same for each code of an address, or of none.

    Attempts are counted by that mark. Were they counted by the record, only existing accounts would ever
    answer 429, and so show that they exist.
    """
    key = collection.options.auth_token.secret if collection.options is not None else ""
    folded = "".join(char.lower() if char.isascii() else char for char in email)
    text = f"otp\0{collection.id}\0{folded}".encode("utf-8", "replace")
    digest = hmac.new(key.encode(), text, hashlib.sha256).digest()
    tag = "".join(LOWER_ALPHANUMERIC[byte % 36] for byte in digest[:TAG_LENGTH])
    return random_text(RECORD_ID_LENGTH - TAG_LENGTH, LOWER_ALPHANUMERIC) + tag
