"""How many requests there were, how many failed, and how long they took, over a stretch of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.logs.writer import QUERIES

# Pages of the log that are looked at, some ten thousand entries; of a longer log a sample of so many.
MAX_PAGES = 500
DAY_NAME = "_logs_%Y%m%d"


class Point(NamedTuple):
    """The requests of one stretch; `p95_ms` is what 95 of 100 stayed below, None without any."""

    since: datetime
    requests: int
    errors: int
    p95_ms: float | None


class Traffic(NamedTuple):
    """`points` in order and their sum; not `is_exact` when the numbers come from a sample."""

    points: list[Point]
    total: Point
    is_exact: bool


async def read_traffic(db: Database, since: datetime, until: datetime, parts: int) -> Traffic:
    """The requests between two moments, by `parts` equal stretches; `errors` are answers of 500 and above.

    It costs the same however long the log is: what would be too much to read is sampled by pages.
    """
    share = share_of(await db.fetch(QUERIES["day_pages"]), since, until)
    length = (until - since) / parts
    given = (since, until, length.total_seconds(), parts)
    if share >= 1:
        rows = await db.fetch(QUERIES["traffic"], *given)
    else:
        rows = await db.fetch(QUERIES["traffic_sampled"], *given, 100 * share)
    scale = max(1.0, 1 / share)
    found = {row["part"]: point_of(row, since, scale) for row in rows}
    points = []
    for number in range(parts):
        start = since + number * length
        points.append(found[number]._replace(since=start) if number in found else Point(start, 0, 0, None))
    return Traffic(points, found.get(None, Point(since, 0, 0, None)), share >= 1)


def point_of(row: asyncpg.Record, since: datetime, scale: float) -> Point:
    return Point(since, round(row["requests"] * scale), round(row["errors"] * scale), row["p95"])


def share_of(days: list[asyncpg.Record], since: datetime, until: datetime) -> float:
    """Which part of the days' pages may be looked at; 1 when all that are asked for are few enough.

    A day's entries are stored as they came, so a stretch of a day is found without reading all of it.
    """
    asked = stored = 0.0
    for row in days:
        try:
            begins = datetime.strptime(row["name"], DAY_NAME).replace(tzinfo=UTC)
        except ValueError:
            continue
        ends = min(begins + timedelta(days=1), max(now(), begins + timedelta(minutes=1)))
        overlap = (min(ends, until) - max(begins, since)).total_seconds()
        if overlap > 0:
            stored += row["pages"]
            asked += row["pages"] * overlap / (ends - begins).total_seconds()
    return 1.0 if asked <= MAX_PAGES else MAX_PAGES / stored
