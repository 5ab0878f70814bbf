"""Service keys: how programs sign in, with rights that a person has written down for each.

A key is `gpk_`, 40 random letters and digits, and 6 of a checksum, so that it is recognised in a leak and a typing
error is seen without asking anybody. Only its hash is stored; as the key is random a fast hash will do. Every
process keeps all keys in memory, reads them again when a message says so, and does not answer from memory while
messages may be missed: so a request with a key costs no statement of its own, and one without costs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from groundplane.auth.callers import Callers
from groundplane.auth.scopes import ACTIONS, EVERYTHING, Access, Key, Scope
from groundplane.clock import now
from groundplane.context import SUPERUSERS, Caller
from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.db.sql import load_queries
from groundplane.errors import REQUIRED, ErrorData, FieldError, GroundplaneError, Invalid, NotFound
from groundplane.schema.cache import SchemaCache
from groundplane.schema.dates import parse_date
from groundplane.security.ids import ALPHANUMERIC, record_id, secret

log = logging.getLogger(__name__)

QUERIES = load_queries("groundplane.auth", "service_keys.sql")
PREFIX = "gpk_"
SECRET_LENGTH = 40  # characters: 238 bits
CHECK_LENGTH = 6
KEY = re.compile(rf"{PREFIX}[A-Za-z0-9]{{{SECRET_LENGTH + CHECK_LENGTH}}}")
HINT_LENGTH = 8
MARK = "key:"  # how the mark of a caller with a key begins
MAX_NAME = 100  # characters
MAX_SCOPES = 100
MAX_GRACE_S = 30 * 86_400
NOTE_EVERY_S = 60.0

NOT_SAVED = "Failed to save the service key."
UNKNOWN = "Missing or invalid service key."
BAD_VALUE = FieldError("validation_invalid_value", "Invalid value.")
NOT_LISTED = FieldError("validation_in_invalid", "Must be a valid value.")
NOT_UNIQUE = FieldError("validation_not_unique", "Value must be unique.")
NOT_EMPTY = FieldError("validation_empty", "Must be blank.")
NO_COLLECTION = FieldError("validation_invalid_collection", "Missing or invalid collection.")
NO_RECORD = FieldError("validation_invalid_record", "Missing or invalid record.")
PAST = FieldError("validation_invalid_value", "Must be in the future.")

Announce = Callable[[], Awaitable[None]]
SignOut = Callable[[Callable[[Caller], bool]], None]


def checksum(text: str) -> str:
    """Six letters and digits that a mistyped key does not end with."""
    number, found = zlib.crc32(text.encode()), ""
    for _ in range(CHECK_LENGTH):
        number, rest = divmod(number, len(ALPHANUMERIC))
        found += ALPHANUMERIC[rest]
    return found


def new_key() -> str:
    body = PREFIX + secret(SECRET_LENGTH)
    return body + checksum(body)


def is_key(text: str) -> bool:
    """Whether it could be a key: the form and the checksum are right."""
    return KEY.fullmatch(text) is not None and text.endswith(checksum(text[:-CHECK_LENGTH]))


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class ServiceKeys:
    """Makes, changes and recognises keys; `announce` returns when every process has called `load` again."""

    def __init__(
        self,
        db: Database,
        schema: SchemaCache,
        callers: Callers,
        *,
        announce: Announce,
        sign_out: SignOut,
    ) -> None:
        self._db = db
        self._schema = schema
        self._callers = callers
        self._announce = announce
        self._sign_out = sign_out
        self._by_hash: dict[str, Key] = {}
        self._by_id: dict[str, Key] = {}
        self._loading = asyncio.Lock()
        self._noted: dict[str, datetime] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Read all keys again, and end the streams of those that are gone."""
        async with self._loading:
            keys = [as_key(row) for row in await self._db.fetch(QUERIES["all"])]
            by_hash = {key.hash: key for key in keys}
            by_hash |= {key.previous: key for key in keys if key.previous}
            self._by_hash, self._by_id = by_hash, {key.id: key for key in keys}
        known = self._by_id
        self._sign_out(lambda caller: caller.key != "" and caller.key not in known)

    def start(self) -> None:
        """Read the keys again now and then: the bound for what a message that got lost could leave unheard."""
        task = asyncio.create_task(self._read_on(), name="service keys")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _read_on(self) -> None:
        while True:
            await asyncio.sleep(NOTE_EVERY_S)
            try:
                await self.load()
            except GroundplaneError as error:
                log.warning("The service keys could not be read again: %s", error)

    async def close(self) -> None:
        for task in self._notes:
            task.cancel()
        await asyncio.gather(*self._notes, return_exceptions=True)

    # Recognising

    async def caller(self, text: str) -> Caller | None:
        """Who a request with this key acts as; None for a key that is unknown, expired or whose record is gone."""
        if not is_key(text):
            return None
        hashed = hash_of(text)
        key, moment = self._by_hash.get(hashed), now()
        if key is None or not key.is_valid(moment):
            return None
        if hashed == key.previous and (key.previous_until is None or key.previous_until <= moment):
            return None
        self._note(key, moment)
        return await self.caller_of(key.id)

    async def caller_of(self, key_id: str) -> Caller | None:
        """Who acts with the key of this id, as `caller`."""
        key = self._by_id.get(key_id)
        if key is None or not key.is_valid(now()):
            return None
        if key.access is not Access.RULES:
            collection = self._schema.current.find(SUPERUSERS)
            # No account: nobody can sign in as it, and no session of anybody ends with it.
            record: dict[str, Any] = {"id": key.id, "email": "", "verified": True, "tokenKey": ""}
            return self._acting(key, collection.id, collection.name, record)
        found = self._schema.current.by_id.get(key.collection)
        if found is None or not found.is_auth or found.is_superusers:
            return None
        stored = await self._callers.record(found, key.record)
        return None if stored is None else self._acting(key, found.id, found.name, stored)

    def _acting(self, key: Key, collection_id: str, name: str, record: Mapping[str, Any]) -> Caller:
        return Caller(
            id=record["id"],
            collection_id=collection_id,
            collection_name=name,
            record=record,
            refreshable=False,
            mark=MARK + key.id,
            key=key.id,
        )

    async def named(self, mark: str) -> Caller | None:
        """Who acts with the key of this mark; None for other marks."""
        return await self.caller_of(mark.removeprefix(MARK)) if mark.startswith(MARK) else None

    def key_of(self, caller: Caller) -> Key | None:
        """The key that a request came with; None when it is gone meanwhile."""
        return self._by_id.get(caller.key)

    def _note(self, key: Key, moment: datetime) -> None:
        """Write down the use of a key, once a minute and behind the request."""
        last = self._noted.get(key.id)
        if last is not None and (moment - last).total_seconds() < NOTE_EVERY_S:
            return
        self._noted[key.id] = moment
        task = asyncio.get_running_loop().create_task(self._write_use(key.id, moment))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write_use(self, key_id: str, moment: datetime) -> None:
        try:
            await self._db.execute(QUERIES["used"], key_id, moment)
        except GroundplaneError as error:
            log.warning("The use of a service key was not noted: %s", error)

    # Looking and changing

    async def all(self) -> list[Key]:
        """Every key, newest first."""
        return [as_key(row) for row in await self._db.fetch(QUERIES["all"])]

    async def view(self, id: str) -> Key:
        """Return a key; raises NotFound."""
        row = None if "\x00" in id else await self._db.fetchrow(QUERIES["view"], id)
        if row is None:
            raise NotFound(UNKNOWN)
        return as_key(row)

    async def create(self, raw: Mapping[str, Any]) -> tuple[Key, str]:
        """Make a key of raw values as the API has them; the second is the key itself, which is not shown again.

        Raises Invalid. Returns when every process knows the key.
        """
        draft = await self._read(raw)
        text, id = new_key(), record_id()
        scopes = msgspec.json.encode(draft.scopes).decode()
        try:
            await self._db.execute(
                QUERIES["add"],
                id,
                draft.name,
                hash_of(text),
                text[: len(PREFIX) + HINT_LENGTH],
                draft.collection,
                draft.record,
                draft.access.value,
                scopes,
                draft.expires,
                now(),
            )
        except UniqueViolation:
            raise Invalid(NOT_SAVED, {"name": NOT_UNIQUE}) from None
        await self._announce()
        return await self.view(id), text

    async def rotate(self, id: str, grace_s: int = 0) -> tuple[Key, str]:
        """Give a key another text; the old one goes on for `grace_s` seconds. Raises NotFound and Invalid."""
        if not 0 <= grace_s <= MAX_GRACE_S:
            raise Invalid(NOT_SAVED, {"grace": BAD_VALUE})
        await self.view(id)
        text, moment = new_key(), now()
        hint = text[: len(PREFIX) + HINT_LENGTH]
        until = moment + timedelta(seconds=grace_s)
        if await self._db.fetchval(QUERIES["rotate"], id, hash_of(text), hint, until, moment) is None:
            raise NotFound(UNKNOWN)
        await self._announce()
        return await self.view(id), text

    async def revoke(self, id: str) -> None:
        """Forget a key: when this returns no process takes it any more. Raises NotFound."""
        if "\x00" in id or await self._db.fetchval(QUERIES["revoke"], id) is None:
            raise NotFound(UNKNOWN)
        await self._announce()

    async def _read(self, raw: Mapping[str, Any]) -> Key:
        """Check what was submitted; raises Invalid."""
        errors: dict[str, ErrorData | FieldError] = {}
        name, access, expires = raw.get("name"), raw.get("access", Access.RULES.value), raw.get("expires")
        if not name:
            errors["name"] = REQUIRED
        elif not isinstance(name, str) or len(name) > MAX_NAME or not name.isprintable():
            errors["name"] = BAD_VALUE
        if access not in [each.value for each in Access]:
            errors["access"] = NOT_LISTED
        moment = None
        if expires not in (None, ""):
            moment = parse_date(expires) if isinstance(expires, str) else None
            if moment is None:
                errors["expires"] = BAD_VALUE
            elif moment <= now():
                errors["expires"] = PAST
        collection = record = ""
        if access == Access.RULES.value:
            collection, record = await self._read_actor(raw.get("record"), errors)
        elif raw.get("record"):
            errors["record"] = NOT_EMPTY
        scopes = self._read_scopes(raw.get("scopes"), access, errors)
        if errors:
            raise Invalid(NOT_SAVED, errors)
        return Key(
            name=str(name),
            access=Access(access),
            collection=collection,
            record=record,
            scopes=scopes,
            expires=moment,
        )

    async def _read_actor(self, raw: Any, errors: dict[str, Any]) -> tuple[str, str]:
        """The ids of the record that a key acts as, and of its collection."""
        values = raw if isinstance(raw, Mapping) else {}
        name, id = values.get("collection"), values.get("id")
        found = self._schema.current.get(name) if isinstance(name, str) and name else None
        if not raw:
            errors["record"] = REQUIRED
        elif found is None or not found.is_auth or found.is_superusers:
            errors["record"] = {"collection": NO_COLLECTION}
        elif not isinstance(id, str) or await self._callers.record(found, id) is None:
            errors["record"] = {"id": NO_RECORD}
        else:
            return found.id, id
        return "", ""

    def _read_scopes(self, raw: Any, access: Any, errors: dict[str, Any]) -> tuple[Scope, ...]:
        if access == Access.SUPERUSER.value:
            if raw:
                errors["scopes"] = NOT_EMPTY
            return ()
        if not raw:
            errors["scopes"] = REQUIRED
            return ()
        if not isinstance(raw, Sequence) or isinstance(raw, str) or len(raw) > MAX_SCOPES:
            errors["scopes"] = BAD_VALUE
            return ()
        scopes: list[Scope] = []
        wrong: dict[str, Any] = {}
        for position, each in enumerate(raw):
            values = each if isinstance(each, Mapping) else {}
            found = {
                key: error
                for key, error in (
                    ("collections", self._names_error(values.get("collections"))),
                    ("actions", actions_error(values.get("actions"))),
                )
                if error is not None
            }
            if found:
                wrong[str(position)] = found
            else:
                scopes.append(Scope(self._ids(values["collections"]), tuple(values["actions"])))
        if wrong:
            errors["scopes"] = wrong
        return tuple(scopes)

    def _names_error(self, names: Any) -> FieldError | None:
        if not names:
            return REQUIRED
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return BAD_VALUE
        schema = self._schema.current
        known = all(name == EVERYTHING or schema.get(name) is not None for name in names)
        return None if known else NO_COLLECTION

    def _ids(self, names: Sequence[str]) -> tuple[str, ...]:
        schema = self._schema.current
        return tuple(
            found.id if (found := schema.get(name)) is not None else name for name in dict.fromkeys(names)
        )


def actions_error(actions: Any) -> FieldError | None:
    if not actions:
        return REQUIRED
    if not isinstance(actions, list) or not all(each in (*ACTIONS, EVERYTHING) for each in actions):
        return NOT_LISTED
    return None


def as_key(row: asyncpg.Record) -> Key:
    return Key(
        id=row["id"],
        name=row["name"],
        hash=row["hash"],
        hint=row["hint"],
        access=Access(row["access"]),
        collection=row["collection"],
        record=row["record"],
        scopes=msgspec.json.decode(row["scopes"], type=tuple[Scope, ...]),
        previous=row["previous"],
        previous_until=row["previous_until"],
        expires=row["expires"],
        used=row["used"],
        created=row["created"],
        updated=row["updated"],
    )
