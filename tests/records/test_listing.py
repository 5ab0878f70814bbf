"""Pages of records: parameters, totals, order, filters."""

from __future__ import annotations

import pytest

from groundplane.errors import Forbidden, Invalid


@pytest.fixture
async def notes(base):
    await base.collection("notes", {"name": "t", "type": "text"}, {"name": "n", "type": "number"})
    for number in range(5):
        await base.create("notes", {"t": f"note {number}", "n": number % 2})
    return base


async def test_a_page_tells_its_place(notes) -> None:
    page = await notes.listed("notes", page="2", perPage="2")
    assert list(page) == ["items", "page", "perPage", "totalItems", "totalPages"]
    assert [item["t"] for item in page.pop("items")] == ["note 2", "note 3"]
    assert page == {"page": 2, "perPage": 2, "totalItems": 5, "totalPages": 3}


async def test_a_page_beyond_the_end_is_empty_but_counted(notes) -> None:
    page = await notes.listed("notes", page="99")
    assert page == {"items": [], "page": 99, "perPage": 30, "totalItems": 5, "totalPages": 1}
    far = await notes.listed("notes", page="9223372036854775807", perPage="1000")
    assert (far["items"], far["totalItems"]) == ([], 5)


async def test_an_empty_collection_has_no_pages(base) -> None:
    await base.collection("empty")
    page = await base.listed("empty")
    assert page == {"items": [], "page": 1, "perPage": 30, "totalItems": 0, "totalPages": 0}


@pytest.mark.parametrize(
    ("query", "page", "per_page"),
    [
        ({}, 1, 30),
        ({"page": "", "perPage": ""}, 1, 30),
        ({"page": "0", "perPage": "0"}, 1, 30),
        ({"page": "-5", "perPage": "-5"}, 1, 30),
        ({"page": "+02", "perPage": "0007"}, 2, 7),
        ({"perPage": "1000"}, 1, 1000),
        ({"perPage": "1001"}, 1, 1000),
    ],
)
async def test_page_numbers_are_normalised(notes, query: dict[str, str], page: int, per_page: int) -> None:
    found = await notes.listed("notes", **query)
    assert (found["page"], found["perPage"]) == (page, per_page)


@pytest.mark.parametrize(
    "query",
    [
        {"page": "x"},
        {"page": "1.5"},
        {"page": " 1"},
        {"page": "9223372036854775808"},
        {"page": "9" * 100000},
        {"page": "\u0661"},
        {"perPage": "ten"},
        {"skipTotal": "yes"},
        {"filter": "t ="},
        {"filter": "nope = 1"},
        {"filter": "t = '" + "x" * 3500 + "'"},
        {"sort": "nope"},
        {"sort": "t,"},
        {"sort": "- t"},
        {"sort": "--t"},
        {"sort": "t,t,t,t,t,t,t,t,t"},
        {"sort": "@now"},
        {"sort": "x" * 300},
    ],
)
async def test_a_bad_parameter_is_refused_without_saying_why(notes, failing, query: dict[str, str]) -> None:
    with failing(Invalid) as failure:
        await notes.listed("notes", **query)
    assert failure.message == "Something went wrong while processing your request."
    assert failure.codes == {}


async def test_without_totals_they_are_minus_one(notes) -> None:
    for word in ("1", "t", "TRUE"):
        page = await notes.listed("notes", skipTotal=word, perPage="2")
        assert (len(page["items"]), page["totalItems"], page["totalPages"]) == (2, -1, -1)
    assert (await notes.listed("notes", skipTotal="false"))["totalItems"] == 5


async def test_filter_and_rule_both_apply_and_are_counted(notes, superuser) -> None:
    await notes.collections.update("notes", {"listRule": "n = 1"})
    page = await notes.listed("notes", filter="t != 'note 1'")
    assert ([item["t"] for item in page["items"]], page["totalItems"]) == (["note 3"], 1)
    assert (await notes.listed("notes", superuser))["totalItems"] == 5


async def test_order_is_that_of_insertion_unless_told(notes) -> None:
    async def order(sort: str) -> str:
        return "".join(item["t"][-1] for item in (await notes.listed("notes", sort=sort))["items"])

    assert await order("") == "01234"
    assert await order("-t") == "43210"
    assert await order("-n,t") == "13024"
    assert await order("n") == "02413"
    assert await order("-@rowid") == "43210"
    assert await order("+t") == "01234"
    assert await order(" t") == "01234"
    assert sorted(await order("@random")) == list("01234")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"filter": "@request.auth.id = ''"}, "Only superusers can filter by @request."),
        ({"filter": "t = '@collection.x'"}, "Only superusers can filter by @collection."),
        ({"sort": "@request.method"}, "Only superusers can filter by @request."),
        ({"filter": "@request.a", "sort": "@collection.b"}, "Only superusers can filter by @request."),
    ],
)
async def test_a_client_may_not_name_the_request(notes, failing, query: dict[str, str], message: str) -> None:
    with failing(Forbidden) as failure:
        await notes.listed("notes", **query)
    assert failure.message == message


async def test_what_is_forbidden_is_told_before_what_is_malformed(notes) -> None:
    with pytest.raises(Forbidden):
        await notes.listed("notes", page="x", filter="@request.auth.id = ''")


async def test_the_number_of_statements_does_not_depend_on_the_number_of_records(notes, monkeypatch) -> None:
    statements = []
    fetch = notes.db.fetch

    async def counted(sql, *args):
        statements.append(sql)
        return await fetch(sql, *args)

    monkeypatch.setattr(notes.db, "fetch", counted)
    await notes.listed("notes")
    assert len(statements) == 1


async def test_page_and_total_come_from_one_snapshot(notes) -> None:
    import asyncio

    async def write() -> None:
        for _ in range(40):
            await notes.create("notes", {"t": "more"})

    async def read() -> None:
        for _ in range(40):
            page = await notes.listed("notes", perPage="1000")
            assert len(page["items"]) == page["totalItems"]

    await asyncio.gather(write(), read(), read())
