"""The history of records: every change with who and what, and nothing that was rolled back."""

from __future__ import annotations

from typing import Any

from groundplane.testing.plugins import AppWith, PluginApp, User
from groundplane_plugins import history

FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text", "max": 10},
    {"name": "when", "type": "date"},
    {"name": "data", "type": "json"},
    {"name": "place", "type": "geoPoint"},
    {"name": "papers", "type": "file", "maxSelect": 3},
]


async def start(app_with: AppWith, **config: Any) -> PluginApp:
    app = await app_with(history, config={"history": config})
    await app.make_collection("notes", FIELDS)
    return app


async def entries(app: PluginApp, collection: str, record: str) -> list[dict[str, Any]]:
    path = f"/api/x/history/{collection}/{record}"
    answer = await app.ask("GET", path, user=await app.as_superuser())
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_every_change_is_kept_with_who_and_what_the_newest_first(app_with: AppWith) -> None:
    app = await start(app_with)
    user = await app.as_user()
    values = {
        "title": "a",
        "when": "2026-01-02 03:04:05Z",
        "data": {"b": [1]},
        "place": {"lon": 1, "lat": 2},
    }
    made = (await app.send("POST", "notes", user=user, json=values)).json()
    await app.send("PATCH", "notes", made["id"], json={"title": "b"})
    await app.send("PATCH", "notes", made["id"], json={"title": "b"})
    await app.send("DELETE", "notes", made["id"], user=user)
    found = await entries(app, "notes", made["id"])
    assert [(each["action"], each["callerId"]) for each in found] == [
        ("delete", user.id),
        ("update", ""),
        ("create", user.id),
    ]
    assert (found[1]["before"], found[1]["after"]) == ({"title": "a"}, {"title": "b"})
    assert found[2]["after"]["title"] == "a"
    assert found[0]["before"]["title"] == "b"
    assert found[2]["callerCollection"] == "users"


async def test_a_refused_change_leaves_no_entry(app_with: AppWith) -> None:
    app = await start(app_with)
    await app.services.collections.update(
        "notes", {"indexes": ["CREATE UNIQUE INDEX `one` ON `notes` (`title`)"]}
    )
    for _ in range(2):
        await app.send("POST", "notes", json={"title": "a"})
    assert await app.services.db.fetchval("SELECT count(*) FROM x_history.entries") == 1


async def test_files_are_kept_by_their_names(app_with: AppWith) -> None:
    app = await start(app_with)
    answer = await app.send("POST", "notes", data={"title": "a"}, files={"papers": ("a.txt", b"x")})
    record = answer.json()
    (entry,) = await entries(app, "notes", record["id"])
    assert entry["after"]["papers"] == record["papers"]


async def test_secrets_are_never_kept(app_with: AppWith) -> None:
    app = await start(app_with)
    user = await app.as_user()
    (entry,) = await entries(app, "users", user.id)
    assert {"password", "tokenKey"} & entry["after"].keys() == set()
    assert entry["after"]["email"] == "user@example.com"


async def test_only_chosen_collections_are_kept(app_with: AppWith) -> None:
    app = await start(app_with, collections=["others"])
    made = await app.make_record("notes", title="a")
    assert await entries(app, "notes", made["id"]) == []


async def test_what_a_cascade_takes_along_is_kept_too(app_with: AppWith) -> None:
    app = await start(app_with)
    target = app.services.schema.current.find("notes").id
    relation = {"name": "of", "type": "relation", "collectionId": target, "cascadeDelete": True}
    await app.make_collection("children", [relation])
    note = await app.make_record("notes", title="a")
    child = await app.make_record("children", of=note["id"])
    user = await app.as_user()
    await app.send("DELETE", "notes", note["id"], user=user)
    newest = (await entries(app, "children", child["id"]))[0]
    assert (newest["action"], newest["callerId"]) == ("delete", user.id)


async def test_only_superusers_read_it(app_with: AppWith) -> None:
    app = await start(app_with)
    for who, status in ((User(), 401), (await app.as_user(), 403)):
        answer = await app.ask("GET", "/api/x/history/notes/x", user=who)
        assert answer.status_code == status
