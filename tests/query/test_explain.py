"""A rule taken apart says of every part what the rule as a whole sees."""

from __future__ import annotations

from typing import Any

import pytest
from tests.query.worlds import GUEST, World, collection

from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args, ident
from groundplane.query.effective import Compound
from groundplane.query.explain import Part, Truth, explain_rule, judge

JON = RequestInfo(caller=Caller("jon", "c_users", "users", {"id": "jon", "name": "Jon"}))


@pytest.fixture
async def world(db: Database) -> World:
    made = await World(
        db,
        [
            collection("users", {"type": "text", "name": "name"}, {"type": "password", "name": "password"}),
            collection(
                "posts",
                {"type": "text", "name": "title"},
                {"type": "number", "name": "views"},
                {"type": "bool", "name": "out"},
                {"type": "relation", "name": "owner", "collectionId": "c_users", "maxSelect": 1},
                {"type": "relation", "name": "readers", "collectionId": "c_users", "maxSelect": 9},
                {"type": "json", "name": "meta"},
            ),
        ],
    ).create()
    await made.insert(
        "users", {"id": "jon", "name": "Jon", "password": "hash"}, {"id": "mira", "name": "Mira"}
    )
    await made.insert(
        "posts", {"id": "p1", "title": "Hello", "views": 3.0, "owner": "mira", "readers": ["jon", "mira"]}
    )
    return made


async def explained(
    world: World, rule: str | Compound, info: RequestInfo = GUEST, row: str = "p1"
) -> tuple[bool, Part]:
    args = Args()
    found = explain_rule(world.schema, world["posts"], rule, info, args)
    sql = f'SELECT {", ".join(found.columns)} FROM {ident("posts")} r WHERE r."id" = {args.add(row)}'
    answer = await world.db.fetchrow(sql, *args.values)
    assert answer is not None
    allowed = judge(found, list(answer.values()))
    if isinstance(rule, str):
        assert allowed == (row in await world.matching("posts", rule, info))
    return allowed, found.root


def truths(part: Part) -> Any:
    below = [truths(item) for item in part.items]
    return (part.truth.value, below) if below else part.truth.value


async def test_each_clause_says_what_it_saw(world: World) -> None:
    allowed, root = await explained(world, "owner = @request.auth.id && views > 2", JON)
    assert not allowed
    assert truths(root) == ("false", ["false", "true"])
    assert root.items[0].text == "owner = @request.auth.id"
    assert root.items[0].seen == ('"mira"', '"jon"')
    assert root.items[1].seen == ("3", None)


async def test_a_guest_has_no_id_to_compare(world: World) -> None:
    allowed, root = await explained(world, '@request.auth.id != ""')
    assert not allowed
    assert root.seen == ("null", None)


async def test_a_missing_value_is_unknown_and_counts_as_no(world: World) -> None:
    allowed, root = await explained(world, "meta.rank > 3 || views = 4")
    assert not allowed
    assert truths(root) == ("unknown", ["unknown", "false"])
    assert root.items[0].seen == ("null", None)


async def test_related_records_are_listed(world: World) -> None:
    allowed, root = await explained(world, 'readers.name ?= "Jon"')
    assert allowed
    assert root.text == 'readers.name ?= "Jon"'
    assert root.seen == ('["Jon", "Mira"]', None)


async def test_clauses_that_hold_on_different_records_do_not_hold_together(world: World) -> None:
    allowed, root = await explained(world, 'readers.name ?= "Jon" && readers.id ?= "mira"')
    assert not allowed
    assert truths(root) == ("false", ["true", "true"])
    assert root.apart


async def test_passwords_are_not_shown(world: World) -> None:
    _, root = await explained(world, 'owner.password != ""', JON)
    assert root.seen == ('"•••"', None)


async def test_what_plugins_grant_deny_and_restrict_is_part_of_the_tree(world: World) -> None:
    rule = Compound(allow=('title = "No"', "views = 3"), deny=('title = "Hello"',), restrict=("out = false",))
    allowed, root = await explained(world, rule)
    assert not allowed
    assert truths(root) == ("false", ["true", ("false", ["true"]), ("true", ["false", "true"])])
    allowed, root = await explained(world, rule._replace(deny=()))
    assert allowed
    assert root.truth is Truth.TRUE
    assert root.items[0].seen == ("false", None)
