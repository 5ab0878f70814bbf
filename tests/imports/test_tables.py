"""Importing rows of files into collections: the real inputs, and files that somebody has damaged."""

from __future__ import annotations

import csv
import json
import random
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from groundplane.events.changes import Changes
from groundplane.imports.pocketbase import Target
from groundplane.imports.report import ImportFailed, Report
from groundplane.imports.tables import TableOptions, TableTarget, import_table


async def run(target: Target, file: Path, collection: str, **options: Any) -> Report:
    table = TableTarget(target.db, target.collections, Changes())
    return await import_table(TableOptions(file=file, collection=collection, **options), table)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


async def types(target: Target, name: str) -> dict[str, str]:
    return {field.name: field.type_name for field in target.collections.cache.current.find(name).fields}


async def test_movies_come_in_with_dates_numbers_and_numeric_titles(target: Target, data: Path) -> None:
    report = await run(target, data / "movies.json", "movies")
    assert (report.records, report.skipped, report.warnings) == (3201, 0, [])
    assert ("US Gross", "us_gross") in report.mapping
    found = await types(target, "movies")
    assert found["title"] == "text"
    assert found["release_date"] == "date"
    assert found["imdb_rating"] == "number"
    movies = json.loads((data / "movies.json").read_text())
    rows = await target.db.fetch('SELECT title, us_gross, release_date, director FROM movies ORDER BY "_row"')
    for movie, row in zip(movies, rows, strict=True):
        assert row["title"] == ("" if movie["Title"] is None else str(movie["Title"]))
        assert row["us_gross"] == (movie["US Gross"] or 0)
        assert row["director"] == (movie["Director"] or "")
        expected = datetime.strptime(movie["Release Date"], "%b %d %Y").replace(tzinfo=UTC)
        assert row["release_date"] == expected


async def test_airports_get_a_location_and_flights_relate_to_them(target: Target, data: Path) -> None:
    airports = await run(target, data / "airports.csv", "airports")
    assert airports.records == 3376
    assert (await types(target, "airports"))["location"] == "geoPoint"
    row = await target.db.fetchrow("SELECT name, location FROM airports WHERE iata = '00M'")
    assert row is not None
    assert row["name"] == "Thigpen"
    assert tuple(row["location"]) == (-89.23450472, 31.95376472)
    flights = await run(
        target,
        data / "flights-airport.csv",
        "flights",
        relations={"origin": "airports.iata", "destination": "airports.iata"},
    )
    assert (flights.records, flights.skipped) == (5366, 0)
    joined = await target.db.fetch(
        "SELECT a.iata AS origin, b.iata AS destination, f.count FROM flights f JOIN airports a ON a.id = f.origin "
        'JOIN airports b ON b.id = f.destination ORDER BY f."_row"'
    )
    with (data / "flights-airport.csv").open(newline="") as file:
        wanted = [
            (each["origin"], each["destination"], float(each["count"])) for each in csv.DictReader(file)
        ]
    assert [tuple(each) for each in joined] == wanted


@pytest.mark.parametrize(("file", "rows"), [("jobs.json", 7650), ("species.csv", 12360)])
async def test_the_other_real_inputs_come_in_whole(target: Target, data: Path, file: str, rows: int) -> None:
    report = await run(target, data / file, "things")
    assert (report.records, report.skipped) == (rows, 0)
    assert await target.db.fetchval("SELECT count(*) FROM things") == rows


async def test_the_inferred_schema_can_be_written_edited_and_used(
    target: Target, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "airports.toml"
    report = await run(target, data / "airports.csv", "airports", schema_out=out)
    assert report.records == 0
    assert target.collections.cache.current.get("airports") is None
    text = out.read_text()
    assert 'from = ["longitude", "latitude"]' in text
    edited = text.replace('name = "iata"', 'name = "code"').replace(
        'type = "base"', 'type = "base"\nlistRule = ""'
    )
    out.write_text(edited)
    await run(target, data / "airports.csv", "airports", schema=out)
    collection = target.collections.cache.current.find("airports")
    assert collection.list_rule == ""
    assert "code" in collection.by_name
    assert await target.db.fetchval("SELECT name FROM airports WHERE code = '00M'") == "Thigpen"


async def test_rows_go_into_an_existing_collection_by_field_name(target: Target, tmp_path: Path) -> None:
    await target.collections.create(
        {
            "name": "people",
            "fields": [
                {"name": "name", "type": "text", "required": True},
                {"name": "joined", "type": "date"},
                {"name": "tags", "type": "select", "values": ["a", "b"], "maxSelect": 2},
                {"name": "seen", "type": "autodate", "onCreate": True},
            ],
        }
    )
    file = written(tmp_path / "people.csv", "Name,JOINED,tags,other\nAda,12-Jun-98,a|b,1\nBob,,,2\n")
    report = await run(target, file, "people")
    assert report.warnings == ["No field takes other; this was left out."]
    rows = await target.db.fetch('SELECT name, joined, tags, seen FROM people ORDER BY "_row"')
    assert (rows[0]["name"], rows[0]["joined"], rows[0]["tags"]) == (
        "Ada",
        datetime(1998, 6, 12, tzinfo=UTC),
        ["a", "b"],
    )
    assert rows[1]["joined"] is None
    assert rows[0]["seen"] is not None


async def test_accounts_get_hashed_passwords_and_token_keys(target: Target, tmp_path: Path) -> None:
    lines = [{"email": f"u{n}@example.com", "password": f"long-secret-{n}", "name": n} for n in range(3)]
    file = written(tmp_path / "users.ndjson", "\n".join(map(json.dumps, lines)))
    await run(target, file, "users")
    rows = await target.db.fetch('SELECT email, password, "tokenKey", name FROM users ORDER BY "_row"')
    assert [row["email"] for row in rows] == ["u0@example.com", "u1@example.com", "u2@example.com"]
    assert all(row["password"].startswith("$argon2id$") for row in rows)
    assert len({row["tokenKey"] for row in rows}) == 3


async def test_ids_come_from_the_file_when_asked_and_impossible_ones_are_reported(
    target: Target, data: Path
) -> None:
    report = await run(target, data / "airports.csv", "airports", id_field="iata", on_error="skip")
    assert await target.db.fetchval("SELECT city FROM airports WHERE id = 'LAX'") == "Los Angeles"
    # These three are names of devices on some systems, so no record may have them as id.
    assert [warning.split("'")[1] for warning in report.warnings] == ["CON", "NUL", "PRN"]
    assert report.warnings[0] == "Line 1166: iata: The primary key 'CON' is reserved and cannot be used."
    assert report.records == 3373


HOSTILE = (
    b"\xef\xbb\xbfname,number,note\r\n"
    b'"quoted ""inner"", comma",1,"two\r\nlines"\r\n'
    b"nul\x00byte,2,x\r\n"
    b"bad \xff byte,3,x\r\n"
    b"too,4,many,cells\r\n"
    b"few\r\n"
    b"\r\n"
    b"not a number,x5,x\r\n"
    b"'; DROP TABLE hostile; --,6,=cmd()\r\n"
    b"\xf0\x9f\x98\x80,7,last\r\n"
)
HOSTILE_SCHEMA = """
[[fields]]
name = "name"
type = "text"
from = "name"

[[fields]]
name = "number"
type = "number"
from = "number"

[[fields]]
name = "note"
type = "text"
from = "note"
"""


async def test_bad_rows_are_reported_by_line_and_the_others_come_in(target: Target, tmp_path: Path) -> None:
    file = written(tmp_path / "hostile.csv", HOSTILE)
    schema = written(tmp_path / "hostile.toml", HOSTILE_SCHEMA)
    report = await run(target, file, "hostile", schema=schema, on_error="skip")
    rows = await target.db.fetch('SELECT name, number, note FROM hostile ORDER BY "_row"')
    assert [tuple(row) for row in rows] == [
        ('quoted "inner", comma', 1, "two\r\nlines"),
        ("'; DROP TABLE hostile; --", 6, "=cmd()"),
        ("\U0001f600", 7, "last"),
    ]
    assert report.skipped == 5
    assert report.warnings == [
        "Line 4: name: Invalid value.",
        "Line 5: the text is not UTF-8.",
        "Line 6: 4 cells where the header has 3.",
        "Line 7: 1 cells where the header has 3.",
        "Line 9: number: 'x5' is no number.",
    ]


async def test_stopping_at_a_bad_row_leaves_neither_rows_nor_collection(
    target: Target, tmp_path: Path
) -> None:
    file = written(tmp_path / "numbers.csv", "n\n" + "1\n" * 1500 + "x\n")
    schema = written(tmp_path / "n.toml", '[[fields]]\nname = "n"\ntype = "number"\nfrom = "n"\n')
    with pytest.raises(ImportFailed, match=r"Line 1502: n: 'x' is no number\. Nothing was imported"):
        await run(target, file, "numbers", schema=schema)
    assert await target.db.fetchval("SELECT to_regclass('numbers')") is None
    assert (await target.collections.load()).get("numbers") is None


async def test_a_dry_run_reports_the_same_and_stores_nothing(target: Target, data: Path) -> None:
    dry = await run(target, data / "airports.csv", "airports", dry_run=True)
    assert (dry.records, dry.dry_run) == (3376, True)
    assert await target.db.fetchval("SELECT to_regclass('airports')") is None
    real = await run(target, data / "airports.csv", "airports")
    assert real.mapping == dry.mapping


async def test_a_duplicate_of_a_unique_value_is_reported_with_its_line(
    target: Target, tmp_path: Path
) -> None:
    schema = written(
        tmp_path / "s.toml",
        'indexes = ["CREATE UNIQUE INDEX codes_code ON codes (code)"]\n'
        '[[fields]]\nname = "code"\ntype = "text"\nfrom = "code"\n',
    )
    file = written(tmp_path / "codes.csv", "code\na\nb\na\nc\n")
    report = await run(target, file, "codes", schema=schema, on_error="skip")
    assert report.records == 3
    assert report.warnings == ["Line 4: a value that must be unique exists already."]
    with pytest.raises(ImportFailed, match="Line 2"):
        await run(target, file, "codes")
    assert await target.db.fetchval("SELECT count(*) FROM codes") == 3


async def test_a_relation_to_an_unknown_record_is_a_bad_row(target: Target, tmp_path: Path) -> None:
    await run(target, written(tmp_path / "a.csv", "iata,name\nAAA,first\n"), "airports")
    file = written(tmp_path / "f.csv", "origin,n\nAAA,1\nZZZ,2\n,3\n")
    report = await run(target, file, "flights", relations={"origin": "airports.iata"}, on_error="skip")
    assert report.records == 2
    assert report.warnings == ["Line 3: origin: no related record has iata = 'ZZZ'."]


async def test_a_json_object_with_one_array_is_read_and_damage_is_told_by_line(
    target: Target, tmp_path: Path
) -> None:
    good = written(
        tmp_path / "good.json", '{"meta": {"n": [1]}, "rows": [{"a": "x"},\n {"a": "y"}], "more": 1}'
    )
    assert (await run(target, good, "good")).records == 2
    damaged = written(tmp_path / "damaged.json", '[{"a": 1},\n{"a": 2},\n{"a": }]')
    with pytest.raises(ImportFailed, match="damaged in line 3"):
        await run(target, damaged, "damaged", on_error="skip")
    assert await target.db.fetchval("SELECT to_regclass('damaged')") is None


async def test_a_sqlite_table_comes_in(target: Target, tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE things (Id INTEGER PRIMARY KEY, [unit price] REAL, flag, raw BLOB)")
    connection.executemany(
        "INSERT INTO things VALUES (?, ?, ?, ?)", [(1, 2.5, "yes", None), (2, None, "no", b"\x00")]
    )
    connection.commit()
    connection.close()
    report = await run(target, file, "things", on_error="skip")
    assert report.warnings == ["Row 2: a value is binary."]
    row = await target.db.fetchrow("SELECT id, unit_price, flag FROM things")
    assert row is not None
    assert tuple(row) == ("1", 2.5, True)


async def test_odd_keys_become_distinct_valid_names(target: Target, tmp_path: Path) -> None:
    rows = [{"a b": 1, "A-B": 2, "": 3, "naïve!": 4, "expand": 5, "x_via_y": 6, "ok_Name": 7, "日本": 8}]
    file = written(tmp_path / "odd.json", json.dumps(rows))
    report = await run(target, file, "odd")
    assert dict(report.mapping) == {
        "a b": "a_b",
        "A-B": "a_b_2",
        "": "column_3",
        "naïve!": "naive",
        "expand": "expand_value",
        "x_via_y": "x_y_value",
        "ok_Name": "ok_name",
        "日本": "column_8",
    }
    valid = written(tmp_path / "valid.json", json.dumps([{"camelCase": 1, "Title": 2}]))
    assert dict((await run(target, valid, "valid")).mapping) == {"camelCase": "camelCase", "Title": "Title"}


async def test_codes_with_leading_zeros_stay_text(target: Target, tmp_path: Path) -> None:
    await run(target, written(tmp_path / "zip.csv", "zip,n\n02134,1\n90210,2\n"), "zips")
    assert await types(target, "zips") == {"id": "text", "zip": "text", "n": "number"}
    assert await target.db.fetchval("SELECT zip FROM zips WHERE n = 1") == "02134"


async def test_dates_with_slashes_are_read_by_what_the_column_shows(target: Target, tmp_path: Path) -> None:
    file = written(tmp_path / "d.csv", "a,b,c\n3/4/2020,25/4/2020,1/2/2020\n3/25/2020,5/4/2020,2/1/2020\n")
    await run(target, file, "dates")
    assert await types(target, "dates") == {"id": "text", "a": "date", "b": "date", "c": "text"}
    row = await target.db.fetchrow('SELECT a, b FROM dates ORDER BY "_row"')
    assert row is not None
    assert tuple(row) == (datetime(2020, 3, 4, tzinfo=UTC), datetime(2020, 4, 25, tzinfo=UTC))


async def test_no_random_file_does_more_than_fail_with_a_sentence(target: Target, tmp_path: Path) -> None:
    generator = random.Random(7)
    alphabet = [
        b'"',
        b",",
        b"\n",
        b"\x00",
        b"\xff",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"a",
        b"1",
        b"\r",
        "é".encode(),
    ]
    for number in range(40):
        content = b"".join(generator.choices(alphabet, k=generator.randrange(200)))
        for suffix in ("csv", "json", "ndjson", "sqlite"):
            file = written(tmp_path / f"random.{suffix}", content)
            # Anything else than our own error fails the test.
            with suppress(ImportFailed):
                await run(target, file, f"random_{number}_{suffix}", on_error="skip", dry_run=True)


async def test_a_value_of_huge_size_is_a_bad_row(target: Target, tmp_path: Path) -> None:
    file = written(tmp_path / "huge.csv", b"a,b\nx,1\n" + b"y" * 17_000_000 + b",2\nz,3\n")
    schema = written(tmp_path / "huge.toml", '[[fields]]\nname = "a"\ntype = "text"\nfrom = "a"\n')
    report = await run(target, file, "huge", schema=schema, on_error="skip")
    assert [row["a"] for row in await target.db.fetch('SELECT a FROM huge ORDER BY "_row"')] == ["x", "z"]
    assert report.skipped >= 1
