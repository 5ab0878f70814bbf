"""What a client's filter and sort may not read (contract, filters §8.7)."""

from __future__ import annotations

import pytest
from tests.query.worlds import GUEST, World, collection

from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.errors import Forbidden
from groundplane.query.errors import QueryError
from groundplane.query.filters import refuse_request_identifiers
from groundplane.query.rules import rule_condition
from groundplane.query.sort import sort_condition

SUPERUSER = RequestInfo(caller=Caller("s", "c_su", "_superusers"))


def relation(name: str, target: str, count: int = 1, **options: object) -> dict[str, object]:
    return {"type": "relation", "name": name, "collectionId": f"c_{target}", "maxSelect": count, **options}


@pytest.fixture
async def world(db: Database) -> World:
    text = {"type": "text", "name": "name"}
    world = World(
        db,
        [
            collection(
                "posts",
                text,
                {"type": "text", "name": "secret", "hidden": True},
                relation("author", "users"),
                relation("readers", "users", 9),
                relation("shy", "users", hidden=True),
                relation("draft", "drafts"),
                relation("topic", "topics"),
                relation("topics", "topics", 9),
                list_rule="",
            ),
            collection(
                "users",
                text,
                {"type": "email", "name": "email", "hidden": False},
                {"type": "bool", "name": "emailVisibility"},
                {"type": "password", "name": "password", "hidden": True},
                type="auth",
                list_rule="",
            ),
            collection("drafts", text, list_rule=None),
            collection("topics", text, {"type": "bool", "name": "open"}, list_rule="open = true"),
            collection(
                "notes", relation("post", "posts"), relation("hush", "posts", hidden=True), text, list_rule=""
            ),
        ],
    )
    await world.create()
    await world.insert(
        "users",
        {"id": "u1", "name": "Ann", "email": "ann@x.io", "emailVisibility": True},
        {"id": "u2", "name": "Bob", "email": "bob@x.io", "emailVisibility": False},
    )
    await world.insert(
        "topics", {"id": "t1", "name": "open", "open": True}, {"id": "t2", "name": "closed", "open": False}
    )
    await world.insert(
        "posts",
        {"id": "p0", "name": "none"},
        {"id": "p1", "name": "one", "author": "u1", "topic": "t1", "topics": ["t1"], "readers": ["u1"]},
        {
            "id": "p2",
            "name": "two",
            "author": "u2",
            "topic": "t2",
            "topics": ["t2", "t1"],
            "readers": ["u1", "u2"],
        },
        {"id": "p3", "name": "three", "author": "u2", "topic": "t2", "topics": ["t2"], "readers": ["u2"]},
    )
    await world.insert("notes", {"id": "n1", "post": "p1", "name": "note"})
    return world


UNREADABLE = [
    "secret = 'x'",
    "secret != 'x'",
    "secret:lower ~ 'x'",
    "author.password = 'x'",
    "shy = 'u1'",
    "shy.name = 'x'",
    "shy.id = 'u1'",
    "draft.name = 'x'",
    "notes_via_hush.name = 'x'",
    "strftime('%Y', secret) = '2030'",
    "geoDistance(secret, 1, 2, 3) > 1",
    "name = secret",
    "@request.auth.id = ''",
    "@collection.users.name = 'x'",
    "@request.method = 'GET'",
]


async def test_a_client_may_not_name_what_it_may_not_read(world: World) -> None:
    for text in UNREADABLE:
        with pytest.raises(QueryError):
            await world.found("posts", text)
        await world.found("posts", text, SUPERUSER)
        await world.matching("posts", text)


async def test_a_client_may_not_sort_by_it_either(world: World) -> None:
    for text in ("secret", "-author.password", "draft.name", "shy", "notes_via_hush.name"):
        with pytest.raises(QueryError):
            await world.sorted("posts", text)
        with pytest.raises(QueryError):
            sort_condition(world.schema, world["posts"], text, GUEST, Args())
        await world.sorted("posts", text, SUPERUSER)


async def test_the_id_of_an_unlistable_record_is_the_own_column_and_allowed(world: World) -> None:
    assert await world.found("posts", "draft.id = '' && name = 'one'") == ["p1"]


async def test_related_rows_count_only_where_their_list_rule_lets_them(world: World) -> None:
    for text, ids in (
        ("topic.name != 'x'", "p0 p1"),
        ("topic.name = 'closed'", ""),
        ("name = 'three' || topic.name = 'open'", "p1"),
        ("topics.name ?= 'open'", "p1 p2"),
        ("topics.name ?= 'closed'", ""),
        ("topics.name = 'open'", "p1"),
    ):
        assert await world.found("posts", text) == ids.split(), text


async def test_a_superuser_sees_all_related_rows(world: World) -> None:
    assert await world.found("posts", "topic.name = 'closed'", SUPERUSER) == ["p2", "p3"]


async def test_an_email_compares_only_where_its_owner_shows_it(world: World) -> None:
    for text, ids in (
        ("author.email ~ '@'", "p1"),
        ("author.email != 'zoe@x.io'", "p1"),
        ("author.email = ''", ""),
        ("author.email:lower ?= 'bob@x.io'", ""),
        ("author.email ~ '@' || name = 'three'", "p1 p3"),
        ("readers.email ?~ 'bob'", ""),
        ("readers.email ~ '@'", "p1"),
    ):
        assert await world.found("posts", text) == ids.split(), text


async def test_the_own_email_is_guarded_as_well(world: World) -> None:
    assert await world.found("users", "email ~ '@x.io'") == ["u1"]
    assert await world.found("users", "email ~ '@x.io'", SUPERUSER) == ["u1", "u2"]
    assert await world.matching("users", "email ~ '@x.io'") == ["u1", "u2"]


async def test_sorting_does_not_tell_the_order_of_unlistable_rows(world: World) -> None:
    assert await world.sorted("posts", "topic.name") == ["p0", "p2", "p3", "p1"]
    assert await world.sorted("posts", "topic.name", SUPERUSER) == ["p0", "p2", "p3", "p1"]
    assert await world.sorted("posts", "-topics.name,-id") == ["p2", "p1", "p3", "p0"]
    args = Args()
    condition = sort_condition(world.schema, world["posts"], "topic.name", GUEST, args)
    assert await world.run("posts", condition, args) == ["p0", "p1"]


@pytest.mark.parametrize(
    ("filter_text", "sort_text", "name"),
    [
        ("title = '@request.x'", "", "@request."),
        ("x = '@collection.y' && z = '@request.a'", "", "@collection."),
        ("", "@collection.x.y", "@collection."),
        ("@request.a = 1", "@collection.x.y", "@request."),
    ],
)
def test_clients_may_not_even_quote_request_and_collection(
    filter_text: str, sort_text: str, name: str
) -> None:
    with pytest.raises(Forbidden) as refused:
        refuse_request_identifiers(filter_text, sort_text, GUEST)
    assert refused.value.message == f"Only superusers can filter by {name}"
    refuse_request_identifiers(filter_text, sort_text, SUPERUSER)


async def test_conditions_of_a_statement_share_their_arguments(world: World) -> None:
    args = Args()
    first = rule_condition(world.schema, world["posts"], "author.name = 'Ann'", GUEST, args)
    second = rule_condition(
        world.schema, world["posts"], "name = 'one' && topics.name ?= 'open'", GUEST, args
    )
    assert await world.run("posts", f"({first}) AND ({second})", args) == ["p1"]
