"""View collections follow the collections they read."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.collections.service import Collections
from groundplane.db.engine import Database
from groundplane.errors import FieldError, Invalid
from groundplane.schema.collection import Collection


async def posts(collections: Collections, db: Database) -> Collection:
    made = await collections.create(
        {
            "name": "posts",
            "fields": [
                {"name": "title", "type": "text", "max": 99},
                {"name": "tag", "type": "select", "values": ["x", "y"], "maxSelect": 1},
                {"name": "stars", "type": "number"},
            ],
        }
    )
    await db.execute(
        "INSERT INTO posts (id, title, tag, stars) VALUES ('r1', 'one', 'x', 3), ('r2', 'two', '', 0)"
    )
    return made


async def view(collections: Collections, query: str, name: str = "shown") -> Collection:
    return await collections.create({"name": name, "type": "view", "viewQuery": query})


def raw_fields(collection: Collection) -> list[dict[str, Any]]:
    return [field.to_json() for field in collection.fields]


async def rows(db: Database, name: str = "shown") -> list[dict[str, Any]]:
    return [dict(row) for row in await db.fetch(f'SELECT * FROM "{name}" ORDER BY id')]


async def test_a_view_has_fields_from_its_query_and_rows_from_its_tables(
    collections: Collections, db: Database
) -> None:
    await posts(collections, db)
    made = await view(collections, "SELECT id, title AS headline, count(id) AS n FROM posts GROUP BY id;")
    assert [(field.name, field.type_name) for field in made.fields] == [
        ("id", "text"),
        ("headline", "text"),
        ("n", "number"),
    ]
    assert (await rows(db))[0] == {"id": "r1", "headline": "one", "n": 1.0}


@pytest.mark.parametrize(
    ("query", "fields_code"),
    [
        ("", None),
        ("SELECT nonsense FROM", "validation_required"),
        ("SELECT * FROM posts", "validation_required"),
        ("SELECT title FROM posts", "validation_missing_primary_key"),
        ("SELECT id FROM posts; SELECT id FROM users", "validation_required"),
        ("DELETE FROM posts", "validation_required"),
        ("WITH x AS (DELETE FROM posts RETURNING id) SELECT id FROM x", "validation_required"),
        ("SELECT id FROM nowhere", "validation_required"),
        ("SELECT id FROM _params", "validation_required"),
        ("SELECT id FROM pg_authid", "validation_required"),
        ("SELECT id, pg_read_file('/etc/passwd') AS f FROM posts", "validation_required"),
        ("SELECT '' AS id FROM posts", None),
        ("SELECT 'same' AS id FROM posts", None),
    ],
)
async def test_a_query_that_cannot_be_a_view_is_refused(
    collections: Collections, db: Database, query: str, fields_code: str | None
) -> None:
    await posts(collections, db)
    with pytest.raises(Invalid) as caught:
        await view(collections, query)
    data: Any = caught.value.data
    assert data["viewQuery"].code == ("validation_invalid_view_query" if query else "validation_required")
    if fields_code is not None:
        assert data["fields"].code == fields_code
    elif query:
        assert set(data) == {"viewQuery"}
    assert len(await rows(db, "posts")) == 2


async def test_an_output_name_that_is_no_field_name_is_told_at_its_place(
    collections: Collections, db: Database
) -> None:
    await posts(collections, db)
    with pytest.raises(Invalid) as caught:
        await view(collections, "SELECT id, count(id) FROM posts GROUP BY id")
    data: Any = caught.value.data
    assert data["fields"]["1"]["name"].code == "validation_match_invalid"
    assert data["viewQuery"].code == "validation_invalid_view_query"


async def test_a_view_takes_neither_write_rules_nor_indexes(collections: Collections, db: Database) -> None:
    await posts(collections, db)
    with pytest.raises(Invalid) as caught:
        await collections.create(
            {
                "name": "shown",
                "type": "view",
                "viewQuery": "SELECT id FROM posts",
                "createRule": "",
                "indexes": ["CREATE INDEX `x` ON `shown` (`id`)"],
            }
        )
    data: Any = caught.value.data
    assert data["createRule"].code == "validation_nil"
    assert data["indexes"].code == "validation_indexes_not_supported"


async def test_dropping_a_field_that_a_view_reads_is_a_raw_error(
    collections: Collections, db: Database
) -> None:
    made = await posts(collections, db)
    await view(collections, "SELECT id, title FROM posts")
    with pytest.raises(Invalid) as caught:
        await collections.update("posts", {"fields": [raw_fields(made)[0]]})
    assert caught.value.message.startswith("Failed to update collection. Raw error: \n")
    assert (await rows(db))[0]["title"] == "one"


async def test_dropping_a_field_that_no_view_reads_leaves_the_views(
    collections: Collections, db: Database
) -> None:
    made = await posts(collections, db)
    await view(collections, "SELECT id, title FROM posts")
    await collections.update("posts", {"fields": raw_fields(made)[:2]})
    assert (await rows(db))[0]["title"] == "one"


async def test_a_view_follows_a_field_that_takes_several_values_now(
    collections: Collections, db: Database
) -> None:
    made = await posts(collections, db)
    await view(collections, "SELECT id, tag FROM posts")
    await view(collections, "SELECT id, tag AS label FROM shown", "above")
    fields = raw_fields(made)
    fields[2]["maxSelect"] = 2
    await collections.update("posts", {"fields": fields})
    assert [row["tag"] for row in await rows(db)] == [["x"], []]
    assert [row["label"] for row in await rows(db, "above")] == [["x"], []]
    for name, column in (("shown", "tag"), ("above", "label")):
        field = collections.view(name).field(column)
        assert field is not None
        assert field.is_multiple


async def test_copied_options_follow_the_field_they_were_copied_from(
    collections: Collections, db: Database
) -> None:
    made = await posts(collections, db)
    await view(collections, "SELECT id, title FROM posts")
    before = collections.view("shown").field("title")
    fields = raw_fields(made)
    fields[1]["hidden"] = True
    await collections.update("posts", {"fields": fields})
    after = collections.view("shown").field("title")
    assert before is not None
    assert after is not None
    assert (before.hidden, after.hidden) == (False, True)
    assert before.id == after.id


async def test_a_view_survives_the_renaming_of_what_it_reads(collections: Collections, db: Database) -> None:
    made = await posts(collections, db)
    await view(collections, "SELECT id, title FROM posts")
    await collections.update("posts", {"name": "articles"})
    assert (await rows(db))[0]["title"] == "one"
    # Its query names a collection that is gone, so the definition that followed the rename is kept.
    fields = raw_fields(made)
    await collections.update("articles", {"fields": [fields[0], fields[1], fields[3]]})
    assert (await rows(db))[0]["title"] == "one"
    assert collections.view("shown").view_query == "SELECT id, title FROM posts"


async def test_a_renamed_view_still_feeds_the_views_above_it(collections: Collections, db: Database) -> None:
    await posts(collections, db)
    await view(collections, "SELECT id, title FROM posts")
    await view(collections, "SELECT id, title FROM shown", "above")
    await collections.update("shown", {"name": "visible"})
    assert (await rows(db, "visible"))[0]["title"] == "one"
    assert (await rows(db, "above"))[0]["title"] == "one"


async def test_another_query_replaces_the_view_under_those_above_it(
    collections: Collections, db: Database
) -> None:
    await posts(collections, db)
    await view(collections, "SELECT id, title FROM posts")
    await view(collections, "SELECT id, title FROM shown", "above")
    await collections.update("shown", {"viewQuery": "SELECT id, (title || '!') AS title, stars FROM posts"})
    assert (await rows(db))[0]["stars"] == 3
    assert (await rows(db, "above"))[0]["title"] == '"one!"'
    with pytest.raises(Invalid):
        await collections.update("shown", {"viewQuery": "SELECT id, stars FROM posts"})


async def test_a_view_may_not_read_itself(collections: Collections, db: Database) -> None:
    await posts(collections, db)
    await view(collections, "SELECT id FROM posts")
    with pytest.raises(Invalid):
        await collections.update("shown", {"viewQuery": "SELECT id FROM shown"})


async def test_a_dry_run_shows_fields_and_records_and_keeps_nothing(
    collections: Collections, db: Database
) -> None:
    await posts(collections, db)
    shown = await collections.dry_run_view("SELECT id, title, stars FROM posts")
    assert [field["name"] for field in shown["fields"]] == ["id", "title", "stars"]
    first = shown["sample"][0]
    assert first["title"] == "one"
    assert first["stars"] == 3
    assert first["collectionName"].startswith("temp_view_")
    assert list(first) == sorted(first)
    assert await db.fetchval("SELECT count(*) FROM pg_views WHERE schemaname = 'public'") == 0


async def test_a_dry_run_leaves_hidden_fields_out_of_the_sample(
    collections: Collections, db: Database
) -> None:
    await db.execute("INSERT INTO users (id, email, \"tokenKey\") VALUES ('r1', 'a@b.co', 'k')")
    shown = await collections.dry_run_view("SELECT id, email, tokenKey FROM users")
    assert "tokenKey" in [field["name"] for field in shown["fields"]]
    assert "tokenKey" not in shown["sample"][0]


async def test_a_dry_run_needs_a_short_query_that_works(collections: Collections, db: Database) -> None:
    for query, code in (("", "validation_required"), ("x" * 5001, "validation_length_too_long")):
        with pytest.raises(Invalid) as caught:
            await collections.dry_run_view(query)
        assert caught.value.message == "An error occurred while validating the submitted data."
        error = caught.value.data["query"]
        assert isinstance(error, FieldError)
        assert error.code == code
    for query in (
        "SELECT",
        "DROP TABLE users",
        "SELECT 1 AS id UNION ALL SELECT 1 AS id",
        "SELECT email FROM users",
    ):
        with pytest.raises(Invalid) as caught:
            await collections.dry_run_view(query)
        assert caught.value.message.startswith("Invalid view query. Raw error: \n")
        assert caught.value.data == {}
