"""Related records in answers."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.context import RequestInfo


def relation(name: str, collection: Any, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": "relation", "collectionId": collection.id, **options}


@pytest.fixture
async def blog(base):
    """authors ← posts (author, tags) ← comments (post), with ids that say what they are."""
    cities = await base.collection("cities", {"name": "name", "type": "text"})
    authors = await base.collection("authors", {"name": "name", "type": "text"}, relation("city", cities))
    tags = await base.collection("tags", {"name": "name", "type": "text"})
    posts = await base.collection(
        "posts",
        {"name": "title", "type": "text"},
        relation("author", authors),
        relation("tags", tags, maxSelect=5),
        relation("editor", authors, hidden=True),
    )
    await base.collection(
        "comments",
        {"name": "text", "type": "text"},
        relation("post", posts),
        relation("posts", posts, maxSelect=9),
    )
    await base.collection(
        "details",
        relation("post", posts),
        indexes=["CREATE UNIQUE INDEX `idx_d` ON `details` (`post`) WHERE post != ''"],
    )

    def ident(name: str) -> str:
        return name.ljust(15, "0")

    await base.create("cities", {"id": ident("city"), "name": "Ulm"})
    await base.create("authors", {"id": ident("ann"), "name": "Ann", "city": ident("city")})
    await base.create("authors", {"id": ident("bob"), "name": "Bob"})
    for name in ("red", "blue"):
        await base.create("tags", {"id": ident(name), "name": name})
    post = {
        "id": ident("post"),
        "title": "One",
        "author": ident("ann"),
        "tags": [ident("red"), ident("blue")],
    }
    await base.create("posts", post)
    await base.create("posts", {"id": ident("empty"), "title": "Two"})
    for name in ("first", "second"):
        await base.create("comments", {"id": ident(name), "post": ident("post"), "posts": [ident("post")]})
    await base.create("details", {"id": ident("detail"), "post": ident("post")})
    base.ident = ident
    return base


async def expanded(base, paths: str, record: str = "post", info: RequestInfo | None = None) -> Any:
    arguments = (info,) if info is not None else ()
    return (await base.view("posts", base.ident(record), *arguments, expand=paths)).get("expand", "absent")


async def test_a_single_relation_is_an_object_and_a_multiple_one_a_list_in_stored_order(blog) -> None:
    found = await expanded(blog, "author,tags")
    assert found["author"]["name"] == "Ann"
    assert [tag["name"] for tag in found["tags"]] == ["red", "blue"]
    await blog.update("posts", blog.ident("post"), {"tags": [blog.ident("blue"), blog.ident("red")]})
    assert [tag["name"] for tag in (await expanded(blog, "tags"))["tags"]] == ["blue", "red"]


async def test_members_are_sorted_with_expand_among_them(blog) -> None:
    record = await blog.view("posts", blog.ident("post"), expand="tags,author")
    assert list(record) == sorted(record)
    assert list(record["expand"]) == ["author", "tags"]


async def test_paths_go_deeper(blog) -> None:
    found = await expanded(blog, "author.city")
    assert found["author"]["expand"]["city"]["name"] == "Ulm"
    deep = await blog.view("comments", blog.ident("first"), expand="post.author.city,post.tags")
    post = deep["expand"]["post"]
    assert post["expand"]["author"]["expand"]["city"]["name"] == "Ulm"
    assert len(post["expand"]["tags"]) == 2


async def test_back_relations_are_lists_unless_a_unique_index_says_otherwise(blog) -> None:
    found = await expanded(blog, "comments_via_post,comments_via_posts,details_via_post")
    assert [each["id"][:6] for each in found["comments_via_post"]] == ["first0", "second"]
    assert len(found["comments_via_posts"]) == 2
    assert found["details_via_post"]["id"] == blog.ident("detail")
    assert list(await expanded(blog, "COMMENTS_via_post")) == ["COMMENTS_via_post"]
    assert await expanded(blog, "comments_via_Post") == "absent"


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        ("", "absent"),
        ("nope", "absent"),
        ("title", "absent"),
        ("author.nope", "absent"),
        ("author,author.nope", "absent"),
        ("author.city,author.nope", ["author"]),
        ("nope,author", ["author"]),
        (" a u t h o r . , ,.tags.", ["author", "tags"]),
        ("author,author", ["author"]),
        ("posts_via_author", "absent"),
        ("nope_via_x", "absent"),
        ("editor", []),
        (",".join(f"x{number}" for number in range(500)) + ",author", "absent"),
        ("a." * 3000 + "b", "absent"),
    ],
)
async def test_what_cannot_be_expanded_is_left_out(blog, paths: str, shown: Any) -> None:
    found = await expanded(blog, paths)
    assert (found if found == "absent" else list(found)) == shown


async def test_nothing_found_is_an_empty_expand(blog) -> None:
    assert await expanded(blog, "author", "empty") == {}
    assert await expanded(blog, "author.city", "empty") == {}
    assert await expanded(blog, "comments_via_post", "empty") == {}


async def test_hidden_relations_expand_for_everyone_but_stay_hidden(blog, superuser) -> None:
    await blog.update("posts", blog.ident("post"), {"editor": blog.ident("bob")}, info=superuser)
    record = await blog.view("posts", blog.ident("post"), expand="editor")
    assert "editor" not in record
    assert record["expand"]["editor"]["name"] == "Bob"


async def test_view_rules_of_related_collections_decide(blog, superuser) -> None:
    await blog.collections.update("authors", {"viewRule": "name = 'Bob'"})
    assert await expanded(blog, "author") == {}
    await blog.collections.update("authors", {"viewRule": None})
    assert await expanded(blog, "author") == "absent"
    assert await expanded(blog, "author", "empty") == "absent"
    assert await expanded(blog, "author,tags") == {"tags": (await expanded(blog, "tags"))["tags"]}
    assert list(await expanded(blog, "author", info=superuser)) == ["author"]
    await blog.collections.update(
        "authors", {"viewRule": "@request.context = 'expand' && @request.query.expand = 'author'"}
    )
    info = RequestInfo(query={"expand": "author"})
    assert list(await expanded(blog, "author", info=info)) == ["author"]


async def test_what_is_deeper_than_six_levels_is_ignored(base) -> None:
    await base.collection("nodes", {"name": "n", "type": "number"})
    nodes = base.schema.find("nodes")
    fields = [*(field.to_json() for field in nodes.fields), relation("next", nodes)]
    await base.collections.update("nodes", {"fields": fields})
    following = ""
    for number in range(10):
        following = (await base.create("nodes", {"n": number, "next": following}))["id"]
    record = await base.view("nodes", following, expand=".".join(["next"] * 10))
    depth = 0
    while "expand" in record:
        record = record["expand"]["next"]
        depth += 1
    assert depth == 6


async def test_a_record_that_points_to_itself_is_expanded_once_per_level(base) -> None:
    await base.collection("loops")
    loops = base.schema.find("loops")
    fields = [*(field.to_json() for field in loops.fields), relation("me", loops)]
    await base.collections.update("loops", {"fields": fields})
    record = await base.create("loops")
    await base.update("loops", record["id"], {"me": record["id"]})
    found = await base.view("loops", record["id"], expand="me")
    assert found["expand"]["me"]["id"] == record["id"]
    assert "expand" not in found["expand"]["me"]


async def test_a_list_is_expanded_with_one_statement_per_level(blog, monkeypatch) -> None:
    for number in range(20):
        await blog.create("posts", {"title": str(number), "author": blog.ident("ann")})
    statements = []
    fetch = blog.db.fetch

    async def counted(sql, *args):
        statements.append(sql)
        return await fetch(sql, *args)

    monkeypatch.setattr(blog.db, "fetch", counted)
    page = await blog.listed("posts", expand="author.city,tags,comments_via_post")
    assert len(page["items"]) == 22
    # The page, authors, cities, tags, the ids of the comments, the comments.
    assert len(statements) == 6


async def test_thirty_parents_with_three_levels_take_one_statement_per_level(
    base, field, monkeypatch
) -> None:
    names = ["cities", "people", "posts", "notes"]
    below = None
    for name in names:
        pointer = [field("up", "relation", collectionId=below.id, maxSelect=1)] if below else []
        below = await base.collection(name, field("title"), *pointer, viewRule="title != 'hidden'")
    ids: list[str] = []
    for name in names:
        made = [
            (await base.create(name, {"title": f"{name} {number}"} | ({"up": ids[number]} if ids else {})))[
                "id"
            ]
            for number in range(30)
        ]
        ids = made
    statements = []
    fetch = base.db.fetch

    async def counted(sql, *args):
        statements.append(sql)
        return await fetch(sql, *args)

    monkeypatch.setattr(base.db, "fetch", counted)
    page = await base.listed("notes", expand="up.up.up", skipTotal="1")
    assert len(page["items"]) == 30
    for number, item in enumerate(page["items"]):
        assert item["expand"]["up"]["expand"]["up"]["expand"]["up"]["title"] == f"cities {number}"
    assert len(statements) == 1 + 3


async def test_writes_answer_expanded_too(blog) -> None:
    created = await blog.create("posts", {"author": blog.ident("ann")}, query={"expand": "author"})
    assert created["expand"]["author"]["name"] == "Ann"
    changed = await blog.update(
        "posts", created["id"], {"author": blog.ident("bob")}, query={"expand": "author"}
    )
    assert changed["expand"]["author"]["name"] == "Bob"
