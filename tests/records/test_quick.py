"""The short way gives the bytes of the ordinary way, or nothing."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.records.conftest import GUEST, SUPERUSER, Base

from groundplane.api.response import json_reply
from groundplane.clock import now, wire_date
from groundplane.context import RequestInfo
from groundplane.db.lanes import Shape
from groundplane.errors import Invalid, NotFound
from groundplane.query.macros import MACROS, macro
from groundplane.records.quick import NOBODY, Asker, answer_to
from groundplane.records.shapes import MOMENTS, SIGHTINGS
from groundplane.records.values import Submitted
from groundplane.records.wire import encode_ready

TEXTS = [
    "", "plain", "<b>&amp;</b>", "\u2028\u2029", "\"quoted\" 'single' \\back\\", "tab\tnew\nline\rfeed\f\b",
    "".join(map(chr, range(1, 32))) + "\x7f", "Ünïcödé 日本 🎉", "$1 $2 {} %s", "\ud800", "/", "\x80\x9f\ufeff\uffff",
]  # fmt: skip
NUMBERS = [
    0, -0.0, 1, -1, 5.5, 0.1, 1e21, 1e20, 123456789012345680000, 1e-6, 1e-7, 1.5e-5, 9.999e-5, 0.0001, 1e15, 1e14,
    999999999999999.9, 1e16 + 2, 2**53, 2**53 + 2, -1.7976931348623157e308, 5e-324, 1.5e300, -2.5e-9, 1 / 3,
]  # fmt: skip
JSONS: list[Any] = [
    None, "", "text", "<&>\u2028", 0, 1.5, 1e30, True, [], {}, [1, [2, {"b": None, "a": "\"\\\n"}]],
    {"z": 1, "a": {"é": "\x01"}},
]  # fmt: skip


async def quick_view(
    base: Base, name: str, id: str, asker: Asker = NOBODY, query: Mapping[str, str] | None = None
) -> Any:
    """What the short way says of a record, once it has seen the question often enough."""
    for _ in range(SIGHTINGS):
        question = base.records.quick.view(name, id, query or {}, asker, "GET")
    return await answer_to(question) if question is not None else None


async def quick_page(base: Base, name: str, asker: Asker = NOBODY, **query: str) -> bytes | None:
    for _ in range(SIGHTINGS):
        question = base.records.quick.page(name, query, asker, "GET")
    found = await answer_to(question) if question is not None else None
    return found.body if found is not None else None


async def ordinary_page(base: Base, name: str, info: RequestInfo = GUEST, **query: str) -> bytes:
    return encode_ready(await base.records.page(name, query, info))


def asker_of(info: RequestInfo) -> Asker:
    """As after a full look at the token: nothing is left to prove."""
    return Asker(info.caller)


async def test_every_value_has_the_same_bytes(base: Base, field: Any) -> None:
    await base.collection(
        "things",
        field("text"), field("markup", "editor"), field("number", "number"), field("flag", "bool"),
        field("moment", "date"), field("made", "autodate", onCreate=True), field("data", "json"),
        field("kinds", "select", values=["a<b", 'q"q', "c,d"], maxSelect=3), field("place", "geoPoint"),
        field("kind", "select", values=["a<b"]), field("address", "email"), field("Page", "url"),
        field("secret", hidden=True), field("_first"),
    )  # fmt: skip
    chosen = random.Random(3)
    ids = []
    for number in range(max(len(TEXTS), len(NUMBERS), len(JSONS)) * 2):
        values = {
            "text": TEXTS[number % len(TEXTS)],
            "markup": chosen.choice(TEXTS),
            "number": NUMBERS[number % len(NUMBERS)],
            "flag": number % 2 == 0,
            "moment": chosen.choice(
                ["", "2030-01-02 03:04:05.678Z", "1969-12-31 23:59:59.999Z", "9999-12-31"]
            ),
            "data": JSONS[number % len(JSONS)],
            "kinds": chosen.sample(["a<b", 'q"q', "c,d"], number % 4),
            "kind": chosen.choice(["", "a<b"]),
            "place": {
                "lon": chosen.choice([0, -0.0, 1e-7, -179.5]),
                "lat": chosen.choice([0, 45.123456789, -90]),
            },
            "address": chosen.choice(["", "a&b@example.com"]),
            "secret": "hidden",
        }
        ids.append((await base.create("things", values, info=SUPERUSER))["id"])
    for info in (GUEST, SUPERUSER):
        for id in ids:
            found = await quick_view(base, "things", id, asker_of(info))
            answer = await base.records.view("things", id, {}, info)
            assert found.body == encode_ready(answer.record)
            assert found.etag == answer.etag
        for query in (
            {"perPage": "7", "page": "2"},
            {"skipTotal": "1", "sort": "-number"},
            {"perPage": "500"},
        ):
            found = await quick_page(base, "things", asker_of(info), **query)
            assert found == await ordinary_page(base, "things", info, **query)


async def test_numbers_of_all_sizes_have_the_same_bytes(base: Base, field: Any) -> None:
    await base.collection("things", field("number", "number"))
    chosen = random.Random(5)
    await base.db.execute(
        "INSERT INTO things (id, number) SELECT 'n' || o, v FROM unnest($1::float8[]) WITH ORDINALITY u(v, o)",
        [
            value
            for _ in range(900)
            if math.isfinite(
                value := chosen.choice([-1, 1]) * chosen.random() * 10.0 ** chosen.randint(-330, 308)
            )
        ]
        + [round(chosen.random() * 10.0**size, 3) for size in range(30) for _ in range(3)]
        + [10.0**size for size in range(-30, 30)],
    )
    query = {"perPage": "1000", "skipTotal": "1"}
    assert await quick_page(base, "things", **query) == await ordinary_page(base, "things", **query)


FILTERS = [
    "n > 5", "n > 3.5 && n < 40", "title = 'note 7' || n = 12", "title ~ 'OTE 1' && n != 3", "flag = true && n >= 10",
    "owner.title = 'boss' && n < 30", "kinds:each ?= 'a' || n = 2", "made > '2020-01-02 03:04:05.678Z'", "title != ''",
    "n = 1 || n = 0 || n = -5", 'title ?~ "note" && (n > 20 || n < 4)',
]  # fmt: skip


async def test_filters_and_sorts_find_the_same(base: Base, field: Any) -> None:
    people = await base.collection("people", field("title"))
    await base.collection(
        "notes",
        field("title"), field("n", "number"), field("flag", "bool"), field("made", "autodate", onCreate=True),
        field("kinds", "select", values=["a", "b"], maxSelect=2),
        field("owner", "relation", collectionId=people.id, maxSelect=1),
    )  # fmt: skip
    boss = await base.create("people", {"title": "boss"})
    for number in range(50):
        await base.create(
            "notes",
            {
                "title": f"note {number}",
                "n": number,
                "flag": number % 3 == 0,
                "kinds": ["a", "b"][: number % 3],
                "owner": boss["id"] if number % 2 else "",
            },
        )
    used = 0
    for text in FILTERS:
        for other in (text, text.replace("3", "4"), text.replace("1", "2").replace("note", "not")):
            for sort in ("", "-n", "title,-made", "owner.title"):
                query = {"filter": other, "sort": sort, "perPage": "10"}
                found = await quick_page(base, "notes", **query)
                expected = await ordinary_page(base, "notes", **query)
                assert found is None or found == expected, query
                assert (found is None) == (b'"items":[]' in expected), query
                used += found is not None
    assert used > 100


async def test_rules_hold_on_the_short_way(base: Base, field: Any) -> None:
    people = await base.collection("people", type="auth")
    own = "public = true || owner = @request.auth.id"
    notes = await base.collection(
        "notes",
        field("public", "bool"),
        field("owner", "relation", collectionId=people.id, maxSelect=1),
        listRule=own,
        viewRule=own,
    )
    accounts = []
    for number in range(3):
        password = {"password": "1234567890", "passwordConfirm": "1234567890"}
        account = await base.create("people", {"email": f"p{number}@example.com"} | password)
        accounts.append(await base.records.find_one(people, "r.id = $1", account["id"]))
    ids = []
    for number in range(12):
        values = {"public": number % 4 == 0, "owner": accounts[number % 3]["id"]}
        ids.append((await base.create("notes", values, info=SUPERUSER))["id"])
    askers = [GUEST, SUPERUSER, *(base.as_caller("people", each) for each in accounts)]

    async def compare(info: RequestInfo, id: str) -> bool:
        found = await quick_view(base, notes.id, id, asker_of(info))
        try:
            answer = await base.records.view("notes", id, {}, info)
        except NotFound:
            assert found is None
            return False
        assert found.body == encode_ready(answer.record)
        return True

    seen = await asyncio.gather(*(compare(info, id) for info in askers for id in ids))
    assert sum(seen) == 3 + 12 + sum((3 + 4 - 1, 3 + 4 - 1, 3 + 4 - 1))
    for info in askers:
        assert await quick_page(base, "notes", asker_of(info)) == await ordinary_page(base, "notes", info)


async def test_a_proof_that_is_no_longer_right_gives_nothing(base: Base, field: Any) -> None:
    people = await base.collection("people", type="auth")
    await base.collection("notes", field("title"))
    account = await base.create(
        "people", {"email": "p@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    )
    note = await base.create("notes", {"title": "x"})
    record = await base.records.find_one(people, "r.id = $1", account["id"])
    assert record is not None
    asker = Asker(base.as_caller("people", record).caller, record["tokenKey"])
    sent = Submitted({"title": "by me"})
    assert await quick_view(base, "notes", note["id"], asker) is not None
    assert await quick_page(base, "notes", asker) is not None
    for _ in range(SIGHTINGS):
        made = await base.records.create_quickly("notes", sent, {}, asker)
    assert made is not None
    await base.records.save_fields(people, account["id"], {"tokenKey": "k" * 40})
    assert await quick_view(base, "notes", note["id"], asker) is None
    assert await quick_page(base, "notes", asker) is None
    count = await base.db.fetchval("SELECT count(*) FROM notes")
    assert await base.records.create_quickly("notes", sent, {}, asker) is None
    assert await base.db.fetchval("SELECT count(*) FROM notes") == count
    await base.records.delete_internal(people, account["id"])
    assert await quick_view(base, "notes", note["id"], asker) is None


@pytest.mark.parametrize("manage", [None, "id = @request.auth.id"])
async def test_addresses_are_shown_to_those_who_may_see_them(base: Base, manage: str | None) -> None:
    people = await base.collection("people", type="auth", manageRule=manage)
    ids = []
    for number in range(3):
        values = {"email": f"p{number}@example.com", "emailVisibility": number == 1}
        password = {"password": "1234567890", "passwordConfirm": "1234567890"}
        ids.append((await base.create("people", values | password))["id"])
    record = await base.records.find_one(people, "r.id = $1", ids[0])
    assert record is not None
    for info in (GUEST, SUPERUSER, base.as_caller("people", record)):
        for id in ids:
            found = await quick_view(base, "people", id, asker_of(info))
            answer = await base.records.view("people", id, {}, info)
            assert found is not None or (manage is not None and not info.is_superuser)
            assert found is None or found.body == encode_ready(answer.record)
        page = await quick_page(base, "people", asker_of(info))
        assert page is None or page == await ordinary_page(base, "people", info)


async def test_what_needs_python_is_not_taken(base: Base, field: Any) -> None:
    await base.collection("notes", field("title"))
    await base.collection("seen", type="view", viewQuery="SELECT id, title FROM notes")
    await base.collection(
        "asks",
        field("title"),
        viewRule="@request.query.a.b = title",
        listRule="@request.auth.verified = true",
    )
    note = await base.create("notes", {"title": "x"})
    asked = await base.create("asks", {"title": "x"})
    for query in ({"expand": "a"}, {"fields": "title:excerpt(3)"}, {"fields": "expand.a"}, {"fields": ","}):
        assert await quick_view(base, "notes", note["id"], query=query) is None
        assert await quick_page(base, "notes", **query) is None
    assert await quick_view(base, "seen", note["id"]) is None
    assert await quick_view(base, "asks", asked["id"]) is None
    assert await quick_page(base, "asks") is None
    assert await quick_view(base, "nowhere", note["id"]) is None
    for text in ("title = '@request.x'", "title = 'x' // note", "title < @nowhere", "(", "title = "):
        assert await quick_page(base, "notes", filter=text) is None
    for bad in ({"page": "x"}, {"sort": "@random"}, {"sort": "-nothing"}, {"page": "9"}):
        assert await quick_page(base, "notes", **bad) is None


async def test_chosen_fields_have_the_same_bytes(base: Base, field: Any) -> None:
    people = await base.collection("people", type="auth")
    await base.collection(
        "notes",
        field("title"), field("n", "number"), field("flag", "bool"), field("due", "date"),
        field("kinds", "select", values=["a", "b"], maxSelect=2), field("secret", hidden=True),
        field("data", "json"), field("place", "geoPoint"),
    )  # fmt: skip
    for values in (
        {"title": "<a>", "n": 1e21, "secret": "s"},
        {"n": -0.5, "kinds": ["b"], "due": "2030-01-02"},
    ):
        note = await base.create("notes", values, info=SUPERUSER)
    password = {"password": "1234567890", "passwordConfirm": "1234567890"}
    person = await base.create("people", {"email": "p@example.com"} | password)
    asked = [
        ("notes", note["id"], text)
        for text in ("id", "title , n,id", "flag,due,kinds,nothing", "secret,n", "_x")
    ]
    asked += [
        ("people", person["id"], text) for text in ("id,email", "collectionId,email,verified", "*", "id,*")
    ]
    taken = 0
    for name, id, text in asked:
        for info in (GUEST, SUPERUSER):
            answer = await base.records.view(name, id, {"fields": text}, info)
            expected = json_reply(answer.record, fields=text).body
            found = await quick_view(base, name, id, asker_of(info), {"fields": text})
            assert found is None or found.body == expected, text
            page = await base.records.page(name, {"fields": text}, info)
            shown = await quick_page(base, name, asker_of(info), fields=text)
            assert shown is None or shown == json_reply(page, fields=text).body, text
            assert (found is None) == (shown is None)
            taken += found is not None
    assert taken >= len(asked) * 2 - 1
    for text in ("data", "place,id", "*", "*,id"):
        assert await quick_view(base, "notes", note["id"], query={"fields": text}) is None
    assert people.is_auth


ASKING_RULES = [
    "due <= @now", "due > @yesterday && due < @tomorrow", "n = @year || title = 'any'", "@request.query.q = title",
    "@request.query.q:isset = true && title != @request.query.q", "@request.query.q:lower = title", "title ~ @request.query.q",
    "@request.headers.x_key = title || n = 2", "@request.headers.x_key:isset = false", "@request.body.q:isset = false",
    "@request.method = 'GET' && @request.context = 'default'", "@request.query.n = n", "n >= @request.query.n && due < @todayEnd",
    "@request.query.q ?= kinds:each || @request.headers.x_key = ''", "@month >= @request.query.n",
]  # fmt: skip


async def test_rules_may_ask_for_the_time_and_for_parameters(base: Base, field: Any) -> None:
    await base.collection(
        "notes", field("title"), field("n", "number"), field("due", "date"),
        field("kinds", "select", values=["plain", "other"], maxSelect=2),
    )  # fmt: skip
    year = now().year
    for number, title in enumerate(["plain", "Plain", "other", "", "5", "50%", "a_b", "any"]):
        due = wire_date(now() + timedelta(days=(number % 4) * 2 - 3, hours=1)) if number else ""
        values = {
            "title": title,
            "n": [number, year][number % 2],
            "due": due,
            "kinds": ["plain", "other"][: number % 3],
        }
        await base.create("notes", values)
    ids = await base.ids("notes")
    taken = 0
    queries: list[dict[str, str]] = [
        {},
        *({"q": text} for text in ("plain", "other", "", "5", "50%", "PLAIN", "a_b")),
    ]
    queries += [{"n": "3"}, {"n": str(year)}, {"n": "x"}, {"q": "x" * 200}]
    for rule in ASKING_RULES:
        await base.collections.update("notes", {"listRule": rule, "viewRule": rule})
        for query in queries:
            for headers in ({}, {"x_key": "plain"}, {"x_key": ""}, {"x_key": "other"}):
                info = RequestInfo(query=query, headers=headers)
                for _ in range(SIGHTINGS):
                    question = base.records.quick.page("notes", query, NOBODY, "GET", headers.copy)
                page = await answer_to(question) if question is not None else None
                expected = await ordinary_page(base, "notes", info, **query)
                assert page is None or page.body == expected, (rule, query, headers)
                assert page is not None or question is None or b'"items":[]' in expected
                taken += page is not None
    for id in ids[:2]:
        for _ in range(SIGHTINGS):
            question = base.records.quick.view("notes", id, {"n": "3"}, NOBODY, "GET")
        assert question is not None
    assert taken > len(ASKING_RULES) * 10


async def test_a_filter_may_ask_for_the_time(base: Base, field: Any) -> None:
    await base.collection("notes", field("due", "date"))
    for days in (-2, -1, 1, 2):
        await base.create("notes", {"due": wire_date(now() + timedelta(days=days, hours=1))})
    for text in ("due > @now", "due < @now || due > @tomorrow", "due > @yearStart && due != @now"):
        assert await quick_page(base, "notes", filter=text) == await ordinary_page(base, "notes", filter=text)


def test_no_macro_has_the_value_of_another_in_both_examples() -> None:
    seen = [tuple(macro(name, moment) for moment in MOMENTS) for name in MACROS]
    assert len(set(seen)) == len(MACROS)
    assert all(first != second for first, second in seen)


async def test_a_changed_collection_is_shown_as_it_is_now(base: Base, field: Any) -> None:
    await base.collection("notes", field("title"))
    note = await base.create("notes", {"title": "x"})
    assert b'"title":"x"' in (await quick_view(base, "notes", note["id"])).body
    await base.collections.update(
        "notes", {"fields": [*NOTE_ID, field("subject")], "viewRule": "subject = ''"}
    )
    found = await quick_view(base, "notes", note["id"])
    assert b'"subject":""' in found.body
    assert b"title" not in found.body


NOTE_ID = [{"name": "id", "type": "text", "primaryKey": True, "system": True, "required": True}]


# Creating


async def quick_create(base: Base, name: str, values: dict[str, Any], info: RequestInfo = GUEST) -> Any:
    made = None
    for _ in range(SIGHTINGS):
        made = await base.records.create_quickly(name, Submitted(values), {}, asker_of(info))
    return made


async def test_a_quick_create_writes_what_it_answers(base: Base, field: Any) -> None:
    people = await base.collection("people", field("title"))
    await base.collection(
        "notes",
        field("title"), field("n", "number"), field("flag", "bool"), field("made", "autodate", onCreate=True),
        field("data", "json"), field("due", "date"), field("owner", "relation", collectionId=people.id, maxSelect=1),
        createRule="n > 0 && owner.title = 'boss'",
    )  # fmt: skip
    boss = await base.create("people", {"title": "boss"})
    for text, number, value in zip(
        TEXTS * 3, [each for each in NUMBERS if each > 0], JSONS * 3, strict=False
    ):
        values = {"title": text, "n": number, "data": value, "owner": boss["id"], "due": "2030-01-02"}
        made = await quick_create(base, "notes", values)
        if "\ud800" in text:
            continue
        id = made.body.split(b'"id":"')[1][:15].decode()
        answer = await base.records.view("notes", id, {}, GUEST)
        assert made.body == encode_ready(answer.record)
        assert made.etag == answer.etag


async def test_what_a_create_needs_is_checked_on_the_short_way(base: Base, field: Any) -> None:
    people = await base.collection("people", field("title"))
    await base.collection(
        "notes",
        field("title", required=True, max=5),
        field("owner", "relation", collectionId=people.id, maxSelect=1),
        createRule="title != 'no'",
        indexes=["CREATE UNIQUE INDEX u ON notes (title)"],
    )
    boss = await base.create("people", {"title": "boss"})
    assert await quick_create(base, "notes", {"title": "a", "owner": boss["id"]}) is not None
    assert await base.db.fetchval("SELECT count(*) FROM notes") == 1
    with pytest.raises(Invalid):
        await quick_create(base, "notes", {"title": "a", "owner": boss["id"]})
    for values in (
        {"title": "a", "owner": "nobody"},
        {"title": "no"},
        {"title": ""},
        {"title": "too long"},
        {"title": "b", "owner": "nobody"},
        {"title": "\x00"},
        {"title": "b", "id": "chosen"},
        {"title": "b", "title+": "c"},
    ):
        assert await quick_create(base, "notes", values) is None, values
    assert await base.db.fetchval("SELECT count(*) FROM notes") == 1


async def test_lists_points_and_references_are_created_quickly(base: Base, field: Any) -> None:
    people = await base.collection("people", field("title"))
    ids = [(await base.create("people"))["id"] for _ in range(3)]
    kinds = ["a", 'q"q', "c,d", "e\\f", "{}"]
    await base.collection(
        "notes",
        field("title"), field("kinds", "select", values=kinds, maxSelect=5), field("place", "geoPoint"),
        field("readers", "relation", collectionId=people.id, maxSelect=9), field("cover", "file", maxSelect=1),
        field("kind", "select", values=["x"], maxSelect=1), field("site", "url"), field("mail", "email"),
    )  # fmt: skip
    for values in (
        {},
        {"kinds": kinds, "place": {"lon": 1.5, "lat": -2}, "readers": ids, "kind": "x"},
        {"kinds": ["{}"], "readers": ids[1:], "site": "https://example.com", "mail": "a@example.com"},
        {"id": "chosenchosen123", "title": "with an id of its own"},
    ):
        made = None
        for _ in range(SIGHTINGS):
            made = made or await base.records.create_quickly("notes", Submitted(values), {}, NOBODY)
        assert made is not None, values
        id = made.body.split(b'"id":"')[1][:15].decode()
        answer = await base.records.view("notes", id, {}, GUEST)
        assert made == (encode_ready(answer.record), answer.etag)
    for values in (
        {"readers": [ids[0], "nobody"]},
        {"kinds": ["z"]},
        {"place": {"lon": 500}},
        {"cover": "x"},
    ):
        assert await quick_create(base, "notes", values) is None, values


async def test_two_creates_with_one_id_are_one_record(base: Base, field: Any) -> None:
    await base.collection("notes", field("title"))
    await quick_create(base, "notes", {})
    values = [{"id": "chosenchosen123", "title": title} for title in ("one", "two", "three")]
    made = await asyncio.gather(
        *(base.records.create_quickly("notes", Submitted(each), {}, NOBODY) for each in values),
        return_exceptions=True,
    )
    assert [isinstance(each, Invalid) for each in made] == [False, True, True]
    assert (await base.view("notes", "chosenchosen123"))["title"] == "one"


async def test_a_rule_that_reads_what_is_generated_takes_the_ordinary_way(base: Base, field: Any) -> None:
    for number, rule in enumerate(("id != ''", "made = ''", "@request.body.title = 'x'")):
        name = f"notes{number}"
        await base.collection(name, field("title"), field("made", "autodate", onCreate=True), createRule=rule)
        assert await quick_create(base, name, {"title": "x"}) is None


async def test_many_creates_at_once_are_each_their_own(base: Base, field: Any) -> None:
    await base.collection(
        "notes",
        field("title"),
        indexes=["CREATE UNIQUE INDEX u ON notes (title)"],
        createRule="title != 'odd'",
    )
    await quick_create(base, "notes", {"title": "first"})

    refused: list[str] = []

    async def create(number: int) -> bool:
        title = "odd" if number % 10 == 0 else f"t{number % 150}"
        try:
            made = await base.records.create_quickly("notes", Submitted({"title": title}), {}, NOBODY)
        except Invalid:
            refused.append(title)
            return False
        assert (made is None) == (title == "odd")
        assert made is None or f'"title":"{title}"'.encode() in made.body
        return made is not None

    written = sum(await asyncio.gather(*(create(number) for number in range(200))))
    assert written == 135
    assert sorted(refused) == sorted(f"t{number}" for number in range(50) if number % 10)
    assert await base.db.fetchval("SELECT count(*) FROM notes") == written + 1


def test_shapes_are_compared_by_identity() -> None:
    assert Shape("SELECT 1", 0) != Shape("SELECT 1", 0)
