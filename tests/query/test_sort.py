"""The order of records (contract, records §3.3)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.query.worlds import GUEST, World, collection

from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.query.errors import QueryError
from groundplane.query.sort import order_by

SUPERUSER = RequestInfo(caller=Caller("s", "c_su", "_superusers"))


@pytest.fixture
async def world(db: Database) -> World:
    world = World(
        db,
        [
            collection(
                "a",
                {"type": "text", "name": "title"},
                {"type": "number", "name": "n"},
                {"type": "date", "name": "d"},
                {"type": "json", "name": "data"},
                {"type": "select", "name": "tags", "values": ["x"], "maxSelect": 3},
                {"type": "relation", "name": "rel", "collectionId": "c_b", "maxSelect": 1},
                {"type": "relation", "name": "rels", "collectionId": "c_b", "maxSelect": 3},
                list_rule="",
            ),
            collection(
                "b",
                {"type": "text", "name": "name"},
                {"type": "relation", "name": "up", "collectionId": "c_a", "maxSelect": 1},
                list_rule="",
            ),
        ],
    )
    await world.create()
    await world.insert("b", {"id": "b1", "name": "x", "up": "1"}, {"id": "b2", "name": "a", "up": "1"})
    await world.insert(
        "a",
        {"id": "1", "title": "b", "n": 2.0, "data": '"t"', "rel": "b1", "rels": ["b1", "b2"], "tags": ["x"]},
        {"id": "2", "title": "B", "n": 1.0, "data": "10", "rel": "b2", "d": datetime(2030, 1, 1, tzinfo=UTC)},
        {"id": "3", "title": "é", "n": 2.0, "data": None, "rels": ["b2"], "tags": ["x", "y"]},
        {"id": "4", "title": "a", "n": 1.0, "data": "true", "d": datetime(2029, 1, 1, tzinfo=UTC)},
        {"id": "5", "title": "", "n": 0.0, "data": '{"k":1}'},
    )
    return world


ORDERS = {
    "": "1 2 3 4 5",
    "title": "5 2 4 1 3",
    "-title": "3 1 4 2 5",
    "+title": "5 2 4 1 3",
    " title": "5 2 4 1 3",
    "n,-title": "5 4 2 3 1",
    "-@rowid": "5 4 3 2 1",
    "@rowid": "1 2 3 4 5",
    "d": "1 3 5 4 2",
    "-d": "2 4 1 3 5",
    "data": "3 4 2 1 5",
    "-data": "5 1 2 4 3",
    "data.k": "1 2 3 4 5",
    "-data.k": "5 1 2 3 4",
    "rel.name": "3 4 5 2 1",
    "-rel.name,n": "1 2 5 4 3",
    "rels.name": "2 4 5 3 1",
    "-tags:length": "3 1 2 4 5",
    "-tags:each": "1 3 2 4 5",
    "b_via_up.name": "2 3 4 5 1",
    "title:lower": "5 4 1 2 3",
    "-rel.up.title": "1 2 3 4 5",
}


async def test_records_come_in_the_order_asked_for_and_then_as_inserted(world: World) -> None:
    assert {text: " ".join(await world.sorted("a", text)) for text in ORDERS} == ORDERS


async def test_random_order_has_all_records(world: World) -> None:
    assert sorted(await world.sorted("a", "-@random")) == ["1", "2", "3", "4", "5"]


async def test_superusers_may_sort_by_any_row_of_a_collection(world: World) -> None:
    assert await world.sorted("a", "@collection.b.name,-id", SUPERUSER) == ["5", "4", "3", "2", "1"]


@pytest.mark.parametrize(
    "text",
    [
        ",", "title,", "- title", "--title", "-+title", "nope", "true", "null", "@now", "@request.method", "@request.auth.id",
        "strftime('%Y')", "5", "'x'", "title desc", "title;", "a" * 256, ",".join(["title"] * 9), "rel.", "title:", "rel.nope",
        "title:nope", "\x00", "é",
    ],
)  # fmt: skip
def test_what_is_no_sort_is_refused(text: str) -> None:
    schema_world = World(None, [collection("a", {"type": "text", "name": "title"}, list_rule="")])  # type: ignore[arg-type]
    for info in (GUEST, SUPERUSER):
        with pytest.raises(QueryError):
            order_by(schema_world.schema, schema_world["a"], text, info, Args())


def test_a_view_has_no_insertion_order() -> None:
    view = World(None, [collection("v", {"type": "text", "name": "title"}, type="view")])  # type: ignore[arg-type]
    assert order_by(view.schema, view["v"], "", GUEST, Args()) == ""
    assert "_row" not in order_by(view.schema, view["v"], "-title", GUEST, Args())
    with pytest.raises(QueryError):
        order_by(view.schema, view["v"], "@rowid", GUEST, Args())
