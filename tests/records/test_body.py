"""Bodies: modifiers, casts and what of a body reaches a record."""

from __future__ import annotations

from typing import Any

import pytest

KINDS = [
    {"name": "t", "type": "text"},
    {"name": "auto", "type": "text", "autogeneratePattern": "[a-z]{5}"},
    {"name": "n", "type": "number"},
    {"name": "b", "type": "bool"},
    {"name": "one", "type": "select", "values": ["a", "b", "c"]},
    {"name": "many", "type": "select", "values": ["a", "b", "c"], "maxSelect": 3},
    {"name": "at", "type": "date"},
    {"name": "j", "type": "json"},
    {"name": "p", "type": "geoPoint"},
    {"name": "secret", "type": "text", "hidden": True},
    {"name": "made", "type": "autodate", "onCreate": True},
    {"name": "changed", "type": "autodate", "onCreate": True, "onUpdate": True},
]
ZERO = {
    "t": "",
    "n": 0,
    "b": False,
    "one": "",
    "many": [],
    "at": "",
    "j": None,
    "p": {"lon": 0, "lat": 0},
}


@pytest.fixture
async def kinds(base):
    await base.collection("kinds", *KINDS)
    return base


async def test_absent_fields_are_empty_and_null_means_empty(kinds) -> None:
    created = await kinds.create("kinds")
    assert {name: created[name] for name in ZERO} == ZERO
    full = {
        "t": "x",
        "n": 1,
        "b": True,
        "one": "a",
        "many": ["a"],
        "at": "2030-01-01",
        "j": 1,
        "p": {"lon": 1},
    }
    record = await kinds.create("kinds", full)
    cleared = await kinds.update("kinds", record["id"], dict.fromkeys(full))
    assert {name: cleared[name] for name in ZERO} == ZERO


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"n": "5.5"}, {"n": 5.5}),
        ({"n": [1, 2]}, {"n": 0}),
        ({"n": True}, {"n": 1}),
        ({"t": 12.0}, {"t": "12"}),
        ({"t": {"a": 1}}, {"t": ""}),
        ({"t": " x "}, {"t": " x "}),
        ({"b": "t"}, {"b": True}),
        ({"b": "yes"}, {"b": False}),
        ({"one": ["a", "b"]}, {"one": "b"}),
        ({"many": "a"}, {"many": ["a"]}),
        ({"many": '["a","b"]'}, {"many": ["a", "b"]}),
        ({"many": ["a", "a", "", "b"]}, {"many": ["a", "b"]}),
        ({"many": ["a", {"x": 1}]}, {"many": []}),
        ({"at": "2030-01-02"}, {"at": "2030-01-02 00:00:00.000Z"}),
        ({"at": "2030-01-02T03:04:05.6789+01:00"}, {"at": "2030-01-02 02:04:05.678Z"}),
        ({"at": 1700000000}, {"at": ""}),
        ({"j": "12"}, {"j": 12}),
        ({"j": '"12"'}, {"j": "12"}),
        ({"j": "x"}, {"j": "x"}),
        ({"j": ""}, {"j": ""}),
        ({"j": {"b": 1, "a": "<"}}, {"j": {"a": "<", "b": 1}}),
        ({"p": {"LON": 1.5, "lat": "2", "x": 1}}, {"p": {"lon": 1.5, "lat": 0}}),
        ({"p": '{"lon":1,"lat":2}'}, {"p": {"lon": 1, "lat": 2}}),
        ({"p": [1, 2]}, {"p": {"lon": 0, "lat": 0}}),
        ({"made": "2000-01-01 00:00:00.000Z", "t": "x"}, {"t": "x"}),
        ({"expand": {"x": 1}, "collectionId": "x", "unknown": 1}, {}),
    ],
)
async def test_values_are_cast_and_read_back_the_same(kinds, body: Any, expected: Any) -> None:
    created = await kinds.create("kinds", body)
    assert {name: created[name] for name in expected} == expected
    assert await kinds.view("kinds", created["id"]) == created
    assert not created["made"].startswith("2000")
    assert set(created) == {"id", "collectionId", "collectionName"} | {each["name"] for each in KINDS} - {
        "secret"
    }


@pytest.mark.parametrize(
    ("start", "body", "expected"),
    [
        ({"n": 5}, {"n+": 2}, {"n": 7}),
        ({"n": 5}, {"n-": "2"}, {"n": 3}),
        ({"n": 5}, {"n": 1, "n+": 2}, {"n": 3}),
        ({"n": 5}, {"n+": 2, "n": 1}, {"n": 3}),
        ({"n": 5}, {"+n": 2}, {"n": 5}),
        ({"many": ["b"]}, {"many+": "a"}, {"many": ["b", "a"]}),
        ({"many": ["b"]}, {"+many": ["a", "c"]}, {"many": ["a", "c", "b"]}),
        ({"many": ["a", "b", "c"]}, {"many-": ["a", "c"]}, {"many": ["b"]}),
        ({"many": ["a"]}, {"many+": ["a", "b"]}, {"many": ["a", "b"]}),
        ({"many": ["a"]}, {"many": ["c"], "many+": "b"}, {"many": ["c", "b"]}),
        ({"one": "a"}, {"one+": "b"}, {"one": "b"}),
        ({"one": "a"}, {"+one": "b"}, {"one": "a"}),
        ({}, {"+one": "b"}, {"one": "b"}),
        ({"one": "a"}, {"one-": "a"}, {"one": ""}),
        ({"one": "a"}, {"one-": "b"}, {"one": "a"}),
        ({"t": "x"}, {"t+": "y", "b+": 1, "at+": 1}, {"t": "x", "b": False, "at": ""}),
    ],
)
async def test_modifiers_work_on_the_stored_record_in_order_of_their_length(
    kinds, start: Any, body: Any, expected: Any
) -> None:
    record = await kinds.create("kinds", start)
    changed = await kinds.update("kinds", record["id"], body)
    assert {name: changed[name] for name in expected} == expected


async def test_modifiers_on_create_work_on_the_empty_record(kinds) -> None:
    created = await kinds.create("kinds", {"n+": 3, "many+": ["a"], "one+": "b"})
    assert (created["n"], created["many"], created["one"]) == (3, ["a"], "b")


async def test_a_text_is_generated_when_empty_and_when_asked(kinds) -> None:
    created = await kinds.create("kinds")
    assert len(created["auto"]) == 5
    asked = await kinds.update(
        "kinds", created["id"], {"auto:autogenerate": "pre-", "t:autogenerate": "only"}
    )
    assert asked["auto"].startswith("pre-")
    assert len(asked["auto"]) == 9
    assert asked["t"] == "only"
    kept = await kinds.update("kinds", created["id"], {"auto": ""})
    assert kept["auto"] == ""


async def test_negative_zero_is_echoed_once_and_read_as_zero(kinds) -> None:
    created = await kinds.create("kinds", {"n": -0.0})
    assert str(created["n"]) in ("-0", "-0.0", "0")
    assert str((await kinds.view("kinds", created["id"]))["n"]) == "0"


async def test_hidden_fields_are_dropped_from_bodies_of_ordinary_callers(kinds, superuser) -> None:
    created = await kinds.create("kinds", {"secret": "x", "secret:autogenerate": "y"})
    assert "secret" not in created
    assert (await kinds.view("kinds", created["id"], superuser))["secret"] == ""
    await kinds.update("kinds", created["id"], {"secret": "by superuser"}, info=superuser)
    await kinds.update("kinds", created["id"], {"secret": "by guest"})
    assert (await kinds.view("kinds", created["id"], superuser))["secret"] == "by superuser"


async def test_only_submitted_fields_change_and_an_empty_body_still_saves(kinds) -> None:
    record = await kinds.create("kinds", {"t": "x", "n": 2})
    saved = await kinds.update("kinds", record["id"])
    assert saved | {"changed": ""} == record | {"changed": ""}
    assert saved["changed"] > record["changed"]
    assert saved["made"] == record["made"]


async def test_a_nul_byte_is_a_field_error_and_never_a_crash(kinds, failing) -> None:
    for name in ("t", "one", "many"):
        with failing() as failure:
            await kinds.create("kinds", {name: "a\x00b"})
        assert set(failure.codes) == {name}
    with failing() as failure:
        await kinds.create("kinds", {"id": "a\x00bcdefghijklmn"})
    assert failure.codes == {"id": "validation_invalid_format"}


async def test_rules_see_the_resolved_body(base, failing) -> None:
    await base.collection(
        "posts",
        {"name": "n", "type": "number"},
        {"name": "tags", "type": "select", "values": ["a", "b"], "maxSelect": 2},
        {"name": "secret", "type": "text", "hidden": True},
        createRule="@request.body.secret:isset = false && @request.body.n = 3",
        updateRule="@request.body.n = 10 && @request.body.tags:length = 2 && @request.body.tags:isset = true",
    )
    record = await base.create("posts", {"n": 1, "n+": 2, "secret": "x", "tags": "a"})
    changed = await base.update("posts", record["id"], {"n+": 7, "tags+": "b"})
    assert (changed["n"], changed["tags"]) == (10, ["a", "b"])
    with failing() as failure:
        await base.create("posts", {"n": 4})
    assert (failure.message, failure.codes) == ("Failed to create record.", {})
