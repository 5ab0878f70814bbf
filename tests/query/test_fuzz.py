"""Whatever the text, the answer is rows or a QueryError; and no literal of it is ever part of the SQL."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress

import pytest
from tests.query.test_generated import Generator, collections, worlds
from tests.query.worlds import World

from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.query.errors import QueryError
from groundplane.query.filters import filter_condition
from groundplane.query.parser import parse
from groundplane.query.rules import check_rule, rule_condition
from groundplane.query.sort import order_by, sort_condition
from groundplane.schema.cache import Schema

CASES = int(os.environ.get("GROUNDPLANE_QUERY_CASES", "400"))
SEED = int(os.environ.get("GROUNDPLANE_QUERY_SEED", "1"))
MARKER = "zq8marker"
SUPERUSER = RequestInfo(caller=Caller("s", "c_su", "_superusers"))

PIECES = [
    "a", "title", "n", "d", "rel.name", "rels.name", "tags:each", "data.k", "loc.lon", "@now", "@todayEnd",
    "@request.auth.name", "@request.body.rels.name", "@request.query.q", "@collection.b.name", "b_via_owner.m",
    "data.99999999999.x", "data.k:length.y", "id", "true", "null", "NULL", "'x'", '"y"', "'", '"', "\\", "5", "-.5",
    "1e9", "99999999999999999999999", "=", "!=", "?=", "~", "!~", "?>", "&&", "||", "&", "(", ")", "()", "//", "\n",
    "\r", "\t", " ", ",", ";", "--", "/*", "$1", "\x00", "'\\u0000'", "'\\ud800'", "\ud800", "é", "🙂", "%", "_", ":",
    ":lower", ":each", ":length", ":isset", ":changed", ".", "..", "@", "#", "geoDistance(", "strftime(", "'%Y'",
    "geoDistance(loc.lon, loc.lat, 1, 2)", "strftime('%Y-%m', d, '+1 month')", "strftime('%', n)", "0x10",
]  # fmt: skip


def soup(source: random.Random) -> str:
    glue = source.choice(["", " "])
    return glue.join(source.choice(PIECES) for _ in range(source.randint(1, 12)))


def mutated(text: str, source: random.Random) -> str:
    """Change one word of a well-formed text, or a few of its characters."""
    words = text.split(" ")
    if source.random() < 0.7:
        words[source.randrange(len(words))] = source.choice(PIECES)
        return " ".join(words)
    characters = list(text)
    for _ in range(source.randint(1, 2)):
        at = source.randrange(len(characters) + 1)
        if source.random() < 0.5:
            del characters[at : at + source.randint(1, 3)]
        else:
            characters[at : at + 1] = chr(
                source.choice([0, 9, 34, 39, 92, 0x131, 0x1F600, source.randrange(128)])
            )
    return "".join(characters)


async def test_any_text_gives_rows_or_a_query_error(db: Database) -> None:
    answered = 0
    async for world, rows, generator in worlds(db):
        for number in range(CASES):
            source = generator.random
            text = soup(source) if number % 4 == 0 else mutated(str(generator.tree("a")), source)
            info = generator.info(rows)
            try:
                await world.matching("a", text, info)
                answered += 1
            except QueryError:
                pass
            with suppress(QueryError):
                await world.found("a", text, info)
            with suppress(QueryError):
                await world.sorted("a", text[:60], SUPERUSER)
    assert answered > CASES // 4  # else the texts are too broken to tell anything


async def test_functions_never_raise_whatever_they_are_given(db: Database) -> None:
    async for world, rows, generator in worlds(db):
        for _ in range(CASES // 4):
            source = generator.random
            path = source.choice([generator.tail("a", 2), str(generator.literal("d"))])
            modifiers = source.sample(
                ["+1 month", "-99999 years", "+1.5 days", "weekday 3", "unixepoch", "auto", "start of year", "floor",
                 "+999999999999999 seconds", "nonsense", "", "+24:60", "+0001-11-30 12:00"], source.randint(0, 3),
            )  # fmt: skip
            arguments = ", ".join(["'%Y %J %s %W %G'", path, *map(json.dumps, modifiers)])
            await world.matching("a", f"strftime({arguments}) ?!= 'x'", generator.info(rows))
            numbers = ", ".join(
                source.choice(["1", "n", "loc.lon", "title", "data", "rels.m", "99999999999999"])
                for _ in range(4)
            )
            await world.matching("a", f"geoDistance({numbers}) > 1", generator.info(rows))


HARD_JSON = [
    '"a\\u0000b"', '{"k":"\\ud800"}', '{"k":"\\udc00\\ud800"}', '{"\\u0000":1}', "1e400", "-1e-400",
    '{"k":1e99999}', "9" * 500, '{"k":"\\\\u0000"}', '"\\ud83d\\ude00"', "[" * 300 + "]" * 300,
    '{"k":[null,{"k":1}]}', '"1e999"', '"' + "9" * 500 + '"',
]  # fmt: skip


async def test_no_stored_json_makes_a_filter_fail(db: Database) -> None:
    world = await World(db, collections()).create()
    await world.insert("a", *({"id": f"a{number}", "data": value} for number, value in enumerate(HARD_JSON)))
    for path in ("data", "data.k", "data.0", "data.k.0.k", "data:lower"):
        for other in ("'x'", "5", "true", "null", "title", "n", "data.k"):
            for sign in ("=", "!=", "<", ">=", "~", "!~"):
                await world.matching("a", f"{path} {sign} {other}")
        await world.sorted("a", f"-{path},{path}")
    await world.matching("a", "geoDistance(data, data.k, 1, 2) > 1 || strftime('%Y', data) = 'x'")


async def test_an_escaped_backslash_before_u0000_is_no_nul(db: Database) -> None:
    world = await World(db, collections()).create()
    await world.insert(
        "a", {"id": "a0", "data": '{"k":"\\\\u0000"}'}, {"id": "a1", "data": '"\\ud83d\\ude00"'}
    )
    assert await world.matching("a", r'data.k = "\\u0000"') == ["a0"]
    assert await world.matching("a", r'data = "\ud83d\ude00"') == ["a1"]


def test_no_literal_or_request_value_reaches_the_sql_text() -> None:
    generator = Generator(SEED)
    schema = Schema(collections())
    a = schema.find("a")
    hostile = f"{MARKER}'\"; --"
    info = RequestInfo(
        caller=Caller(hostile, "c_users", "users", {"email": hostile}),
        query={"q": hostile},
        body={
            "title": hostile,
            "rel": hostile,
            "rels": [hostile],
            "tags": [hostile],
            "data": {MARKER: hostile},
        },
        headers={"h": hostile},
        method=hostile,
        context=hostile,
    )
    paths = [generator.path("a") for _ in range(300)]
    paths += [
        "@request.method",
        "@request.context",
        "@request.headers.h",
        "@request.body.data",
        f"data.{MARKER}.x",
    ]
    paths += [
        "@request.body.title:changed",
        f"strftime('{MARKER}', d, '{MARKER}')",
        "@request.body.title:lower",
    ]
    for path in paths:
        for sign in ("=", "?!=", ">", "~"):
            text = f"{path} {sign} '{MARKER}' || {path} {sign} '{MARKER}%'"
            assert MARKER not in rule_condition(schema, a, text, info, Args())
    assert MARKER not in order_by(schema, a, f"data.{MARKER}", SUPERUSER, Args())


def test_neither_deep_parentheses_nor_a_huge_rule_exhaust_the_stack() -> None:
    schema = Schema(collections())
    a = schema.find("a")
    deep = "(" * 1749 + "n=1" + ")" * 1748  # 3500 bytes, one parenthesis missing
    with pytest.raises(QueryError):
        filter_condition(schema, a, deep, SUPERUSER, Args())
    assert filter_condition(schema, a, deep[1:], SUPERUSER, Args()) == rule_condition(
        schema, a, "n=1", SUPERUSER, Args()
    )
    huge = 100_000
    check_rule(schema, a, "(" * huge + "n=1" + ")" * huge)
    for wrong in ("(" * 300_000, "a" * 1_000_000, "'" + "\\" * 1_000_000, "n=1 " + "//" * 500_000 + "\n)"):
        with pytest.raises(QueryError):
            check_rule(schema, a, wrong)


async def test_200_comparisons_nested_as_deeply_as_can_be_still_run(db: Database) -> None:
    world = await World(db, collections()).create()
    await world.insert("a", {"id": "a0", "n": 1.0})
    text = "n = 1"
    for number in range(199):
        text = f"(n = 1 {'&&' if number % 2 else '||'} {text})"
    assert await world.matching("a", text) == ["a0"]
    with pytest.raises(QueryError):
        parse(f"n = 1 && {text}")


def test_a_filter_may_have_3500_bytes() -> None:
    schema = Schema(collections())
    a = schema.find("a")
    filter_condition(schema, a, "n = 1".ljust(3500), SUPERUSER, Args())
    with pytest.raises(QueryError):
        filter_condition(schema, a, "n = 1".ljust(3501), SUPERUSER, Args())


def test_sort_condition_takes_what_order_by_takes() -> None:
    schema = Schema(collections())
    generator = Generator(SEED)
    for _ in range(200):
        text = ",".join(generator.tail("a", 2) for _ in range(2))
        order_by(schema, schema.find("a"), text, SUPERUSER, Args())
        assert sort_condition(schema, schema.find("a"), text, SUPERUSER, Args()) == ""
