"""Records and accounts that tests make with one line."""

from __future__ import annotations

from typing import Any

from groundplane.testing.plugins import AppWith


async def test_what_is_required_and_not_given_is_filled_in(app_with: AppWith) -> None:
    app = await app_with()
    target = await app.make_collection("authors", [{"name": "name", "type": "text", "required": True}])
    fields: list[dict[str, Any]] = [
        {"name": "title", "type": "text", "min": 12, "max": 20},
        {"name": "short", "type": "text", "max": 3},
        {"name": "count", "type": "number", "min": 5, "max": 9, "onlyInt": True},
        {"name": "share", "type": "number", "max": 0.5},
        {"name": "done", "type": "bool"},
        {"name": "mail", "type": "email"},
        {"name": "site", "type": "url"},
        {"name": "day", "type": "date"},
        {"name": "body", "type": "editor"},
        {"name": "kind", "type": "select", "values": ["a", "b"]},
        {"name": "kinds", "type": "select", "values": ["a", "b"], "maxSelect": 2},
        {"name": "author", "type": "relation", "collectionId": target.id},
        {"name": "others", "type": "relation", "collectionId": target.id, "maxSelect": 4, "minSelect": 2},
        {"name": "data", "type": "json"},
        {"name": "place", "type": "geoPoint"},
    ]
    await app.make_collection("posts", [{**field, "required": True} for field in fields])
    made = await app.make_record("posts", kind="b")
    assert made["kind"] == "b"
    assert len(made["others"]) == 2
    assert len(await app.make_records("posts", 3)) == 3
    assert await app.services.db.fetchval("SELECT count(*) FROM authors") == 12


async def test_many_records_are_made_with_values_by_their_number(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("notes", [{"name": "title", "type": "text"}, {"name": "n", "type": "number"}])
    made = await app.make_records("notes", 3, title="same", n=lambda number: number * 10)
    assert [(each["title"], each["n"]) for each in made] == [("same", 0), ("same", 10), ("same", 20)]
    assert (await app.send("GET", "notes")).json()["totalItems"] == 3


async def test_accounts_are_made_and_signed_in(app_with: AppWith) -> None:
    app = await app_with()
    first, second = await app.make_user(), await app.make_user(name="Ann")
    assert second["name"] == "Ann"
    assert first["email"] != second["email"]
    user = await app.as_user(second)
    await app.assert_can(user, "view", "users", second["id"])
    await app.assert_cannot(user, "view", "users", first["id"])
    assert (await app.as_user("x@example.com")).id == (await app.as_user("x@example.com")).id
