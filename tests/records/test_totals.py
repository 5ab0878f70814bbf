"""A total is that of the page beside it, whoever writes meanwhile, and nothing is counted without need."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from tests.records.conftest import Base

from groundplane.db.counts import Joint
from groundplane.records.quick import NOBODY, Question, answer_to
from groundplane.records.shapes import SIGHTINGS
from groundplane.records.totals import MAX_TOTALS, Counted, Totals, totals_of


def question(base: Base, **query: str) -> Question:
    """The question behind a list, once it has been seen often enough."""
    for _ in range(SIGHTINGS + 1):
        found = base.records.quick.page("notes", query, NOBODY, "GET")
        if found is not None:
            return found
    raise AssertionError("the list takes the ordinary way")


async def answer(base: Base, **query: str) -> Any:
    found = await answer_to(question(base, **query))
    assert found is not None
    return msgspec.json.decode(found.body)


async def notes(base: Base, field: Any, count: int) -> None:
    await base.collection("notes", field("title"), field("n", "number"))
    await base.db.execute(
        "INSERT INTO notes (id, title, n) SELECT 'first' || i, 'first', i FROM generate_series(1, $1::int) i",
        count,
    )


async def test_a_total_is_not_counted_again_while_nothing_was_written(base: Base, field: Any) -> None:
    await notes(base, field, 50)
    assert (await answer(base, filter="n > 3.5"))["totalItems"] == 47
    for page in "12":  # another page of the same question has the same total
        asked = question(base, filter="n > 3.5", page=page)
        row = await asked.lane.row(asked.shape, asked.values)
        assert row is not None
        assert row["total"] is None
        found = asked.answer(row)
        assert found is not None
        assert msgspec.json.decode(found.body)["totalItems"] == 47
    assert (await answer(base, filter="n > 4.5"))["totalItems"] == 46
    await base.db.execute("DELETE FROM notes WHERE n > 40")
    asked = question(base, filter="n > 3.5")
    row = await asked.lane.row(asked.shape, asked.values)
    assert row is not None
    assert row["total"] == 37


async def test_a_write_elsewhere_has_totals_counted_again(base: Base, field: Any) -> None:
    await notes(base, field, 5)
    await base.collection("others", field("title"))
    assert (await answer(base))["totalItems"] == 5
    await base.create("others", {"title": "x"})
    asked = question(base)
    row = await asked.lane.row(asked.shape, asked.values)
    assert row is not None
    assert row["total"] == 5


async def test_a_total_of_an_open_transaction_is_not_seen(base: Base, field: Any) -> None:
    await notes(base, field, 5)
    begun, end = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        async with base.db.transaction():
            await base.db.execute("INSERT INTO notes (id, title) VALUES ('late', 'late')")
            begun.set()
            await end.wait()

    writing = asyncio.create_task(write())
    await begun.wait()
    for _ in range(3):
        assert (await answer(base))["totalItems"] == 5
    end.set()
    await writing
    assert (await answer(base))["totalItems"] == 6


async def test_totals_agree_with_their_pages_under_writes(base: Base, field: Any) -> None:
    """Every match fits on the page, so page and total can be compared in each answer."""
    await notes(base, field, 300)
    question(base, filter="n > 1.5", perPage="1000")
    stop = asyncio.Event()
    totals: set[int] = set()

    async def write(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            async with base.db.transaction():
                await base.db.execute(
                    "INSERT INTO notes (id, title, n) SELECT $1 || '-' || i, $1, 200 + i"
                    " FROM generate_series(1, $2::int) i",
                    f"w{number}-{turn}",
                    turn % 7 + 1,
                )
            if turn % 10 == 0:  # however fast this is, all of it must fit on the page
                await base.db.execute("DELETE FROM notes WHERE starts_with(title, $1)", f"w{number}-")
            elif turn % 2:
                await base.db.execute("DELETE FROM notes WHERE title = $1", f"w{number}-{turn - 1}")

    async def read(number: int) -> None:
        for turn in range(25):
            bound = (number * 25 + turn) % 40 + 1.5
            found = await answer(base, filter=f"n > {bound}", perPage="1000")
            assert found["totalItems"] == len(found["items"])
            assert found["totalPages"] == 1
            totals.add(found["totalItems"])

    writers = [asyncio.create_task(write(number)) for number in range(3)]
    try:
        await asyncio.gather(*(read(number) for number in range(24)))
    finally:
        stop.set()
        await asyncio.gather(*writers)
    assert len(totals) > 20
    joint = question(base, filter="n > 1.5", perPage="1000").shape.joint
    assert joint is not None
    assert joint.texts  # some of them were counted together


async def test_counts_are_made_apart_where_an_index_leads_to_few_rows(base: Base, field: Any) -> None:
    await notes(base, field, 20_000)
    await base.db.execute("CREATE INDEX ON notes (title)")
    await base.db.execute("UPDATE notes SET title = 'note ' || n")
    await base.db.execute("VACUUM ANALYZE notes")

    async def joint(text: str) -> Joint:
        found = await asyncio.gather(
            *(answer(base, filter=text.replace("#", str(number))) for number in range(30, 40))
        )
        assert all(each["totalItems"] for each in found)
        shape = question(base, filter=text.replace("#", "30")).shape
        assert shape.joint is not None
        return shape.joint

    assert not (await joint("title = 'note #'")).texts
    assert (await joint("n > #")).texts


def test_only_so_many_totals_are_kept() -> None:
    totals = Totals()
    for number in range(MAX_TOTALS + 10):
        totals.put(number, Counted("1:1:", number))
        totals.get(0)
    assert totals.get(0).total == 0
    assert totals.get(5).total == -1
    assert totals.get(MAX_TOTALS + 9).total == MAX_TOTALS + 9


async def test_totals_end_with_their_schema(base: Base, field: Any) -> None:
    await notes(base, field, 3)
    await answer(base)
    before = totals_of(base.schema)
    await base.collections.update("notes", {"listRule": "n > 1"})
    assert totals_of(base.schema) is not before
    assert (await answer(base))["totalItems"] == 2
