"""Which identifiers there are and what they stand for (contract, filters §4, §8, §9.1)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.query.worlds import GUEST, World, collection

from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.query.errors import QueryError
from groundplane.query.macros import macro
from groundplane.query.rules import check_rule, rule_condition
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection


def relation(name: str, target: str, count: int = 1) -> dict[str, object]:
    return {"type": "relation", "name": name, "collectionId": f"c_{target}", "maxSelect": count}


def collections() -> list[Collection]:
    return [
        collection(
            "items",
            {"type": "text", "name": "title"},
            {"type": "number", "name": "total"},
            {"type": "bool", "name": "flag"},
            {"type": "date", "name": "day"},
            {"type": "select", "name": "tags", "values": ["a", "b"], "maxSelect": 2},
            {"type": "file", "name": "doc", "maxSelect": 1},
            {"type": "json", "name": "data"},
            {"type": "geoPoint", "name": "loc"},
            relation("parent", "items"),
            relation("others", "items", 3),
            relation("owner", "users"),
        ),
        collection(
            "users",
            {"type": "text", "name": "name"},
            {"type": "email", "name": "email"},
            {"type": "date", "name": "born"},
            relation("best", "items"),
            relation("many", "items", 3),
            type="auth",
        ),
    ]


UNKNOWN = [
    "nope", "title.x", "collectionId", "collectionName", "expand", "Title", "title:upper", "title:lower:each",
    "tags:each.x", "items_via_parent", "items_via_title.id", "items_via_nope.id", "nope_via_parent.id",
    "parent..title", "parent.", "@collection.items", "@collection.nope.id", "@collection.items:.id", "@nope", "@Now",
    "@request.nope", "@request.auth", "@request.auth.", "@request.context.x", "@request.method:lower", "#x",
    "@request.query.x:length", "@request.headers.x:each", "@request.body.title:length", "@request.body.nope:each",
    "@request.body.nope:changed", "@request.auth.name:nope", "@request.body.a..b", "items_via_parent.others.nope",
]  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_identifiers_are_errors(name: str) -> None:
    schema = Schema(collections())
    with pytest.raises(QueryError):
        check_rule(schema, schema.find("items"), f"{name} = 1")


def test_six_relations_in_a_path_are_allowed_and_counted_anew_after_collection_and_auth() -> None:
    schema = Schema(collections())
    caller = RequestInfo(caller=Caller("u1", "c_users", "users"))
    six = "parent." * 6 + "title"
    for name in (
        six,
        f"@collection.items.{six}",
        f"@request.body.parent.{six}",
        f"@request.auth.{'best.' + six[7:]}",
    ):
        rule_condition(schema, schema.find("items"), f"{name} = 1", caller, Args())
        longer = name.replace("parent.title", "parent.parent.title")
        with pytest.raises(QueryError):
            rule_condition(
                schema,
                schema.find("items"),
                f"{longer} = 1",
                RequestInfo(caller=caller.caller, body={"parent": "x"}),
                Args(),
            )


def test_macros_are_dates_in_wire_format_and_numbers() -> None:
    moment = datetime(2028, 2, 29, 23, 4, 5, 678000, UTC)  # a Tuesday
    expected = {
        "@now": "2028-02-29 23:04:05.678Z",
        "@yesterday": "2028-02-28 23:04:05.678Z",
        "@tomorrow": "2028-03-01 23:04:05.678Z",
        "@todayStart": "2028-02-29 00:00:00.000Z",
        "@todayEnd": "2028-02-29 23:59:59.999Z",
        "@monthStart": "2028-02-01 00:00:00.000Z",
        "@monthEnd": "2028-02-29 23:59:59.999Z",
        "@yearStart": "2028-01-01 00:00:00.000Z",
        "@yearEnd": "2028-12-31 23:59:59.999Z",
        "@second": 5,
        "@minute": 4,
        "@hour": 23,
        "@day": 29,
        "@month": 2,
        "@year": 2028,
        "@weekday": 2,
        "@Now": None,
    }
    assert {name: macro(name, moment) for name in expected} == expected


async def test_what_identifiers_stand_for(db: Database) -> None:
    world = await World(db, collections()).create()
    await world.insert("users", {"id": "u1", "name": "Ann", "best": "i1", "many": ["i1", "i2"]})
    await world.insert(
        "items",
        {"id": "i1", "title": "One", "total": 5.0, "tags": ["a", "b"], "owner": "u1", "doc": "x.pdf"},
        {"id": "i2", "title": "5.0", "parent": "gone", "others": ["i1"], "data": '{"alower":"y","0":"z"}'},
    )
    info = RequestInfo(
        caller=Caller("u1", "c_users", "users", {"email": "ann@x.io", "verified": True}),
        method="PATCH",
        query={"total": "5", "Q": "v"},
        headers={"x_api_key": "k"},
        body={
            "title": "New", "tags": ["a"], "parent": "i1", "others": ["i1", "i2"], "extra": {"list": [1, {"k": "v"}]},
            "total": 5.0, "doc": {"name": "final.pdf", "originalName": "f.pdf", "size": 1}, "flag": False, "none": None,
        },
    )  # fmt: skip
    both = "i1 i2"
    for text, ids in {
        "@request.auth.id = 'u1' && @request.auth.collectionName = 'users' && @request.auth.verified = true": both,
        "@request.auth.name:lower = 'ann' && @request.auth.email:lower = ''": both,
        "@request.auth.best.title = 'One' && @request.auth.nope.x = null && @request.auth.best.nope = ''": both,
        "@request.auth.many.title = 'One'": "",
        "@request.auth.many.title ?= 'One'": both,
        "@request.auth.items_via_owner.title = 'One'": both,
        "@request.auth.many:length = 2 && @request.auth.name:isset = 'Ann'": both,
        "@request.auth.born = '' && @request.auth.born >= ''": both,
        "owner = @request.auth.id": "i1",
        "owner.name = @request.auth.name": "i1",
        "@request.method = 'PATCH' && @request.context = 'default'": both,
        "total = @request.query.total": "i1",
        "@request.query.Q = 'v' && @request.query.q = null && @request.query.q:isset = false": both,
        "@request.headers.x_api_key:lower = 'k' && @request.headers.X_Api_Key = ''": both,
        "@request.body.title:isset = true && @request.body.nope:isset = false && @request.body.none:isset = true": both,
        "@request.body.extra.list.1.k = 'v' && @request.body.extra.list.0 = 1 && @request.body.extra.list.7 = null": both,
        "@request.body.extra.list.1.k:isset = true && @request.body.extra.list.k:isset = false": both,
        '@request.body.extra ~ \'"k":"v"\'': both,
        "@request.body.tags = '[\"a\"]' && @request.body.tags:each = 'a' && @request.body.tags:length = 1": both,
        "@request.body.doc = 'final.pdf' && @request.body.doc:length = 1": both,
        "@request.body.parent.title = 'One' && @request.body.parent.nope = null": both,
        "@request.body.others.title ?= '5.0' && @request.body.others.0 = null": both,
        "@request.body.others.title = '5.0'": "",
        "@request.body.title:changed = true": both,
        "@request.body.total:changed = true": "i2",
        "@request.body.total:changed = false": "i1",
        "@request.body.day:changed = false && @request.body.flag:changed = false": both,
        "@request.body.tags:changed = true && @request.body.parent:changed = true": both,
        "@request.body.title:lower = 'new'": both,
        "parent.id = 'gone' && parent.title = ''": "i2",
        "data.a:lower = 'y' && data.0 = null": "i2",
        "total:isset = 5 && title:each = 'One' && title:changed = 'One'": "i1",
        "doc:length = 1 && doc:each = 'x.pdf'": "i1",
        "parent:each != '' && parent:length = 1": "i2",
        "items_via_others.title = '5.0'": "i1",
        "ITEMS_via_others.title = '5.0' && c_items_via_others.id = 'i2'": "i1",
        "@collection.ITEMS.title ?= 'One' && @collection.c_items:x.title ?= '5.0'": both,
        "true = TRUE && NULL = '' && False = 0": both,
    }.items():
        assert await world.matching("items", text, info) == ids.split(), text


async def test_a_guest_s_id_is_empty_and_so_are_the_owners_it_matches(db: Database) -> None:
    world = await World(db, collections()).create()
    await world.insert("items", {"id": "i1", "owner": "u1"}, {"id": "i2"})
    assert await world.matching("items", "owner = @request.auth.id") == ["i2"]
    assert await world.matching("items", "owner = @request.auth.id && @request.auth.id != ''") == []


async def test_submitted_lists_without_elements_are_neither_empty_nor_filled(db: Database) -> None:
    world = await World(db, collections()).create()
    await world.insert("items", {"id": "i1"})
    for body in ({}, {"tags": []}, {"tags": None}):
        for text in ("= ''", "= null", "!= ''", "!= null"):
            assert (
                await world.matching("items", f"@request.body.tags:each {text}", RequestInfo(body=body)) == []
            )
        assert await world.matching("items", "@request.body.tags:each != 'x'", RequestInfo(body=body)) == [
            "i1"
        ]
    filled = RequestInfo(body={"tags": ["a"]})
    assert await world.matching("items", "@request.body.tags:each != ''", filled) == ["i1"]


async def test_a_create_rule_sees_the_new_row_and_the_stored_others(db: Database) -> None:
    world = await World(db, collections()).create()
    await world.insert("users", {"id": "u1", "name": "Ann"})
    row = {"id": "new", "title": "5", "total": 5.0, "owner": "u1", "tags": ["a"], "day": None}
    for text, expected in {
        "owner.name = 'Ann' && tags:each = 'a' && tags:length = 1": True,
        "total = 5": True,
        "total = '5'": False,
        "title = 5": False,
        "title > 5": True,
        "total < ''": True,
        "day = '' && parent = '' && flag = false": True,
        "@collection.items.id ?= 'new'": False,
        "@collection.items.id = ''": True,
        "id = ''": False,
    }.items():
        assert await world.created("items", row, text) is expected, text
    with pytest.raises(QueryError):
        await world.created("items", row, "items_via_parent.title = ''")


async def test_a_nul_in_a_literal_or_request_value_is_a_query_error(db: Database) -> None:
    world = await World(db, collections()).create()
    for text in ("title = 'a\x00'", 'title ~ "\\u0000"', "data.k = '\x00'"):
        with pytest.raises(QueryError):
            await world.matching("items", text)
    with pytest.raises(QueryError):
        await world.matching("items", "title = @request.query.q", RequestInfo(query={"q": "\x00"}))
    assert await world.matching("items", "title = @request.query.q", RequestInfo(query={"q": "\ud800"})) == []


async def test_plain_comparisons_of_own_fields_can_use_an_index() -> None:
    schema = Schema(collections())
    items = schema.find("items")

    def sql(text: str) -> str:
        return rule_condition(schema, items, text, GUEST, Args())

    assert sql("title = 'x'") == 'r."title" = $1::text'
    assert sql("title != 'x'") == 'r."title" <> $1::text'
    assert sql("day >= '2030-01-02 00:00:00.000Z'") == 'r."day" >= $1::timestamptz'
    assert sql("day > '2030-01-02'") == 'r."day" >= $1::timestamptz'
    assert sql("total > 5 && flag = true") == '(r."total" > $1::double precision AND (r."flag" = true))'
    assert sql("owner = ''") == "r.\"owner\" = ''"
    assert sql("tags:each ?= 'a'") == 'r."tags" @> ARRAY[$1::text]'
    assert sql("parent.title = 'x'") == (
        'EXISTS (SELECT 1 FROM "items" AS r_1 WHERE r_1."id" = r."parent" AND r_1."title" = $1::text)'
    )
