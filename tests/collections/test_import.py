"""Importing collections: all or none, matched by id and name, nothing lost that was not asked for."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.collections.service import Collections
from groundplane.db.engine import Database
from groundplane.errors import REQUIRED, FieldError, Invalid
from groundplane.schema.wire import collection_to_json


async def message(work: Any) -> str:
    with pytest.raises(Invalid) as caught:
        await work
    assert caught.value.message == "Failed to import collections."
    error = caught.value.data["collections"]
    assert isinstance(error, FieldError)
    assert error.code == "validation_collections_import_failure"
    return error.message


async def test_an_import_of_nothing_is_refused(collections: Collections) -> None:
    with pytest.raises(Invalid) as caught:
        await collections.import_all([], False)
    assert caught.value.message == "An error occurred while validating the submitted data."
    assert caught.value.data == {"collections": REQUIRED}
    for entries in ("x", [1], None):
        with pytest.raises(Invalid) as caught:
            await collections.import_all(entries, False)
        assert caught.value.message == "An error occurred while loading the submitted data."


async def test_collections_of_an_import_may_refer_to_each_other(
    collections: Collections, db: Database
) -> None:
    await collections.import_all(
        [
            {"id": "v1", "name": "shown", "type": "view", "viewQuery": "SELECT id, b FROM a"},
            {
                "id": "a1",
                "name": "a",
                "fields": [{"name": "b", "type": "relation", "collectionId": "b1", "maxSelect": 1}],
            },
            {
                "id": "b1",
                "name": "b",
                "fields": [{"name": "a", "type": "relation", "collectionId": "a1", "maxSelect": 2}],
            },
        ],
        False,
    )
    assert await db.fetchval("SELECT count(*) FROM shown") == 0


async def test_an_import_keeps_the_fields_it_does_not_mention(collections: Collections, db: Database) -> None:
    await collections.create(
        {"name": "posts", "fields": [{"name": "a", "type": "text"}, {"name": "b", "type": "text"}]}
    )
    await db.execute("INSERT INTO posts (id, a, b) VALUES ('r1', 'A', 'B')")
    # Another id, but the name and type of a stored field: the data stays.
    await collections.import_all(
        [{"name": "posts", "fields": [{"id": "fresh", "name": "b", "type": "text"}]}], False
    )
    assert [field.name for field in collections.view("posts").fields] == ["b", "id", "a"]
    assert dict(await db.fetchrow("SELECT a, b FROM posts") or {}) == {"a": "A", "b": "B"}


async def test_delete_missing_takes_other_collections_and_fields_but_no_system_ones(
    collections: Collections, db: Database
) -> None:
    await collections.create(
        {"name": "posts", "fields": [{"name": "a", "type": "text"}, {"name": "b", "type": "text"}]}
    )
    await collections.create({"name": "other"})
    await collections.create({"name": "shown", "type": "view", "viewQuery": "SELECT id FROM other"})
    await collections.import_all([{"name": "posts", "fields": [{"name": "b", "type": "text"}]}], True)
    assert [each.name for each in collections.cache.current if not each.system] == ["posts"]
    assert {field.name for field in collections.view("posts").fields} == {"id", "b"}
    assert collections.cache.current.get("_superusers") is not None
    assert await db.fetchval("SELECT to_regclass('other')") is None


async def test_delete_missing_frees_names_for_the_imported_ones(collections: Collections) -> None:
    await collections.create({"id": "old", "name": "posts"})
    await collections.import_all([{"id": "new", "name": "posts2"}, {"id": "new2", "name": "fresh"}], True)
    assert collections.cache.current.get("posts") is None


async def test_an_exported_schema_goes_into_an_empty_installation(
    collections: Collections, db: Database
) -> None:
    await collections.create({"name": "posts", "listRule": "", "fields": [{"name": "a", "type": "text"}]})
    await collections.create({"name": "members", "type": "auth"})
    exported = [collection_to_json(each) for each in collections.cache.current]
    await collections.delete("posts")
    await collections.delete("members")
    await collections.import_all(exported, True)
    shown = [collection_to_json(each) for each in collections.cache.current]
    for one, other in zip(
        sorted(exported, key=lambda each: each["id"]), sorted(shown, key=lambda each: each["id"]), strict=True
    ):
        assert {**one, "created": "", "updated": ""} == {**other, "created": "", "updated": ""}


async def test_a_wrong_collection_rolls_everything_back(collections: Collections) -> None:
    text = await message(
        collections.import_all([{"name": "fine"}, {"id": "pbc_2", "name": "not fine"}], False)
    )
    assert text == (
        'Data validations failed for collection "not fine" (pbc_2):\n{\n  "name": "must be in a valid format"\n}.'
    )
    assert collections.cache.current.get("fine") is None


async def test_an_index_that_fails_rolls_everything_back(collections: Collections, db: Database) -> None:
    text = await message(
        collections.import_all(
            [{"name": "fine"}, {"name": "posts", "indexes": ["CREATE INDEX `i` ON `posts` (`nope`)"]}], False
        )
    )
    assert text.startswith("Failed to import the collections configuration. Raw error:\n")
    assert await db.fetchval("SELECT to_regclass('fine')") is None


async def test_an_unknown_field_type_fails_the_import(collections: Collections) -> None:
    text = await message(
        collections.import_all([{"name": "x", "fields": [{"name": "a", "type": "wat"}]}], False)
    )
    assert text.startswith("Failed to import the collections configuration. Raw error:\n")


async def test_importing_what_is_stored_changes_nothing(collections: Collections) -> None:
    await collections.create({"name": "posts", "fields": [{"name": "a", "type": "text"}]})
    first = collection_to_json(collections.view("posts"))
    await collections.import_all([first], False)
    second = collection_to_json(collections.view("posts"))
    assert {**first, "updated": ""} == {**second, "updated": ""}
