"""The log for administrators: search it, count it, keep as much of it as the settings want."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import msgspec

from groundplane.clock import now, wire_date
from groundplane.context import SUPERUSERS, Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import Busy
from groundplane.db.sql import Args, ident
from groundplane.errors import Invalid, NotFound
from groundplane.logs.entry import NO_DATA, TIME_BITS
from groundplane.logs.traffic import Traffic, read_traffic
from groundplane.logs.writer import QUERIES, LogWriter
from groundplane.query.errors import QueryError
from groundplane.query.filters import filter_condition
from groundplane.query.parser import parse
from groundplane.query.sort import entries, order_by
from groundplane.records.shapes import names_in
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.date import DateField
from groundplane.schema.fields.json import JsonField
from groundplane.schema.fields.number import NumberField
from groundplane.schema.fields.text import TextField
from groundplane.settings.service import Settings

BAD_FILTER = "Invalid filter format."
ID = re.compile(r"[0-9a-f]{15}")
DAY = re.compile(r"_logs_[0-9]{8}")
LOCK_TIMEOUT = "3s"  # for a day to be forgotten while somebody reads it
MAX_SHAPES = 2000  # questions that are remembered
NOWHERE = Schema()
ADMIN = RequestInfo(caller=Caller(id="", collection_id="", collection_name=SUPERUSERS))

# The log as the filter language sees it. Its number is the order in which entries came.
COLLECTION = Collection(
    id="_logs",
    name="_logs",
    fields=[
        TextField(id="id", name="id"),
        DateField(id="created", name="created"),
        NumberField(id="level", name="level"),
        TextField(id="message", name="message"),
        JsonField(id="data", name="data"),
    ],
)
ENTRIES = (
    '(SELECT "id" AS "_row", lpad(to_hex("id"), 15, \'0\') COLLATE "C" AS "id",'
    ' "created", "level", "message", "data" FROM "_logs") r'
)
# Of these orders one index serves; a number's first bits are the time of its entry.
SAME_ORDER = frozenset({"created", "id"})


class Page(NamedTuple):
    """Entries as JSON objects, and how many there are in all: -1 when that was not asked."""

    items: list[dict[str, Any]]
    total: int


class Bar(NamedTuple):
    """Entries of one stretch of time, `errors` of them of level 8."""

    since: datetime
    total: int
    errors: int


class Logs:
    """`writer` takes entries; the rest reads and forgets them."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings
        self.writer = LogWriter(db, settings)

    def add(self, level: int, message: str, data: Mapping[str, Any] = NO_DATA) -> None:
        """Add an entry: level -4 debug, 0 info, 4 warning, 8 error; written within moments, or never.

        Values in `data` whose names say that they are secrets are hidden.
        """
        self.writer.note(level, message, data)

    async def page(self, *, filter: str, sort: str, limit: int, offset: int, with_total: bool) -> Page:
        """Entries that match, in the order of `sort` or as they came; raises Invalid."""
        await self.writer.flush()
        args = Args()
        condition = condition_of(filter, args, Invalid())
        counting = args.bind(f"SELECT count(*) FROM {ENTRIES}{condition}")  # noqa: S608
        order = order_of(sort, args)
        listing = args.bind(
            f'SELECT "_row", "created", "level", "message", "data" FROM {ENTRIES}{condition}'  # noqa: S608
            f" ORDER BY {order} LIMIT {args.add(limit)} OFFSET {args.add(offset)}"
        )
        total = await self._db.fetchval(counting.text, *counting.args) if with_total else -1
        rows = await self._db.fetch(listing.text, *args.values)
        return Page([to_json(*row) for row in rows], total)

    async def view(self, entry_id: str) -> dict[str, Any]:
        """One entry; raises NotFound."""
        await self.writer.flush()
        if ID.fullmatch(entry_id) is None:
            raise NotFound()
        number = int(entry_id, 16)
        # Its time leads to its day.
        created = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number >> TIME_BITS)
        row: asyncpg.Record | None = await self._db.fetchrow(
            QUERIES["view"], number, created, created + timedelta(milliseconds=1)
        )
        if row is None:
            raise NotFound()
        return to_json(*row)

    async def stats(self, filter: str) -> list[dict[str, Any]]:
        """Entries per hour (UTC) as `date` and `total`, hours without any left out; raises Invalid."""
        await self.writer.flush()
        args = Args()
        condition = condition_of(filter, args, Invalid(BAD_FILTER))
        statement = args.bind(
            "SELECT date_trunc('hour', r.\"created\", 'UTC') AS hour, count(*) AS total"  # noqa: S608
            f" FROM {ENTRIES}{condition} GROUP BY 1 ORDER BY 1"
        )
        rows = await self._db.fetch(statement.text, *statement.args)
        return [{"date": wire_date(row["hour"]), "total": row["total"]} for row in rows]

    async def histogram(self, filter: str, since: datetime, until: datetime, parts: int) -> list[Bar]:
        """Entries between two moments, by `parts` equal stretches of that time; raises Invalid."""
        await self.writer.flush()
        args = Args()
        condition = condition_of(filter, args, Invalid(BAD_FILTER)) or " WHERE true"
        first, end = args.add(since), args.add(until)
        length = (until - since) / parts
        seconds = args.add(length.total_seconds())
        place = f'floor(extract(epoch FROM r."created" - {first}) / {seconds}::float8)::integer'
        statement = args.bind(
            f'SELECT {place} AS part, count(*) AS total, count(*) FILTER (WHERE r."level" >= 8) AS errors'  # noqa: S608
            f' FROM {ENTRIES}{condition} AND r."created" >= {first}::timestamptz AND r."created" < {end}::timestamptz GROUP BY 1'
        )
        rows = await self._db.fetch(statement.text, *statement.args)
        bars = [Bar(since + number * length, 0, 0) for number in range(parts)]
        for row in rows:
            number = min(row["part"], parts - 1)  # the last moment may be rounded up
            bars[number] = bars[number]._replace(
                total=bars[number].total + row["total"], errors=bars[number].errors + row["errors"]
            )
        return bars

    async def traffic(self, since: datetime, until: datetime, parts: int) -> Traffic:
        """Requests, failures and how long they took between two moments; about, where the log is long."""
        await self.writer.flush()
        return await read_traffic(self._db, since, until, parts)

    def problem(self, filter: str) -> QueryError | None:
        """What is wrong with a filter, and where; None when nothing is."""
        try:
            if filter:
                filter_condition(NOWHERE, COLLECTION, filter, ADMIN, Args())
        except QueryError as error:
            return error
        return None

    async def forget(self) -> None:
        """Forget every entry."""
        await self._db.execute(QUERIES["forget_all"])

    async def trim(self) -> None:
        """Forget what the settings no longer want: whole days at once, then what is left of the oldest."""
        wanted = self._settings.current.logs
        await self._db.execute(QUERIES["forget_shapes"], MAX_SHAPES)
        if wanted.max_days == 0:
            await self.forget()
            return
        oldest = oldest_kept(wanted.max_days)
        try:
            await self._drop_days(oldest)
        except Busy:
            # Somebody reads the log for long; its rows go without waiting, its table the next time.
            pass
        await self._db.execute(QUERIES["forget_old"], oldest)
        await self._db.execute(QUERIES["forget_low"], wanted.min_level)

    async def _drop_days(self, oldest: datetime) -> None:
        before = f"_logs_{oldest:%Y%m%d}"
        async with self._db.transaction() as connection:
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.execute(QUERIES["lock_days"])
            for row in await connection.fetch(QUERIES["days"]):
                if DAY.fullmatch(row["name"]) is not None and row["name"] < before:
                    await connection.execute(f"DROP TABLE {ident(row['name'])}")


def oldest_kept(max_days: int) -> datetime:
    """The time before which entries are forgotten; a number of days beyond all dates keeps everything."""
    try:
        return now() - timedelta(days=max_days)
    except OverflowError:
        return datetime(1970, 1, 1, tzinfo=UTC)


def condition_of(text: str, args: Args, refusal: Invalid) -> str:
    """The filter as a WHERE clause, "" without one; raises `refusal`."""
    if not text:
        return ""
    try:
        for name in names_in(parse(text)):
            # Superusers may write these for records; the log has nothing to do with collections.
            if name.startswith(("@request.", "@collection.")):
                raise refusal
        return f" WHERE {filter_condition(NOWHERE, COLLECTION, text, ADMIN, args)}"
    except QueryError:
        raise refusal from None


def order_of(text: str, args: Args) -> str:
    try:
        keys = [
            entry._replace(name="@rowid") if entry.name in SAME_ORDER else entry for entry in entries(text)
        ]
        if any(key.name.startswith("@request.") or key.name.startswith("@collection.") for key in keys):
            raise Invalid()
        wanted = ",".join(f"{'-' if key.descending else ''}{key.name}" for key in keys)
        return order_by(NOWHERE, COLLECTION, wanted, ADMIN, args)
    except QueryError:
        raise Invalid() from None


def to_json(number: int, created: datetime, level: int, message: str, data: str) -> dict[str, Any]:
    return {
        "id": f"{number:015x}",
        "created": wire_date(created),
        "data": msgspec.json.decode(data),
        "message": message,
        "level": level,
    }
