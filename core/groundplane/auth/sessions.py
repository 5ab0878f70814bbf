"""Sessions: who is signed in, where and since when, and how one of them ends before its time.

The wire's token says nothing of a session (its claims are the contract's), so a session is the tokens that were
issued for it: the sign-in's, and one for each refresh. A token is known by its mark, a hash of its signature. To
end one session its marks become refused tokens. They are read in the statement that reads the record behind a
token, which costs an index look-up there; the answers from memory (`Callers.remembered`) cost nothing, as every
process forgets the record's tokens when a message says so, forgets all of them after messages may have been
missed, and looks each up again every five minutes. To end all sessions the record gets another tokenKey.

Alternatives: a claim with the session's id is not the contract's token; a set of refused marks in every process
is memory without bound and has to be loaded before the first request; a session looked up with every request
costs every request.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import asyncpg
import msgspec

from groundplane.auth.callers import FILE, Callers, file_mark, issue, token_options
from groundplane.clock import now, unix_time
from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import GroundplaneError, NotFound, Unauthorized
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events_sessions import Session, SessionCreated, SessionRevoked
from groundplane.records.accounts import new_token_key
from groundplane.records.service import Records
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.security import tokens
from groundplane.security.ids import record_id

log = logging.getLogger(__name__)

QUERIES = load_queries("groundplane.auth", "sessions.sql")
UNKNOWN = "Missing or invalid session."
ENDED = "The session has ended."
MAX_AGENT = 300  # characters
NOTE_EVERY_S = 60.0
MAX_NOTED = 20_000  # tokens between two notes of their use
MAX_SHIFT_S = 10
FORGET_AT_ONCE = 5000  # rows, as in the statements
NEVER = timedelta(days=3650)  # for a token without an expiry: when its session is no longer listed

IMPERSONATION = "impersonation"


class Ended(msgspec.Struct):
    """What every process has to hear: whose sessions end, and the marks of their tokens."""

    collection: str
    record: str
    marks: list[str]
    files_until: float  # expiry of the youngest file token that is refused, in seconds since 1970


class Seen(NamedTuple):
    caller: Caller
    ip: str
    agent: str
    at: datetime


Announce = Callable[[bytes], Awaitable[None]]
SignOut = Callable[[Callable[[Caller], bool], str, str], None]


def signer_of(collection: Collection, record: Mapping[str, Any]) -> str:
    """Names the key of a record's auth tokens without telling it: it changes when all of them die."""
    secret = collection.options.auth_token.secret if collection.options is not None else ""
    digest = hashlib.sha256(f"{record['tokenKey']}{secret}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def agent_of(info: RequestInfo) -> str:
    return shown_agent(info.headers.get("user_agent", ""))


def shown_agent(text: str) -> str:
    return "".join(char for char in text[:MAX_AGENT] if char.isprintable())


def expiry_of(token: str) -> datetime:
    claims = tokens.read_unverified(token) or {}
    exp = claims.get("exp", math.inf)
    moment = now()
    latest = moment + NEVER
    return datetime.fromtimestamp(exp, UTC) if exp < latest.timestamp() else latest


class Sessions:
    """Begins, lists and ends sessions; `announce` sends an `Ended` to every process and returns when all heard it.

    `sign_out` makes guests of the streams that act as a record, as far as a test of their caller says so.
    """

    def __init__(
        self,
        db: Database,
        schema: SchemaCache,
        records: Records,
        callers: Callers,
        hooks: Hooks,
        *,
        announce: Announce,
        sign_out: SignOut,
    ) -> None:
        self._db = db
        self._schema = schema
        self._records = records
        self._callers = callers
        self._hooks = hooks
        self._announce = announce
        self._sign_out = sign_out
        self._seen: dict[str, Seen] = {}
        self._untold: list[bytes] = []  # what could not be announced yet
        self._noting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to note when sessions are used."""
        self._noting = asyncio.create_task(self._note_on(), name="sessions")

    async def close(self) -> None:
        if self._noting is not None:
            self._noting.cancel()
            await asyncio.gather(self._noting, return_exceptions=True)
            with contextlib.suppress(GroundplaneError):
                await self.note()

    # Beginning

    async def begin(
        self,
        collection: Collection,
        record: Mapping[str, Any],
        method: str,
        info: RequestInfo,
        *,
        duration_s: int = 0,
        refreshable: bool = True,
        begun: datetime | None = None,
    ) -> str:
        """Issue the token of a new session. `method` is how it was proven who it is; 0 is the usual lifetime.

        `begun` is when that was, if it was not now.
        """
        options = collection.options
        full_s = duration_s or (options.auth_token.duration if options is not None else 0)
        moment, agent = now(), agent_of(info)
        for shift_s in range(MAX_SHIFT_S):
            # Two sign-ins of one second would have the same token. The later one lives a second less.
            token = issue(collection, record, duration_s=full_s - shift_s, refreshable=refreshable)
            session = Session(
                id=record_id(),
                collection=collection,
                record_id=record["id"],
                method=method,
                ip=info.ip,
                agent=agent,
                created=begun or moment,
                used=moment,
                expires=expiry_of(token),
            )
            if await self._add(session, tokens.mark_of(token), signer_of(collection, record)):
                if self._hooks.session_created:
                    event = SessionCreated(session, dict(record), info)
                    await self._db.after_commit(partial(self._tell_created, event))
                return token
        # So many at once are one session.
        return issue(collection, record, duration_s=full_s, refreshable=refreshable)

    async def _tell_created(self, event: SessionCreated) -> None:
        self._hooks.session_created(event.session.collection, event=event)

    async def _add(self, session: Session, mark: str, signer: str) -> bool:
        added = await self._db.fetchval(
            QUERIES["begin"],
            mark,
            session.id,
            session.expires,
            session.collection.id,
            session.record_id,
            signer,
            session.method,
            session.ip,
            session.agent,
            session.created,
            session.used,
        )
        return added is not None

    async def renew(self, collection: Collection, caller: Caller, info: RequestInfo) -> str:
        """Issue another token for the caller's session; raises Unauthorized when that has just ended."""
        options = collection.options
        full_s = options.auth_token.duration if options is not None else 0
        for shift_s in range(MAX_SHIFT_S):
            token = issue(collection, caller.record, duration_s=full_s - shift_s)
            given = (tokens.mark_of(token), now(), info.ip, agent_of(info), expiry_of(token))
            row = await self._db.fetchrow(QUERIES["renew"], caller.mark, *given)
            if row is not None and row["session"] is None:
                await self._adopt(caller, info.ip, agent_of(info))
                row = await self._db.fetchrow(QUERIES["renew"], caller.mark, *given)
            if row is None or row["known"] is None:
                raise Unauthorized(ENDED)
            if row["owner"] == row["session"]:
                return token
        return caller.token

    async def _adopt(self, caller: Caller, ip: str, agent: str) -> None:
        """Make a session of a valid token that has none: from before there were sessions, or made elsewhere."""
        collection = self._schema.current.by_id.get(caller.collection_id)
        if collection is None or collection.options is None or not caller.record.get("tokenKey"):
            return
        moment, expires = now(), expiry_of(caller.token)
        begun = expires - timedelta(seconds=collection.options.auth_token.duration)
        session = Session(
            id=record_id(),
            collection=collection,
            record_id=caller.id,
            method="" if caller.refreshable else IMPERSONATION,
            ip=ip,
            agent=agent,
            created=min(begun, moment) if begun.timestamp() > 0 else moment,
            used=moment,
            expires=expires,
        )
        await self._add(session, caller.mark, signer_of(collection, caller.record))

    # Noting use

    def saw(self, caller: Caller, ip: str, agent: str) -> None:
        """Note that a token was used; written down within a minute."""
        if caller.mark and not caller.key and len(self._seen) < MAX_NOTED:
            self._seen[caller.mark] = Seen(caller, ip, agent, now())

    async def note(self) -> None:
        """Write down which sessions were used, and make sessions of tokens that have none."""
        seen, self._seen = self._seen, {}
        if not seen:
            return
        unknown = await self._db.fetch(QUERIES["touch"], list(seen), [each.at for each in seen.values()])
        for row in unknown:
            each = seen[row["mark"]]
            await self._adopt(each.caller, each.ip, shown_agent(each.agent))

    async def _note_on(self) -> None:
        while True:
            await asyncio.sleep(NOTE_EVERY_S)
            untold, self._untold = self._untold, []
            for payload in untold:
                await self._tell_processes(payload)
            try:
                await self.note()
            except GroundplaneError as error:
                log.warning("The use of sessions was not noted: %s", error)

    # Looking

    async def page(
        self, collection: Collection, record: Mapping[str, Any], *, limit: int, offset: int, with_total: bool
    ) -> tuple[list[Session], int]:
        """A record's sessions, the last used first, and how many there are (-1: not counted)."""
        await self.note()
        key = (collection.id, record["id"], signer_of(collection, record), now())
        rows = await self._db.fetch(QUERIES["page"], *key, limit, offset)
        total = int(await self._db.fetchval(QUERIES["count"], *key)) if with_total else -1
        return [as_session(row, collection) for row in rows], total

    async def current(self, caller: Caller) -> str:
        """The id of the session that a request belongs to; "" when it has none."""
        found: str | None = await self._db.fetchval(QUERIES["session_of"], caller.mark)
        return found or ""

    async def settled(self, caller: Caller, info: RequestInfo) -> str:
        """As `current`, of a session that is made now if the token has none yet."""
        found = await self.current(caller)
        if not found and caller.mark and not caller.key:
            await self._adopt(caller, info.ip, agent_of(info))
            found = await self.current(caller)
        return found

    async def is_younger(self, caller: Caller, than: timedelta) -> bool:
        """Whether the session of a request began at most so long ago."""
        row = await self._db.fetchrow(QUERIES["view"], await self.current(caller))
        if row is None or row["method"] in ("", IMPERSONATION):
            return False  # nobody has proven to be the record itself
        return bool(now() - row["created"] <= than)

    # Ending

    async def end(
        self, collection: Collection, record_id: str, session_id: str, info: RequestInfo | None = None
    ) -> None:
        """End one session, at once and in every process; raises NotFound.

        Its auth tokens are refused, and so are the record's file tokens of until now, which say nothing of
        sessions and live for minutes: the other sessions fetch new ones.
        """
        if "\x00" in session_id:
            raise NotFound(UNKNOWN)
        moment = now()
        options = collection.options
        file_s = token_options(options, FILE).duration if options is not None else 0
        until = int(unix_time()) + file_s
        async with self._db.transaction():
            row = await self._db.fetchrow(QUERIES["end"], session_id, collection.id, record_id, moment)
            if row is None:
                raise NotFound(UNKNOWN)
            await self._db.execute(QUERIES["refuse_tokens"], session_id)
            forgotten = datetime.fromtimestamp(until + 60, UTC)
            await self._db.execute(
                QUERIES["refuse_mark"], file_mark(collection.id, record_id), float(until), forgotten
            )
            marks = [row["mark"] for row in await self._db.fetch(QUERIES["marks_of"], session_id)]
            ended = Ended(collection.id, record_id, marks, float(until))
            await self._db.after_commit(partial(self._tell_processes, msgspec.json.encode(ended)))
        self._told_ended(collection, record_id, as_session(row, collection), info)

    async def _tell_processes(self, payload: bytes) -> None:
        try:
            await self._announce(payload)
        except GroundplaneError as error:
            # Who cannot be reached may not have noticed; each looks tokens up again every five minutes anyway.
            log.warning("Other processes hear later that a session has ended: %s", error)
            self._untold.append(payload)

    async def end_all(
        self, collection: Collection, record_id: str, info: RequestInfo | None = None
    ) -> dict[str, Any]:
        """End every session of a record, and all its other tokens; returns the record. Raises NotFound."""
        changes = {"tokenKey": new_token_key(collection)}
        record = await self._records.save_fields(collection, record_id, changes)
        self._told_ended(collection, record_id, None, info)
        return record

    async def end_others(
        self, collection: Collection, caller: Caller, info: RequestInfo
    ) -> tuple[dict[str, Any], str]:
        """End every session of the caller but the one of this request; returns the record and its new token.

        Also tokens of which nobody knows are over: the record gets another tokenKey, as for all sessions.
        """
        row = await self._db.fetchrow(QUERIES["view"], await self.current(caller))
        known = as_session(row, collection) if row is not None else None
        record = await self.end_all(collection, caller.id, info)
        token = await self.begin(
            collection,
            record,
            known.method if known is not None else "",
            info,
            refreshable=caller.refreshable,
            # Nothing was proven anew.
            begun=known.created if known is not None else None,
        )
        return record, token

    def _told_ended(
        self, collection: Collection, record_id: str, session: Session | None, info: RequestInfo | None
    ) -> None:
        if self._hooks.session_revoked:
            self._hooks.session_revoked(
                collection, event=SessionRevoked(collection, record_id, session, info)
            )

    async def on_ended(self, payload: bytes) -> None:
        """Hear of the end of a session, in every process."""
        ended = msgspec.json.decode(payload, type=Ended)
        self._callers.forget(ended.collection, ended.record)
        self._callers.refuse_files(ended.collection, ended.record, ended.files_until)
        marks = frozenset(ended.marks)
        self._sign_out(lambda caller: caller.mark in marks, ended.collection, ended.record)

    # Keeping

    async def forget_old(self) -> None:
        """Remove what has expired."""
        for name in ("forget_sessions", "forget_session_tokens", "forget_refused_tokens"):
            while (await self._db.execute(QUERIES[name], now())).endswith(f" {FORGET_AT_ONCE}"):
                pass


def as_session(row: asyncpg.Record, collection: Collection) -> Session:
    return Session(
        id=row["id"],
        collection=collection,
        record_id=row["record"],
        method=row["method"],
        ip=row["ip"],
        agent=row["agent"],
        created=row["created"],
        used=row["used"],
        expires=row["expires"],
    )
