"""Code generators and recovery codes: a second factor that a record sets up for itself.

A record with a confirmed code generator needs it with every sign-in, whatever the collection's `mfa` says: what
its owner has set up must not be got around by another method. Until then it counts for nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from groundplane.auth.attempts import QUERIES, Attempts
from groundplane.clock import now, unix_time
from groundplane.db.engine import Database
from groundplane.errors import REQUIRED, FieldError, Forbidden, Invalid
from groundplane.schema.collection import Collection
from groundplane.security.encryption import Seal
from groundplane.security.ids import random_text
from groundplane.security.totp import matching_step, new_secret, setup_url

NOT_ALLOWED = "The collection is not configured to allow code generators."
IN_USE = "The code generator is in use already."
NOT_BEGUN = "There is no code generator to confirm."
NOT_SET_UP = "There is no code generator."
BAD_DATA = "An error occurred while validating the submitted data."
BAD_CODE = FieldError("validation_invalid_value", "Invalid or used code.")

# Without letters and digits that look alike; 80 bits, so that a fast hash will do.
CODE_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
CODE_GROUPS, GROUP_LENGTH = 4, 4
CODES = 10
MAX_INPUT = 255  # characters


class Standing(NamedTuple):
    """What a record has: since when, and how many recovery codes are left. `since` None: nothing that counts."""

    since: datetime | None
    recovery_codes: int


def new_code() -> str:
    return "-".join(random_text(GROUP_LENGTH, CODE_LETTERS) for _ in range(CODE_GROUPS))


def recovery_hash(collection_id: str, record_id: str, code: str) -> str:
    """Hash what was typed, however it was grouped."""
    plain = "".join(char for char in code.lower() if char.isalnum())
    text = f"{collection_id}:{record_id}:{plain}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


class Totp:
    """The verbs of code generators; secrets are sealed with `encryption_key` when there is one."""

    def __init__(self, db: Database, attempts: Attempts, encryption_key: str = "") -> None:
        self._db = db
        self._attempts = attempts
        self._seal = Seal(encryption_key) if encryption_key else None

    async def is_on(self, collection: Collection, record_id: str) -> bool:
        """Whether a record has a confirmed code generator where the collection allows them."""
        if not is_allowed(collection):
            return False
        return bool(await self._db.fetchval(QUERIES["has_totp"], collection.id, record_id))

    async def standing(self, collection: Collection, record_id: str) -> Standing:
        require_allowed(collection)
        row = await self._db.fetchrow(QUERIES["totp"], collection.id, record_id)
        left = await self._db.fetchval(QUERIES["count_recovery_codes"], collection.id, record_id)
        return Standing(row["confirmed"] if row is not None else None, int(left))

    async def begin(self, collection: Collection, record: Mapping[str, Any], issuer: str) -> tuple[str, str]:
        """Make a secret, which counts once it is confirmed; returns it, and the URL of it for authenticator apps."""
        require_allowed(collection)
        secret = new_secret()
        sealed = self._seal.seal(secret) if self._seal is not None else secret
        begun = await self._db.fetchval(QUERIES["begin_totp"], collection.id, record["id"], sealed, now())
        if begun is None:
            raise Invalid(IN_USE)
        return secret, setup_url(secret, issuer, record.get("email") or record["id"])

    async def confirm(self, collection: Collection, record_id: str, code: str) -> list[str]:
        """Have a code generator count from now on; returns the recovery codes, which are not shown again."""
        require_allowed(collection)
        require_code(code)
        owner = collection.id, record_id
        row = await self._db.fetchrow(QUERIES["totp"], *owner)
        if row is None or row["confirmed"] is not None:
            raise Invalid(IN_USE if row is not None else NOT_BEGUN)
        await self._attempts.take(*owner)
        step = matching_step(self._open(row["secret"]), code, unix_time(), 0)
        if step is None:
            raise Invalid(BAD_DATA, {"code": BAD_CODE})
        async with self._db.transaction():
            if await self._db.fetchval(QUERIES["confirm_totp"], *owner, step, now(), row["secret"]) is None:
                raise Invalid(IN_USE)
            codes = await self._new_codes(*owner)
        await self._attempts.clear(*owner)
        return codes

    async def check(self, collection: Collection, record_id: str, code: str, recovery_code: str = "") -> None:
        """Use up a code, or a recovery code when there is none; raises Invalid and TooManyRequests."""
        require_allowed(collection)
        key = "recoveryCode" if recovery_code and not code else "code"
        require_code(recovery_code if key == "recoveryCode" else code, key)
        owner = collection.id, record_id
        await self._attempts.take(*owner)
        good = await (
            self._use_recovery_code(*owner, recovery_code)
            if key == "recoveryCode"
            else self._use_code(*owner, code)
        )
        if not good:
            raise Invalid(BAD_DATA, {key: BAD_CODE})
        await self._attempts.clear(*owner)

    async def new_recovery_codes(self, collection: Collection, record_id: str, code: str) -> list[str]:
        """Replace all recovery codes; needs a code of the generator."""
        await self.check(collection, record_id, code)
        async with self._db.transaction():
            return await self._new_codes(collection.id, record_id)

    async def end(self, collection: Collection, record_id: str) -> None:
        """Forget the code generator and the recovery codes; raises Invalid when there is none."""
        async with self._db.transaction():
            if await self._db.fetchval(QUERIES["end_totp"], collection.id, record_id) is None:
                raise Invalid(NOT_SET_UP)
            await self._db.execute(QUERIES["forget_recovery_codes"], collection.id, record_id)

    async def _use_code(self, collection_id: str, record_id: str, code: str) -> bool:
        row = await self._db.fetchrow(QUERIES["totp"], collection_id, record_id)
        if row is None or row["confirmed"] is None:
            return False
        step = matching_step(self._open(row["secret"]), code, unix_time(), row["last_step"])
        if step is None:
            return False
        return await self._db.fetchval(QUERIES["use_step"], collection_id, record_id, step) is not None

    async def _use_recovery_code(self, collection_id: str, record_id: str, code: str) -> bool:
        hashed = recovery_hash(collection_id, record_id, code)
        return (
            await self._db.fetchval(QUERIES["use_recovery_code"], collection_id, record_id, hashed)
            is not None
        )

    async def _new_codes(self, collection_id: str, record_id: str) -> list[str]:
        codes = [new_code() for _ in range(CODES)]
        hashes = [recovery_hash(collection_id, record_id, code) for code in codes]
        await self._db.execute(QUERIES["forget_recovery_codes"], collection_id, record_id)
        await self._db.execute(QUERIES["add_recovery_codes"], collection_id, record_id, hashes, now())
        return codes

    def _open(self, secret: str) -> str:
        return self._seal.open(secret) if self._seal is not None else secret


def is_allowed(collection: Collection) -> bool:
    return collection.options is not None and collection.options.totp.enabled


def require_allowed(collection: Collection) -> None:
    if not is_allowed(collection):
        raise Forbidden(NOT_ALLOWED)


def require_code(code: str, key: str = "code") -> None:
    if not code:
        raise Invalid(BAD_DATA, {key: REQUIRED})
    if len(code) > MAX_INPUT:
        raise Invalid(BAD_DATA, {key: BAD_CODE})
