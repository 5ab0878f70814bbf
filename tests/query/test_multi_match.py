"""The worked example of the contract (filters §7)."""

import pytest
from tests.query.worlds import World, collection

from groundplane.db.engine import Database


@pytest.fixture
async def world(db: Database) -> World:
    rels = {"type": "relation", "name": "rels", "collectionId": "c_b", "maxSelect": 9}
    world = World(
        db,
        [
            collection("a", rels, {"type": "select", "name": "tags", "maxSelect": 5}),
            collection("b", {"type": "text", "name": "name"}, {"type": "number", "name": "n"}),
        ],
    )
    await world.create()
    await world.insert("b", {"id": "b1", "name": "x", "n": 1.0}, {"id": "b2", "name": "y", "n": 2.0})
    await world.insert(
        "a",
        {"id": "A0", "tags": []},
        {"id": "A1", "rels": ["b1"], "tags": ["a"]},
        {"id": "A2", "rels": ["b1", "b2"], "tags": ["a", "b"]},
        {"id": "A3", "rels": ["gone"], "tags": ["b"]},
    )
    return world


WORKED_EXAMPLE = {
    'rels.name = "x"': "A1",
    'rels.name ?= "x"': "A1 A2",
    'rels.name != "x"': "A0 A3",
    'rels.name ?!= "x"': "A0 A2 A3",
    'rels.name = ""': "A0 A3",
    "rels.n > 0": "A1 A2",
    'rels.name ~ "x"': "A1",
    'rels.name !~ "x"': "",
}


async def test_the_worked_example_of_the_contract(world: World) -> None:
    assert {text: " ".join(await world.matching("a", text)) for text in WORKED_EXAMPLE} == WORKED_EXAMPLE


async def test_comparisons_with_one_path_prefix_are_about_one_row(world: World) -> None:
    assert await world.matching("a", 'rels.name ?= "x" && rels.n ?= 1') == ["A1", "A2"]
    assert await world.matching("a", 'rels.name ?= "x" && rels.n ?= 2') == []
    assert await world.matching("a", 'tags:each ?= "a" && tags:each ?= "b"') == []
    assert await world.matching("a", 'rels:each ?= "b1" && rels.name ?= "y"') == []
    assert await world.matching("a", '(rels.name ?= "x" || rels.n ?= 2) && rels.n ?= 2') == ["A2"]


async def test_aliases_of_a_collection_are_rows_of_their_own(world: World) -> None:
    same = '@collection.b.name ?= "x" && @collection.b.n ?= 2'
    apart = '@collection.b:one.name ?= "x" && @collection.b:two.n ?= 2'
    assert await world.matching("a", same) == []
    assert await world.matching("a", apart) == ["A0", "A1", "A2", "A3"]


async def test_each_asks_about_every_element_or_any(world: World) -> None:
    assert await world.matching("a", 'tags:each = "a"') == ["A1"]
    assert await world.matching("a", 'tags:each ?= "a"') == ["A1", "A2"]
    assert await world.matching("a", 'tags:each != "a"') == ["A0", "A3"]
    assert await world.matching("a", "tags:each = ''") == ["A0"]
    assert await world.matching("a", "tags:length = 0") == ["A0"]


async def test_a_record_is_found_once_however_many_rows_match(world: World) -> None:
    assert await world.matching("a", "@collection.b.n ?> 0 && rels.n ?> 0") == ["A1", "A2"]
