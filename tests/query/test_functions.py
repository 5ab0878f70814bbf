"""strftime and geoDistance; SQLite's own strftime says what the format means."""

from __future__ import annotations

import random
import sqlite3

from tests.query.worlds import World, collection

from groundplane.db.engine import Database

# What the SQLite that Python brings knows in every version; the newer specifiers are tested by example.
FORMAT = "%Y-%m-%d %H:%M:%S %f %j %s %w %W %%"
MODIFIERS = [
    "+1 day", "-40 days", "+1.5 hours", "+1 month", "-13 months", "+3 years", "-90.5 seconds", "start of day",
    "start of month", "start of year", "weekday 0", "weekday 5", "+05:30", "-12:00:30", "+25 minutes", "utc1", "weekday 9",
]  # fmt: skip
TIMES = [
    "2024-02-29 13:14:15.678Z", "2023-12-31", "2030-01-01T00:00", "12:30", "12:30:59.9", "2024-05-06 07:08:09+02:00",
    "0001-01-01 00:00:00.000Z", "9999-12-31 23:59:59.999Z", "", "x", "2024-13-01", "2024-1-1", "25:00",
    "2460000.5", "0", "1700000000", "2024-02-29 12:60", "-1",
]  # fmt: skip


async def test_strftime_formats_as_sqlite_does(db: Database) -> None:
    sqlite = sqlite3.connect(":memory:")
    source = random.Random(1)
    cases = [(time, []) for time in TIMES]
    for _ in range(400):
        # The last year stays alone: we refuse to leave the calendar even for a moment, SQLite only in the end.
        inside = [time for time in TIMES if not time.startswith(("9999", "0001", "0"))]
        cases.append((source.choice(inside), source.choices(MODIFIERS, k=source.randint(1, 3))))
    cases += [("1700000000", ["unixepoch"]), ("1700000000.25", ["unixepoch", "+1 day"]), ("x", ["unixepoch"])]
    for time, modifiers in cases:
        expected = sqlite.execute(
            f"SELECT strftime(?, ?{', ?' * len(modifiers)})", [FORMAT, time, *modifiers]
        ).fetchone()[0]
        found = await db.fetchval("SELECT gp.strftime($1, $2, $3)", FORMAT, time, modifiers)
        assert found == expected, (time, modifiers)
    sqlite.close()


async def test_strftime_knows_the_newer_specifiers_and_modifiers(db: Database) -> None:
    async def shown(pattern: str, time: str, *modifiers: str) -> str | None:
        return await db.fetchval("SELECT gp.strftime($1, $2, $3)", pattern, time, list(modifiers))

    assert (
        await shown("%e|%k|%l|%I|%p|%P|%R|%T|%F", "2024-03-05 15:04:05")
        == " 5|15| 3|03|PM|pm|15:04|15:04:05|2024-03-05"
    )
    assert await shown("%u %U %V %G %g", "2027-01-03") == "7 01 53 2026 26"
    assert await shown("%J", "2024-03-05 12:00") == "2460375"
    assert await shown("%F", "2024-01-31", "+1 month") == "2024-03-02"
    assert await shown("%F", "2024-01-31", "+1 month", "floor") == "2024-02-29"
    assert await shown("%F", "2024-01-31", "+1 month", "ceiling") == "2024-03-02"
    assert await shown("%F %T", "2024-01-31", "+0001-02-03 04:05") == "2025-04-03 04:05:00"
    assert await shown("%s", "2024-01-31 00:00:00.250", "subsec") == "1706659200.250"
    assert await shown("%F", "1700000000", "auto") == "2023-11-14"
    assert await shown("%F", "2460000", "auto") == "2023-02-24"
    assert await shown("%F", "2024-01-31", "localtime", "utc") == "2024-01-31"
    assert await shown("%Q", "2024-01-31") is None
    assert await shown("%", "2024-01-31") is None


async def test_both_functions_in_filters(db: Database) -> None:
    world = World(
        db,
        [
            collection(
                "a",
                {"type": "date", "name": "d"},
                {"type": "geoPoint", "name": "loc"},
                {"type": "text", "name": "title"},
                {"type": "relation", "name": "rels", "collectionId": "c_a", "maxSelect": 5},
            )
        ],
    )
    await world.create()
    await world.insert(
        "a", {"id": "a1", "title": "9.5", "loc": (13.4, 52.5)}, {"id": "a2", "rels": ["a1", "a2"]}
    )
    await db.execute("UPDATE a SET d = '2030-05-06T07:08:09Z' WHERE id = 'a1'")
    for text, ids in {
        "strftime('%Y', d) = '2030'": "a1",
        "strftime('%Y', d) = 2030": "",
        "strftime('%Y', d) = ''": "a2",
        "strftime('%Y', d, '+1 year') > '2030'": "a1",
        "strftime('%Y') > '2020'": "a1 a2",
        "strftime('%Y', '2030-01-01') = '2030'": "a1 a2",
        "strftime('%Y', rels.d) = '2030'": "a2",
        "strftime('%Y', rels.id) = '2030'": "",
        "strftime('%Y', rels.d) = ''": "a1",
        "strftime('%Y', rels.d) ?= ''": "a1 a2",
        "geoDistance(loc.lon, loc.lat, 13.4, 52.5) < 1": "a1",
        "geoDistance(rels.loc.lon, rels.loc.lat, 13.4, 52.5) < 1": "a2",
        "geoDistance(loc.lon, loc.lat, 2.35, 48.85) > 870 && geoDistance(loc.lon, loc.lat, 2.35, 48.85) < 890": "a1",
        "geoDistance(title, 0, 0, 0) > 1000": "a1",
        "geoDistance(rels, 0, 0, 0) = null": "a1 a2",
    }.items():
        assert await world.matching("a", text) == ids.split(), text
