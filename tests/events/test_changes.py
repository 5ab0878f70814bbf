"""Whoever listens to changes is told inside the transaction, whatever way a record was changed."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.errors import Conflict
from groundplane.events.changes import Change, ChangeAction
from groundplane.schema.collection import Collection
from groundplane.testing.server import Server


class Ear:
    """Remembers what it is told, and whether that was inside a transaction."""

    def __init__(self, server: Server) -> None:
        self.db = server.services.db
        self.heard: list[Change] = []
        self.refuses = False

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        return collection.name in ("posts", "comments")

    async def changed(self, change: Change) -> None:
        assert self.db.in_transaction
        self.heard.append(change)
        if self.refuses:
            raise Conflict("not today")

    def told(self) -> list[tuple[str, str, Any, bool]]:
        return [
            (each.action, each.collection.name, each.record["text"], each.is_cascade) for each in self.heard
        ]


@pytest.fixture
async def ear(server: Server) -> Ear:
    collections = server.services.collections
    rules = {f"{action}Rule": "" for action in ("list", "view", "create", "update", "delete")}
    text = {"name": "text", "type": "text"}
    posts = await collections.create({"name": "posts", "type": "base", "fields": [text], **rules})
    post = {"name": "post", "type": "relation", "collectionId": posts.id, "cascadeDelete": True}
    await collections.create({"name": "comments", "type": "base", "fields": [text, post], **rules})
    listener = Ear(server)
    server.services.changes.listeners.append(listener)
    return listener


async def test_creates_updates_deletes_and_cascades_are_told_in_their_order(server: Server, ear: Ear) -> None:
    posts, comments = "/api/collections/posts/records", "/api/collections/comments/records"
    post = (await server.client.post(posts, json={"text": "a"})).json()["id"]
    await server.client.post(comments, json={"text": "c", "post": post})
    await server.client.patch(f"{posts}/{post}", json={"text": "b"})
    assert (await server.client.delete(f"{posts}/{post}")).status_code == 204
    assert ear.told() == [
        ("create", "posts", "a", False),
        ("create", "comments", "c", False),
        ("update", "posts", "b", False),
        ("delete", "posts", "b", False),
        ("delete", "comments", "c", True),
    ]
    assert (ear.heard[2].before or {})["text"] == "a"
    assert len({change.id for change in ear.heard}) == 5


async def test_items_of_a_batch_are_told(server: Server, ear: Ear) -> None:
    await server.services.settings.change({"batch": {"enabled": True}})
    item = {"method": "POST", "url": "/api/collections/posts/records"}
    answer = await server.client.post(
        "/api/batch", json={"requests": [item | {"body": {"text": text}} for text in "ab"]}
    )
    assert answer.status_code == 200, answer.text
    assert [each[2] for each in ear.told()] == ["a", "b"]


async def test_a_listener_that_fails_undoes_the_change(server: Server, ear: Ear) -> None:
    posts = "/api/collections/posts/records"
    ear.refuses = True
    assert (await server.client.post(posts, json={"text": "a"})).status_code == 409
    ear.refuses = False
    kept = (await server.client.post(posts, json={"text": "kept"})).json()["id"]
    ear.refuses = True
    assert (await server.client.patch(f"{posts}/{kept}", json={"text": "b"})).status_code == 409
    assert (await server.client.delete(f"{posts}/{kept}")).status_code == 409
    assert [item["text"] for item in (await server.client.get(posts)).json()["items"]] == ["kept"]


async def test_nothing_is_told_of_what_was_rolled_back_or_concerns_nobody(server: Server, ear: Ear) -> None:
    posts = "/api/collections/posts/records"
    assert (await server.client.post(posts, json={"id": "no"})).status_code == 400
    assert (await server.client.patch(f"{posts}/missing", json={})).status_code == 404
    assert ear.told() == []
