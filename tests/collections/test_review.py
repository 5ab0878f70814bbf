"""A change of one collection is planned as the file's changes are, and made only as it was seen and agreed to."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.collections.file import read
from groundplane.collections.plan import Planner
from groundplane.collections.review import NotConfirmed, Reviewer, patch_of, version_of
from groundplane.collections.service import Collections
from groundplane.errors import Conflict, Invalid, NotFound
from groundplane.schema.collection import Collection
from groundplane.schema.wire import collection_to_json


@pytest.fixture
def planner(collections: Collections) -> Planner:
    return Planner(collections)


@pytest.fixture
def reviewer(collections: Collections, planner: Planner) -> Reviewer:
    return Reviewer(collections, planner)


@pytest.fixture
async def posts(collections: Collections) -> Collection:
    fields = [{"name": "title", "type": "text"}, {"name": "score", "type": "number"}]
    made = await collections.create({"name": "posts", "type": "base", "fields": fields, "viewRule": ""})
    await collections.db.execute("INSERT INTO posts (id, title, score) VALUES ($1, $2, $3)", "a", "One", 7.0)
    return made


def changed(posts: Collection, **renames: str) -> dict[str, Any]:
    """The collection with fields renamed; "" removes one."""
    raw = collection_to_json(posts)
    raw["fields"] = [
        {**each, "name": renames.get(each["name"], each["name"])}
        for each in raw["fields"]
        if renames.get(each["name"]) != ""
    ]
    return raw


async def test_the_steps_are_those_of_the_plan(
    collections: Collections, planner: Planner, reviewer: Reviewer, posts: Collection
) -> None:
    raw = changed(posts, title="name", score="") | {"listRule": "", "viewRule": None}
    review = await reviewer.review(raw, posts.id)
    entry, patch = patch_of(review, collections.cache.current)
    planned = await planner.plan(read(entry))
    assert [step.text for step in review.plan.steps] == [step.text for step in planned.steps]
    assert [step.sql for step in review.plan.steps] == [step.sql for step in planned.steps]
    assert (review.opened, review.closed, review.rows) == (("listRule",), ("viewRule",), 1)
    assert review.to_confirm == ["score"]
    assert "renamed_from" in patch
    assert (await collections.db.fetchval("SELECT title FROM posts")) == "One"


async def test_what_would_be_lost_has_to_be_named(
    collections: Collections, reviewer: Reviewer, posts: Collection
) -> None:
    raw = changed(posts, score="")
    with pytest.raises(NotConfirmed) as refused:
        await reviewer.apply(raw, posts.id, seen=version_of(posts), confirmed=["title"])
    assert refused.value.review.to_confirm == ["score"]
    assert collections.view("posts").field("score") is not None
    await reviewer.apply(raw, posts.id, seen=version_of(posts), confirmed=["score"])
    assert collections.view("posts").field("score") is None


async def test_a_renamed_field_keeps_its_values(
    collections: Collections, reviewer: Reviewer, posts: Collection
) -> None:
    await reviewer.apply(changed(posts, title="name"), posts.id, seen=version_of(posts))
    assert await collections.db.fetchval("SELECT name FROM posts") == "One"


async def test_a_plan_that_is_not_of_the_present_is_refused(
    collections: Collections, reviewer: Reviewer, posts: Collection
) -> None:
    await collections.update("posts", {"listRule": ""})
    with pytest.raises(Conflict):
        await reviewer.apply(changed(posts, title="name"), posts.id, seen=version_of(posts))
    assert collections.view("posts").field("title") is not None


async def test_errors_are_those_of_the_api(reviewer: Reviewer, posts: Collection) -> None:
    raw = changed(posts, title="score")
    review = await reviewer.review(raw, posts.id)
    assert "fields" in review.errors
    with pytest.raises(Invalid):
        await reviewer.apply(raw, posts.id, seen=version_of(posts))
    with pytest.raises(Invalid):
        await reviewer.review({"fields": "nonsense"}, posts.id)
    with pytest.raises(NotFound):
        await reviewer.review({}, "nothing")


async def test_a_new_collection_is_one_step(collections: Collections, reviewer: Reviewer) -> None:
    raw = {"name": "tags", "type": "base", "fields": [{"name": "word", "type": "text"}], "listRule": ""}
    review = await reviewer.review(raw, "")
    assert [step.kind for step in review.plan.steps] == ["create_collection"]
    assert review.opened == ("listRule",)
    assert collections.cache.current.get("tags") is None
    saved = await reviewer.apply(raw, "", seen="")
    assert collections.view("tags").id == saved.id
