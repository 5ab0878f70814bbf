"""The short way of updates and deletes does what the ordinary way does, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.records.conftest import GUEST, SUPERUSER, Base

from groundplane.context import RequestInfo
from groundplane.db.sql import Args
from groundplane.records.plan import plan_of
from groundplane.records.quick import NOBODY, Asker
from groundplane.records.shapes import SIGHTINGS
from groundplane.records.stored_checks import stored_check
from groundplane.records.values import Submitted
from groundplane.records.wire import encode_ready

Make = Callable[..., dict[str, Any]]


async def change(
    base: Base, name: str, id: str, values: dict[str, Any], asker: Asker = NOBODY, if_match: str = ""
) -> Any:
    """One update by the short way, which has to see a statement some times before it learns it."""
    for _ in range(SIGHTINGS - 1):
        await base.records.update_quickly(name, "nobody", Submitted(values), {}, asker, if_match=if_match)
    return await base.records.update_quickly(name, id, Submitted(values), {}, asker, if_match=if_match)


async def remove(base: Base, name: str, id: str, asker: Asker = NOBODY, if_match: str = "") -> bool:
    for _ in range(SIGHTINGS - 1):
        await base.records.delete_quickly(name, "nobody", asker, if_match=if_match)
    return await base.records.delete_quickly(name, id, asker, if_match=if_match)


def asker_of(info: RequestInfo) -> Asker:
    return Asker(info.caller)


EVERYTHING: list[dict[str, Any]] = [
    {"name": "title", "type": "text", "min": 2, "max": 20},
    {"name": "slug", "type": "text", "pattern": "^[a-z0-9-]+$"},
    {"name": "markup", "type": "editor", "maxSize": 100},
    {"name": "n", "type": "number", "min": -50, "max": 50},
    {"name": "whole", "type": "number", "onlyInt": True},
    {"name": "flag", "type": "bool"},
    {"name": "due", "type": "date", "max": "2040-01-01 00:00:00.000Z"},
    {"name": "kind", "type": "select", "values": ["a<b", "c"], "maxSelect": 1},
    {"name": "kinds", "type": "select", "values": ["a", 'q"q', "c,d", "e\\f"], "maxSelect": 3},
    {"name": "data", "type": "json", "maxSize": 50},
    {"name": "place", "type": "geoPoint"},
    {"name": "mail", "type": "email"},
    {"name": "site", "type": "url"},
    {"name": "secret", "type": "text", "hidden": True},
    {"name": "made", "type": "autodate", "onCreate": True},
    {"name": "changed", "type": "autodate", "onCreate": True, "onUpdate": True},
]
GOOD: list[dict[str, Any]] = [
    {"title": "Ünïcödé <&>"}, {"title": ""}, {"slug": "a-b-3"}, {"markup": "<p>x</p>"}, {"n": -7.5}, {"n": 0},
    {"whole": 12}, {"flag": True}, {"due": "2030-01-02"}, {"due": ""}, {"kind": "a<b"}, {"kind": ""},
    {"kinds": ["c,d", 'q"q', "e\\f"]}, {"kinds": []}, {"kinds": "a"}, {"data": {"b": [1, None], "a": "x"}},
    {"data": None}, {"place": {"lon": 10.5, "lat": -3}}, {"mail": "a.b@example.com"}, {"mail": ""},
    {"site": "https://example.com/a"}, {"n": 3, "title": "both", "unknown": 5}, {"n+": 4.25}, {"n-": 1},
    {"secret": "not for guests", "title": "again"}, {"made": "2000-01-01", "title": "dates stay"},
]  # fmt: skip
BAD: list[dict[str, Any]] = [
    {"title": "x"}, {"title": "x" * 21}, {"slug": "A b"}, {"markup": "x" * 101}, {"n": 51}, {"n+": 1000},
    {"whole": 1.5}, {"due": "2050-01-01"}, {"kind": "z"}, {"kinds": ["a", "z"]}, {"data": "x" * 60},
    {"place": {"lon": 500, "lat": 0}}, {"mail": "nobody"}, {"site": "x"}, {"id": "another00000000"}, {"whole+": 0.5},
]  # fmt: skip


@pytest.fixture
async def note(base: Base) -> dict[str, Any]:
    await base.collection("notes", *EVERYTHING)
    return await base.create("notes", {"title": "first", "n": 1, "kinds": ["a"]})


async def test_a_quick_update_does_what_the_ordinary_one_does(base: Base, note: dict[str, Any]) -> None:
    twin = await base.create("notes", {"title": "first", "n": 1, "kinds": ["a"]})
    for info in (GUEST, SUPERUSER):
        for values in GOOD:
            found = await change(base, "notes", note["id"], values, asker_of(info))
            assert found is not None, values
            answer = await base.records.view("notes", note["id"], {}, info)
            assert found == (encode_ready(answer.record), answer.etag)
            await base.update("notes", twin["id"], values, info=info)
            quick, ordinary = [await base.view("notes", id, SUPERUSER) for id in (note["id"], twin["id"])]
            for name in ("id", "made", "changed"):
                del quick[name], ordinary[name]
            assert quick == ordinary, values


async def test_what_a_field_refuses_is_not_written(base: Base, note: dict[str, Any]) -> None:
    before = await base.view("notes", note["id"], SUPERUSER)
    for values in BAD:
        assert await change(base, "notes", note["id"], values) is None, values
    assert await base.view("notes", note["id"], SUPERUSER) == before


async def test_a_field_that_is_not_sent_is_checked_too(base: Base, note: dict[str, Any]) -> None:
    for name, value in (
        ("title", "'x'"), ("n", "1000"), ("n", "'NaN'"), ("whole", "0.5"), ("slug", "'NO'"), ("kind", "'z'"),
        ("kinds", "'{z}'"), ("markup", "repeat('x', 200)"), ("data", "to_json(repeat('x', 60))"), ("mail", "'x'"),
        ("place", "'(200,0)'"), ("due", "'2050-01-01'"), ("site", "'x'"),
    ):  # fmt: skip
        await base.db.execute(f"UPDATE notes SET {name} = {value}")
        assert await change(base, "notes", note["id"], {"flag": True}) is None, value
        await base.db.execute(f"UPDATE notes SET {name} = DEFAULT")
    assert await change(base, "notes", note["id"], {"flag": True}) is not None


async def test_rule_and_version_are_part_of_the_statement(base: Base, field: Make) -> None:
    rule = "open = true || owner = @request.auth.id"
    await base.collection(
        "notes", field("open", "bool"), field("owner"), field("title"), updateRule=rule, deleteRule=rule
    )
    note = await base.create("notes", {"owner": "nobody"})
    assert await change(base, "notes", note["id"], {"title": "x"}) is None
    assert not await remove(base, "notes", note["id"])
    await base.db.execute("UPDATE notes SET open = true")
    etag = (await base.records.view("notes", note["id"], {}, GUEST)).etag
    assert await change(base, "notes", note["id"], {"title": "x"}, if_match='"1"') is None
    found = await change(base, "notes", note["id"], {"title": "x"}, if_match=etag)
    assert found is not None
    assert not await remove(base, "notes", note["id"], if_match=etag)
    assert await remove(base, "notes", note["id"], if_match=found.etag)
    assert await base.db.fetchval("SELECT count(*) FROM notes") == 0


async def test_a_change_that_changes_nothing_keeps_the_version(base: Base, field: Make) -> None:
    await base.collection("notes", field("title"), field("data", "json"))
    note = await base.create("notes", {"title": "x", "data": [1]})
    assert await change(base, "notes", note["id"], {"title": "x", "data": [1]}) is None
    assert await change(base, "notes", note["id"], {"title": "y", "data": [1]}) is not None


async def test_references_are_checked_and_kept(base: Base, field: Make) -> None:
    people = await base.collection("people", field("title"))
    await base.collection(
        "notes",
        field("title"),
        field("owner", "relation", collectionId=people.id, maxSelect=1),
        field("readers", "relation", collectionId=people.id, maxSelect=9, minSelect=2),
    )
    ids = [(await base.create("people"))["id"] for _ in range(3)]
    note = (await base.create("notes"))["id"]
    assert await change(base, "notes", note, {"owner": "nobody"}) is None
    assert await change(base, "notes", note, {"readers": [ids[0], "nobody"]}) is None
    assert await change(base, "notes", note, {"readers": [ids[0]]}) is None
    assert await change(base, "notes", note, {"owner": ids[0], "readers": ids}) is not None
    assert (await base.view("notes", note))["readers"] == ids
    # Somebody refers to people, so a person is not deleted by one statement.
    assert not await remove(base, "people", ids[0])
    await base.db.execute("UPDATE notes SET owner = 'gone'")
    assert await change(base, "notes", note, {"title": "x"}) is None


async def test_a_token_that_no_longer_counts_changes_nothing(base: Base, field: Make) -> None:
    people = await base.collection("people", type="auth")
    await base.collection("notes", field("title"))
    note = (await base.create("notes"))["id"]
    account = await base.create(
        "people", {"email": "p@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    )
    record = await base.records.find_one(people, "r.id = $1", account["id"])
    assert record is not None
    asker = Asker(base.as_caller("people", record).caller, record["tokenKey"])
    assert await change(base, "notes", note, {"title": "x"}, asker) is not None
    await base.records.save_fields(people, account["id"], {"tokenKey": "k" * 40})
    assert await change(base, "notes", note, {"title": "y"}, asker) is None
    assert not await remove(base, "notes", note, asker)
    assert (await base.view("notes", note))["title"] == "x"


async def test_increments_from_everywhere_add_up(base: Base, field: Make) -> None:
    owner = await base.collection("people", field("title"))
    await base.collection(
        "notes", field("n", "number"), field("owner", "relation", collectionId=owner.id, maxSelect=1)
    )
    person = (await base.create("people"))["id"]
    ids = [(await base.create("notes", {"owner": person}))["id"] for _ in range(3)]
    await change(base, "notes", ids[0], {"n+": 0})

    async def quickly(id: str) -> None:
        if await base.records.update_quickly("notes", id, Submitted({"n+": 1}), {}, NOBODY) is None:
            await base.update("notes", id, {"n+": 1})

    async def elsewhere(id: str) -> None:
        await base.db.execute("UPDATE notes SET n = n + 1 WHERE id = $1", id)

    work = [act(ids[number % 3]) for number in range(60) for act in (quickly, elsewhere)]
    work += [base.update("notes", id, {"n+": 1}) for id in ids]
    await asyncio.gather(*work)
    assert [(await base.view("notes", id))["n"] for id in ids] == [41, 41, 41]


async def test_a_deleted_record_is_deleted_once(base: Base, field: Make) -> None:
    await base.collection("notes", field("title"))
    note = (await base.create("notes"))["id"]
    assert await remove(base, "notes", "nobody") is False
    done = await asyncio.gather(*(base.records.delete_quickly("notes", note, NOBODY) for _ in range(5)))
    assert sorted(done) == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("type", "values"),
    [
        (
            "email",
            [
                "a@b.co",
                "a.b-c_d@x-y.example.com",
                "a..b@x.com",
                "-a@x.com",
                "a@x",
                "a@-x.com",
                "A9@x.COM",
                "é@x.com",
            ],
        ),
        (
            "url",
            [
                "http://a.co",
                "https://a-b.example.com/x/y~z-1",
                "https://a.co?x",
                "ftp://a.co",
                "https://-a.co",
                "a.co",
            ],
        ),
    ],
)
async def test_addresses_that_pass_as_sql_pass_their_field(base: Base, type: str, values: list[str]) -> None:
    collection = await base.collection("things", {"name": "v", "type": type})
    field = collection.by_name["v"]
    args = Args()
    mark = f"{args.add(None)}::text"
    condition = stored_check(field, mark, args)
    passed = [
        value for value in values if await base.db.fetchval(f"SELECT {condition}", value, *args.values[1:])
    ]
    assert len(passed) >= 2
    assert [value for value in passed if field.check(value) is not None] == []
    assert plan_of(base.schema, collection).collection is collection
