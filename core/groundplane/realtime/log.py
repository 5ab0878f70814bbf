"""The bounded log of changes: written with the change, read by every process that has somebody to tell.

A message that tells the other processes of each change could be lost with its sender after the commit, and
notifications inside of the transaction make PostgreSQL commit one after another. So changes are rows, messages
only say that there is something to read, and a reader that missed them finds everything at its next look.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection as Some
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from groundplane.db.engine import Database
from groundplane.db.sql import Args, Sql, load_queries
from groundplane.events.changes import Change
from groundplane.records.plan import SECRET_FIELDS, Plan, plan_of
from groundplane.records.queries import VIRTUAL, virtual_row, virtual_value
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection

QUERIES = load_queries("groundplane.realtime")
MAX_CURSOR_LENGTH = 2000
MAX_SEQ = 2**63 - 1
LOADED = "*"  # in place of a collection: so much has changed that the log does not hold it


class Event(NamedTuple):
    """One change, without the record; `verdict` names what was judged before a record was deleted."""

    seq: int
    at: datetime
    collection: str
    record: str
    action: str
    verdict: str


class Position(NamedTuple):
    """How far somebody has read: all that `before` sees, and of what `upto` sees the events up to `seq`."""

    before: str
    upto: str
    seq: int
    at_ms: int

    def cursor(self) -> str:
        text = f"{self.before} {self.upto} {self.seq} {self.at_ms}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


SNAPSHOT_MARKS = frozenset("0123456789:,")


def read_cursor(cursor: str) -> Position | None:
    """Read what `Position.cursor` wrote; None for anything else."""
    if not cursor or len(cursor) > MAX_CURSOR_LENGTH:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        before, upto, seq, at_ms = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split(" ")
        position = Position(before, upto, int(seq), int(at_ms))
    except (ValueError, binascii.Error):
        return None
    in_bounds = 0 <= position.seq <= MAX_SEQ and 0 <= position.at_ms < 2**53
    return position if in_bounds and is_snapshot(before) and is_snapshot(upto) else None


def is_snapshot(text: str) -> bool:
    """Whether PostgreSQL will read it as a `pg_snapshot`: `xmin:xmax:xip,…`, ascending."""
    if not set(text) <= SNAPSHOT_MARKS or text.count(":") != 2:
        return False
    xmin, xmax, running = text.split(":")
    try:
        low, high = int(xmin), int(xmax)
        between = [int(each) for each in running.split(",")] if running else []
    except ValueError:
        return False
    return (
        0 < low <= high < 2**63 and between == sorted(set(between)) and all(low <= x < high for x in between)
    )


class EventLog:
    """Reads and writes `_events`."""

    def __init__(self, db: Database, schema: SchemaCache) -> None:
        self._db = db
        self._schema = schema
        self._inserts: dict[str, tuple[Plan, str]] = {}  # by the collection's id

    async def write(self, change: Change, verdict: str = "") -> None:
        """Keep a change; inside its transaction. Passwords and token keys are left out."""
        statement = self._insert(
            change.collection, change.collection.id, change.record, change.action, verdict
        )
        await self._db.execute(statement.text, *statement.args)

    async def write_loaded(self) -> None:
        """Keep that everybody has to load their data again; inside the transaction that is the reason."""
        await self._db.execute(QUERIES["loaded"], LOADED)

    async def write_doomed(self, collection: Collection, record: Mapping[str, Any]) -> int:
        """Keep a record that may be deleted, where no reader looks for changes; returns its number."""
        statement = self._insert(collection, "", record, "delete", "")
        return int(await self._db.fetchval(f'{statement.text} RETURNING "seq"', *statement.args))

    def _insert(
        self, collection: Collection, key: str, record: Mapping[str, Any], action: str, verdict: str
    ) -> Sql:
        values = record
        if collection.is_auth:
            values = {name: "" if name in SECRET_FIELDS else value for name, value in record.items()}
        plan = plan_of(self._schema.current, collection)
        known = self._inserts.get(collection.id)
        if known is None or known[0] is not plan:
            known = self._inserts[collection.id] = plan, insert_text(plan)
        row = [virtual_value(field, values[field.name]) for field in plan.fields]
        return Sql(known[1], (*row, key, record["id"], action, verdict))

    async def head(self) -> str:
        """The snapshot of now."""
        return str(await self._db.fetchval(QUERIES["head"]))

    async def since(self, snapshot: str, collections: Some[str], limit: int) -> tuple[str, list[Event]]:
        """What committed since a snapshot in these collections, the first of it, and the snapshot of now."""
        rows = await self._db.fetch(QUERIES["since"], snapshot, [*collections, LOADED], limit)
        return rows[0]["snapshot"], [event_of(row) for row in rows if row["seq"] is not None]

    async def missed(self, position: Position, upto: str, collections: Some[str], limit: int) -> list[Event]:
        """What somebody who has read up to a position has missed of what `upto` sees, oldest first."""
        rows = await self._db.fetch(
            QUERIES["between"],
            position.before,
            upto,
            position.upto,
            position.seq,
            [*collections, LOADED],
            limit,
        )
        return [event_of(row) for row in rows]

    async def interest(self) -> dict[str, bool]:
        """The ids of the collections whose changes anybody may want to hear of or to read later.

        True says that deletions must be judged while all is still there.
        """
        return {row["collection"]: row["deep"] for row in await self._db.fetch(QUERIES["interest"])}

    async def want(self, interest: Mapping[str, tuple[float, bool]]) -> None:
        """Say for how many seconds changes of collections are wanted, and whether deeply."""
        seconds = [each[0] for each in interest.values()]
        deep = [each[1] for each in interest.values()]
        await self._db.execute(QUERIES["want"], list(interest), seconds, deep)

    async def forget(self, kept_s: float, exceptions: Mapping[str, float]) -> None:
        """Remove what is older than `kept_s`, or than what `exceptions` says for a collection's id."""
        await self._db.execute(QUERIES["forget"], kept_s, list(exceptions))
        for collection, other_s in exceptions.items():
            await self._db.execute(QUERIES["forget_of"], other_s, collection)
        await self._db.execute(QUERIES["forget_interest"])


def insert_text(plan: Plan) -> str:
    """The statement that keeps a change: the values of the record, then key, id, action and verdict."""
    args = Args()
    row = virtual_row(plan, {field.name: field.zero for field in plan.fields}, args)
    marks = ", ".join(f"{args.add('')}::text" for _ in range(4))
    return (
        f'{row} INSERT INTO "_events" ("collection", "record", "action", "verdict", "row")'  # noqa: S608
        f" SELECT {marks}, to_json(v) FROM {VIRTUAL} v"
    )


def event_of(row: Any) -> Event:
    return Event(row["seq"], row["at"], row["collection"], row["record"], row["action"], row["verdict"])


def position_of(before: str, upto: str, event: Event) -> Position:
    """Where somebody stands who was told of an event of the reading between two snapshots."""
    return Position(before, upto, event.seq, int(event.at.timestamp() * 1000))


def standing(snapshot: str) -> Position:
    """Where somebody stands who has read all that a snapshot of now sees."""
    return Position(snapshot, snapshot, MAX_SEQ, int(datetime.now(UTC).timestamp() * 1000))


def age_s(position: Position) -> float:
    """Seconds since the event of a position."""
    return datetime.now(UTC).timestamp() - position.at_ms / 1000
