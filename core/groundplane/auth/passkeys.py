"""Passkeys (WebAuthn): signing in with a key that an authenticator keeps, as a first factor or a second one.

A passkey that has verified its user (by finger, face or PIN) is two factors by itself. One that has not is one:
it completes a sign-in that waits for a second factor, or waits for another one itself.

The site's name and its pages come from the collection's options or the public address of the settings, never
from a request. Attestation is not asked for: it says who made an authenticator, and costs privacy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm

from groundplane.auth.attempts import QUERIES
from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.errors import FieldError, Forbidden, Invalid, NotFound, Unavailable
from groundplane.schema.collection import Collection
from groundplane.security.ids import record_id

NOT_ALLOWED = "The collection is not configured to allow passkeys."
NO_LIBRARY = "Passkeys need a library that is not installed: pip install 'groundplane[passkeys]'."
NO_SITE = "Passkeys need the public address of this server in the settings, with https, or rpId and origins."
FAILED = "Failed to authenticate."
NOT_REGISTERED = "Failed to register the passkey."
UNKNOWN = "Missing or invalid passkey."
TOO_MANY = FieldError("validation_invalid_value", "There are too many passkeys already.")
KNOWN = FieldError("validation_not_unique", "Value must be unique.")
BAD_NAME = FieldError("validation_invalid_value", "Invalid value.")
BAD_CREDENTIAL = FieldError("validation_invalid_value", "Invalid or expired credential.")

REGISTER, SIGN_IN = "register", "sign-in"
CHALLENGE_FOR = timedelta(minutes=5)
MAX_PASSKEYS = 20  # of one record
MAX_NAME = 100  # characters
MAX_CREDENTIAL_ID = 1023  # bytes, as the standard says
MAX_RESPONSE = 65_536  # characters of what an authenticator says, as JSON
TRANSPORTS = frozenset({"ble", "cable", "hybrid", "internal", "nfc", "smart-card", "usb"})


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """One passkey of a record; `model` names the kind of authenticator, `synced` that it is kept in an account."""

    id: str
    record_id: str
    credential: str
    name: str
    model: str
    transports: tuple[str, ...]
    synced: bool
    created: datetime
    used: datetime | None


class Site(NamedTuple):
    """Whom a passkey belongs to: the name that authenticators bind it to, and the pages that may use it."""

    name: str
    origins: list[str]
    title: str


class Proof(NamedTuple):
    """Whose passkey has signed, and whether it has verified its user."""

    record_id: str
    is_verified: bool


class Challenge(NamedTuple):
    """What the browser is asked: an id that comes back with the answer, and the options for it as JSON."""

    id: str
    options: dict[str, Any]


def library() -> Any:
    """The WebAuthn library, which is a quarter of a second to load and has dependencies of its own."""
    try:
        import webauthn
    except ImportError:
        raise Unavailable(NO_LIBRARY) from None
    return webauthn


class Passkeys:
    """The verbs of passkeys; `public` gives the public address and the name of the application, as set now."""

    def __init__(self, db: Database, public: Callable[[], tuple[str, str]]) -> None:
        self._db = db
        self._public = public

    # Having

    async def all(self, collection: Collection, record_id: str) -> list[Passkey]:
        """A record's passkeys, oldest first."""
        require_allowed(collection)
        rows = await self._db.fetch(QUERIES["passkeys_of"], collection.id, record_id)
        return [as_passkey(row) for row in rows]

    async def begin_registration(self, collection: Collection, record: Mapping[str, Any]) -> Challenge:
        """Ask a browser to make a passkey that is found without a name being typed."""
        site, used = self._site(collection), library()
        structs = used.helpers.structs
        known = await self.all(collection, record["id"])
        options = used.generate_registration_options(
            rp_id=site.name,
            rp_name=site.title,
            user_id=record["id"].encode(),
            user_name=record.get("email") or record["id"],
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                user_verification=structs.UserVerificationRequirement.PREFERRED,
            ),
            exclude_credentials=[descriptor(used, each.credential) for each in known],
        )
        return await self._challenge(REGISTER, collection, record["id"], options)

    async def register(
        self, collection: Collection, record: Mapping[str, Any], challenge_id: str, credential: Any, name: str
    ) -> Passkey:
        """Keep the passkey that a browser has made; raises Invalid."""
        site, used = self._site(collection), library()
        if len(name) > MAX_NAME or not name.isprintable():
            raise Invalid(NOT_REGISTERED, {"name": BAD_NAME})
        challenge = await self._take(REGISTER, collection, challenge_id)
        if challenge is None or challenge["record"] != record["id"]:
            raise Invalid(NOT_REGISTERED, {"credential": BAD_CREDENTIAL})
        try:
            made = used.verify_registration_response(
                credential=response_of(credential),
                expected_challenge=challenge["challenge"],
                expected_rp_id=site.name,
                expected_origin=site.origins,
            )
        except refusals(used):
            raise Invalid(NOT_REGISTERED, {"credential": BAD_CREDENTIAL}) from None
        if len(made.credential_id) > MAX_CREDENTIAL_ID:
            raise Invalid(NOT_REGISTERED, {"credential": BAD_CREDENTIAL})
        passkey = Passkey(
            id=record_id(),
            record_id=record["id"],
            credential=used.helpers.bytes_to_base64url(made.credential_id),
            name=name or "Passkey",
            model=made.aaguid,
            transports=transports_of(credential),
            synced=made.credential_backed_up,
            created=now(),
            used=None,
        )
        async with self._db.transaction():
            # One after another, so that two at once cannot be one too many.
            await self._db.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"passkeys:{record['id']}"
            )
            if len(await self.all(collection, record["id"])) >= MAX_PASSKEYS:
                raise Invalid(NOT_REGISTERED, {"credential": TOO_MANY})
            try:
                await self._db.execute(
                    QUERIES["add_passkey"],
                    passkey.id,
                    collection.id,
                    passkey.record_id,
                    passkey.credential,
                    made.credential_public_key,
                    made.sign_count,
                    passkey.name,
                    passkey.model,
                    list(passkey.transports),
                    passkey.synced,
                    passkey.created,
                )
            except UniqueViolation:
                raise Invalid(NOT_REGISTERED, {"credential": KNOWN}) from None
        return passkey

    async def rename(self, collection: Collection, record_id: str, id: str, name: str) -> Passkey:
        """Give a passkey another name; raises NotFound and Invalid."""
        require_allowed(collection)
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise Invalid(None, {"name": BAD_NAME})
        row = await self._of(QUERIES["rename_passkey"], id, collection.id, record_id, name)
        return as_passkey(row)

    async def delete(self, collection: Collection, record_id: str, id: str) -> None:
        """Forget a passkey; raises NotFound."""
        require_allowed(collection)
        await self._of(QUERIES["delete_passkey"], id, collection.id, record_id)

    async def _of(self, statement: str, id: str, *values: object) -> asyncpg.Record:
        row = None if "\x00" in id else await self._db.fetchrow(statement, id, *values)
        if row is None:
            raise NotFound(UNKNOWN)
        return row

    # Proving

    async def begin_sign_in(self, collection: Collection, record_id: str = "") -> Challenge:
        """Ask a browser to sign: with any passkey of the site, or with one of a record that is known already."""
        site, used = self._site(collection), library()
        known = await self.all(collection, record_id) if record_id else []
        options = used.generate_authentication_options(
            rp_id=site.name,
            allow_credentials=[descriptor(used, each.credential) for each in known],
            user_verification=used.helpers.structs.UserVerificationRequirement.PREFERRED,
        )
        return await self._challenge(SIGN_IN, collection, record_id, options)

    async def prove(self, collection: Collection, challenge_id: str, credential: Any) -> Proof:
        """Check what an authenticator has signed and count its use; raises Invalid, with one answer for all."""
        site, used = self._site(collection), library()
        challenge = await self._take(SIGN_IN, collection, challenge_id)
        response = response_of(credential)
        row = await self._db.fetchrow(QUERIES["passkey"], collection.id, response.get("id"))
        if challenge is None or row is None or challenge["record"] not in ("", row["record"]):
            raise Invalid(FAILED)
        handle = response["response"].get("userHandle")
        if handle and handle != used.helpers.bytes_to_base64url(row["record"].encode()):
            raise Invalid(FAILED)
        try:
            done = used.verify_authentication_response(
                credential=response,
                expected_challenge=challenge["challenge"],
                expected_rp_id=site.name,
                expected_origin=site.origins,
                credential_public_key=row["public_key"],
                credential_current_sign_count=row["sign_count"],
            )
        except refusals(used):
            raise Invalid(FAILED) from None
        synced = done.credential_backed_up
        if (
            await self._db.fetchval(QUERIES["use_passkey"], row["id"], done.new_sign_count, now(), synced)
            is None
        ):
            raise Invalid(FAILED)
        return Proof(row["record"], done.user_verified)

    # Challenges

    async def _challenge(self, purpose: str, collection: Collection, owner: str, options: Any) -> Challenge:
        id, moment = record_id(), now()
        await self._db.execute(
            QUERIES["add_challenge"],
            *(id, purpose, collection.id, owner, options.challenge, moment + CHALLENGE_FOR, moment),
        )
        return Challenge(id, library().helpers.options_to_json_dict(options))

    async def _take(self, purpose: str, collection: Collection, id: str) -> asyncpg.Record | None:
        """Use up a challenge; None for one that is unknown, used, expired or for something else."""
        if not isinstance(id, str) or "\x00" in id:
            return None
        row = await self._db.fetchrow(QUERIES["take_challenge"], id)
        if row is None or row["expires"] <= now():
            return None
        return row if (row["purpose"], row["collection"]) == (purpose, collection.id) else None

    def _site(self, collection: Collection) -> Site:
        """The collection's site; raises Forbidden, and Unavailable where none is configured."""
        require_allowed(collection)
        options = collection.options.passkeys if collection.options is not None else None
        address, title = self._public()
        parts = urlsplit(address)
        host = (parts.hostname or "").lower()
        name = (options.rpId if options is not None else "") or host
        origins = list(options.origins) if options is not None else []
        if not origins and (parts.scheme == "https" or host == "localhost"):
            port = f":{parts.port}" if parts.port else ""
            origins = [f"{parts.scheme}://{host}{port}"]
        if not name or not origins:
            raise Unavailable(NO_SITE)
        return Site(name, origins, title)


def descriptor(used: Any, credential: str) -> Any:
    return used.helpers.structs.PublicKeyCredentialDescriptor(id=used.base64url_to_bytes(credential))


def refusals(used: Any) -> tuple[type[Exception], ...]:
    """What the library raises for input that is wrong, or that is not even of the right kind."""
    return (
        used.helpers.exceptions.WebAuthnException,
        *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
        *(UnsupportedAlgorithm, struct.error),
    )


def response_of(credential: Any) -> dict[str, Any]:
    """What a browser sent, as far as it has the outer shape; raises Invalid."""
    if not isinstance(credential, dict) or not isinstance(credential.get("response"), dict):
        raise Invalid(None, {"credential": BAD_CREDENTIAL})
    id = credential.get("id")
    if not isinstance(id, str) or "\x00" in id or len(msgspec.json.encode(credential)) > MAX_RESPONSE:
        raise Invalid(None, {"credential": BAD_CREDENTIAL})
    return credential


def transports_of(credential: Any) -> tuple[str, ...]:
    given = credential["response"].get("transports")
    listed: Sequence[Any] = given if isinstance(given, list) else ()
    return tuple(sorted({each for each in listed if isinstance(each, str) and each in TRANSPORTS}))


def as_passkey(row: asyncpg.Record) -> Passkey:
    return Passkey(
        id=row["id"],
        record_id=row["record"],
        credential=row["credential"],
        name=row["name"],
        model=row["model"],
        transports=tuple(row["transports"]),
        synced=row["synced"],
        created=row["created"],
        used=row["used"],
    )


def is_allowed(collection: Collection) -> bool:
    return collection.options is not None and collection.options.passkeys.enabled


def require_allowed(collection: Collection) -> None:
    if not is_allowed(collection):
        raise Forbidden(NOT_ALLOWED)
