"""Paging by cursor: every record once, in the order of the sort, whatever is written meanwhile."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.records.conftest import GUEST, SUPERUSER, Base

from groundplane.context import RequestInfo
from groundplane.errors import Invalid
from groundplane.records.project import project

SORTS = [
    "", "n", "-n", "title", "-title", "due", "-due", "flag,-n", "-kind,title,-due", "owner.title", "-owner.rank,n",
    "data.a", "-data.a,-n", "@rowid", "-@rowid", "-title,@rowid", "kinds", "-n,+title,due,-flag", "place.lat,-title",
]  # fmt: skip


async def notes(base: Base, field: Any, count: int = 60) -> None:
    """Records with many equal values, empty ones and ones that are missing."""
    people = await base.collection("people", field("title"), field("rank", "number"))
    await base.collection(
        "notes",
        field("title"), field("n", "number"), field("flag", "bool"), field("due", "date"), field("data", "json"),
        field("kind", "select", values=["a", "b"]), field("kinds", "select", values=["a", "b"], maxSelect=2),
        field("place", "geoPoint"), field("owner", "relation", collectionId=people.id, maxSelect=1),
    )  # fmt: skip
    chosen = random.Random(7)
    owners = [
        (await base.create("people", {"title": title, "rank": rank}))["id"]
        for title, rank in (("x", 1), ("", 2), ("y", 1))
    ]
    for _ in range(count):
        await base.create(
            "notes",
            {
                "title": chosen.choice(["", "a", "A", "b", "ä", "a'b", "☃"]),
                "n": chosen.choice([0, 1, -1, 0.1, 1 / 3, 1e-7, 1e20]),
                "flag": chosen.random() < 0.5,
                "due": chosen.choice(["", "2030-01-02 03:04:05.678Z", "1969-12-31 23:59:59.999Z"]),
                "data": chosen.choice([None, {"a": 1}, {"a": "t"}, {"a": None}, {"b": 2}, [1]]),
                "kind": chosen.choice(["", "a", "b"]),
                "kinds": chosen.choice([[], ["a"], ["a", "b"]]),
                "place": {"lon": 1, "lat": chosen.choice([0, 5.5])},
                "owner": chosen.choice(["", *owners]),
            },
        )


async def walk(
    base: Base, info: RequestInfo = GUEST, *, per_page: int = 7, turns: int = 1000, **query: str
) -> list[str]:
    """The ids in the order in which the pages bring them."""
    found: list[str] = []
    cursor = ""
    for _ in range(turns):
        page = await base.listed("notes", info, cursor=cursor, perPage=str(per_page), **query)
        found += [item["id"] for item in page["items"]]
        cursor = page["nextCursor"]
        if not cursor:
            return found
        assert len(page["items"]) == per_page
    return found


@pytest.mark.parametrize("info", [GUEST, SUPERUSER], ids=["guest", "superuser"])
async def test_every_sort_brings_every_record_once_and_in_order(
    base: Base, field: Any, info: RequestInfo
) -> None:
    await notes(base, field)
    for sort in SORTS:
        for text in ("", "n >= 0"):
            query = {"sort": sort, "filter": text, "skipTotal": "1"}
            expected = await base.ids("notes", info, perPage="1000", **query)
            assert len(expected) > 20
            for per_page in (1, 7, len(expected), 1000):
                assert await walk(base, info, per_page=per_page, **query) == expected, (sort, text, per_page)


async def test_inserts_and_deletes_shift_nothing(base: Base, field: Any) -> None:
    await notes(base, field, 40)
    for sort in ("n,title", "-n,-title", "-due", "owner.title"):
        expected = await base.ids("notes", perPage="1000", sort=sort)
        found: list[str] = []
        cursor = ""
        while True:
            page = await base.listed("notes", cursor=cursor, perPage="6", sort=sort)
            found += [item["id"] for item in page["items"]]
            cursor = page["nextCursor"]
            if not cursor:
                break
            # New records in front and behind, and the last one that was shown is gone.
            last = page["items"][-1]
            for number in (-5, 1e21):
                made = await base.create("notes", {"n": number, "title": "new", "due": "2000-01-01"})
                await base.delete("notes", made["id"])
                await base.create("notes", {"n": number, "title": "new"})
            await base.delete("notes", last["id"])
        assert [id for id in found if id in expected] == expected
        assert len(found) == len(set(found))


async def test_the_rule_of_the_moment_decides_what_a_page_shows(base: Base, field: Any) -> None:
    await notes(base, field, 20)
    first = await base.listed("notes", cursor="", perPage="5", sort="title")
    await base.collections.update("notes", {"listRule": "flag = true"})
    rest = await base.listed("notes", cursor=first["nextCursor"], perPage="100", sort="title")
    assert rest["items"]
    assert all(item["flag"] for item in rest["items"])
    assert not {item["id"] for item in rest["items"]} & {item["id"] for item in first["items"]}


async def test_a_cursor_comes_only_when_it_is_asked_for(base: Base, field: Any) -> None:
    await notes(base, field, 5)
    assert set(await base.listed("notes")) == {"items", "page", "perPage", "totalItems", "totalPages"}
    page = await base.listed("notes", cursor="", perPage="2", page="3")
    assert (page["page"], page["totalItems"], page["totalPages"], len(page["items"])) == (1, 5, 3, 2)
    later = await base.listed("notes", cursor=page["nextCursor"], perPage="2")
    assert later["totalItems"] == 5
    assert (await base.listed("notes", cursor="", filter="title = 'nowhere'"))["nextCursor"] == ""
    assert (await base.listed("notes", cursor="", perPage="5"))["nextCursor"] == ""
    cut = project(await base.listed("notes", cursor="", perPage="2"), "id")
    assert [set(item) for item in cut["items"]] == [{"id"}, {"id"}]
    assert cut["nextCursor"]


async def test_a_cursor_serves_only_the_list_it_is_from(base: Base, field: Any) -> None:
    await notes(base, field, 10)
    await base.collection("others", field("title"), field("n", "number"))
    page = await base.listed("notes", cursor="", perPage="2", sort="title", filter="n > -5")
    cursor: str = page["nextCursor"]
    same = {"sort": "title", "filter": "n > -5"}
    assert (await base.listed("notes", cursor=cursor, **same))["items"]
    middle = len(cursor) // 2
    wrong = [
        {"cursor": cursor, "sort": "title"},
        {"cursor": cursor, "sort": "n", "filter": "n > -5"},
        {"cursor": cursor[:middle] + ("a" if cursor[middle] != "a" else "b") + cursor[middle + 1 :]} | same,
        {"cursor": cursor[:10]} | same,
        {"cursor": "x"} | same,
        {"cursor": "\x00☃"} | same,
        {"cursor": cursor * 100} | same,
    ]
    for query in wrong:
        with pytest.raises(Invalid, match="cursor"):
            await base.listed("notes", **query)
    with pytest.raises(Invalid, match="cursor"):
        await base.listed("others", cursor=cursor, **same)


async def test_a_cursor_does_not_show_what_it_holds(base: Base, field: Any) -> None:
    await notes(base, field, 1)
    for _ in range(3):
        await base.create("notes", {"title": "a secret place"})
    page = await base.listed("notes", cursor="", perPage="1", sort="-title")
    again = await base.listed("notes", cursor="", perPage="1", sort="-title")
    assert page["nextCursor"] != again["nextCursor"]
    assert "secret" not in page["nextCursor"]


async def test_random_orders_and_views_have_no_cursor(base: Base, field: Any) -> None:
    await notes(base, field, 3)
    await base.collection("seen", type="view", viewQuery="SELECT id, title FROM notes")
    for name, sort in (("notes", "@random"), ("seen", "title")):
        with pytest.raises(Invalid, match="cursor"):
            await base.listed(name, cursor="", sort=sort)
    with pytest.raises(Invalid):
        await base.listed("notes", cursor="", sort="nothing")


async def test_values_too_long_for_an_address_make_no_cursor(base: Base, field: Any) -> None:
    await base.collection("notes", field("title", max=100_000))
    for _ in range(2):
        await base.create("notes", {"title": "x" * 20_000})
    assert len((await base.listed("notes", cursor="", perPage="1"))["items"]) == 1
    with pytest.raises(Invalid, match="too long for a cursor"):
        await base.listed("notes", cursor="", perPage="1", sort="title")


# Estimated totals


async def test_an_estimate_is_exact_where_the_page_tells_and_near_elsewhere(base: Base, field: Any) -> None:
    await base.collection("notes", field("title"), field("n", "number"))
    await base.db.execute(
        "INSERT INTO notes (id, title, n) SELECT 'i' || i, 'x', i FROM generate_series(1, 5000) i"
    )
    await base.db.execute("ANALYZE notes")
    page = await base.listed("notes", total="estimate", sort="-title", filter="n > 2500")
    assert 2000 < page["totalItems"] < 3000
    assert page["totalPages"] == -(-page["totalItems"] // 30)
    assert (await base.listed("notes", total="estimate", filter="n < 11"))["totalItems"] == 10
    assert (await base.listed("notes", total="estimate", filter="n < 1"))["totalItems"] == 0
    last = await base.listed("notes", total="estimate", filter="n < 41", page="2")
    assert last["totalItems"] == 40
    assert (await base.listed("notes", total="estimate", skipTotal="1"))["totalItems"] == -1
    assert (await base.listed("notes", total="other", filter="n > 2500"))["totalItems"] == 2500
