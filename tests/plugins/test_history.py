"""The history of records: every change with who and what, and nothing that was rolled back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from groundplane.errors import Forbidden
from groundplane.hooks import hookimpl
from groundplane.hooks.events import RecordSaving
from groundplane.testing.clock import FrozenClock
from groundplane.testing.plugins import PASSWORD, AppWith, PluginApp, User, make_plugin
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


async def test_all_of_it_is_for_superusers_only(app_with: AppWith) -> None:
    app = await start(app_with)
    note = await app.make_record("notes", title="a")
    for who, status in ((User(), 401), (await app.as_user(), 403)):
        for method, path in (
            ("GET", "/api/x/history/notes"),
            ("GET", f"/api/x/history/notes/{note['id']}"),
            ("DELETE", f"/api/x/history/notes/{note['id']}"),
            ("POST", f"/api/x/history/notes/{note['id']}/restore"),
        ):
            assert (await app.ask(method, path, user=who)).status_code == status
    assert len(await entries(app, "notes", note["id"])) == 1


async def test_batches_and_writes_of_the_server_itself_are_kept(app_with: AppWith) -> None:
    app = await start(app_with)
    await app.services.settings.change({"batch": {"enabled": True}})
    items = [
        {"method": "POST", "url": "/api/collections/notes/records", "body": {"title": title}}
        for title in ("a", "b")
    ]
    made = (await app.ask("POST", "/api/batch", json={"requests": items})).json()
    bad = {"method": "POST", "url": "/api/collections/notes/records", "body": {"title": "longer than ten"}}
    assert (await app.ask("POST", "/api/batch", json={"requests": [*items, bad]})).status_code == 400
    notes = app.services.schema.current.find("notes")
    own = await app.services.records.create_internal(notes, {"title": "c"})
    await app.services.records.save_fields(notes, own["id"], {"title": "d"})
    await app.services.records.delete_internal(notes, own["id"])
    assert [each["action"] for each in await entries(app, "notes", own["id"])] == [
        "delete",
        "update",
        "create",
    ]
    found = (await whole(app, "notes"))["items"]
    assert [each["record"] for each in found if each["action"] == "create"] == [
        own["id"],
        made[1]["body"]["id"],
        made[0]["body"]["id"],
    ]


async def test_what_other_plugins_have_made_of_a_record_is_what_is_kept(app_with: AppWith) -> None:
    @hookimpl(after=["history", "*"])
    async def record_saving(event: RecordSaving) -> None:
        event.record["title"] += "!"

    app = await app_with(history, make_plugin("last", record_saving), config={"history": {}})
    await app.make_collection("notes", FIELDS)
    note = await app.make_record("notes", title="a")
    assert (await entries(app, "notes", note["id"]))[0]["after"]["title"] == "a!"


async def test_a_reference_that_is_taken_out_with_its_target_is_a_change_too(app_with: AppWith) -> None:
    app = await start(app_with)
    target = app.services.schema.current.find("notes").id
    await app.make_collection("links", [{"name": "of", "type": "relation", "collectionId": target}])
    note = await app.make_record("notes", title="a")
    link = await app.make_record("links", of=note["id"])
    await app.send("DELETE", "notes", note["id"], user=await app.as_superuser())
    newest = (await entries(app, "links", link["id"]))[0]
    assert (newest["action"], newest["before"], newest["after"]) == ("update", {"of": note["id"]}, {"of": ""})
    assert newest["callerCollection"] == "_superusers"


async def test_a_new_password_is_noted_without_a_value_and_dates_alone_are_not(app_with: AppWith) -> None:
    app = await start(app_with)
    user, admin = await app.as_user(), await app.as_superuser()
    new = {"password": "another password", "passwordConfirm": "another password"}
    assert (await app.send("PATCH", "users", user.id, user=admin, json=new)).status_code == 200
    assert (await app.send("PATCH", "users", user.id, user=admin, json={})).status_code == 200
    newest, oldest = await entries(app, "users", user.id)
    assert (newest["action"], newest["before"], newest["after"]) == ("update", {}, {})
    assert newest["secrets"] == ["password", "tokenKey"]
    assert oldest["action"] == "create"


async def test_fields_that_are_left_out_are_never_kept(app_with: AppWith) -> None:
    app = await start(app_with, leave_out=["notes.title"])
    note = await app.make_record("notes", title="private")
    await app.send("PATCH", "notes", note["id"], json={"title": "other"})
    found = await entries(app, "notes", note["id"])
    assert [("title" in each["before"], "title" in each["after"]) for each in found] == [(False, False)]


async def whole(app: PluginApp, collection: str, **query: Any) -> dict[str, Any]:
    path = f"/api/x/history/{collection}"
    answer = await app.ask("GET", path, user=await app.as_superuser(), params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_changes_of_a_collection_come_in_pages_and_by_action(app_with: AppWith) -> None:
    app = await start(app_with)
    notes = await app.make_records("notes", 5, title=lambda number: f"n{number}")
    await app.send("DELETE", "notes", notes[0]["id"])
    first = await whole(app, "notes", perPage=4)
    assert [first[key] for key in ("page", "perPage", "totalItems", "totalPages")] == [1, 4, 6, 2]
    second = await whole(app, "notes", perPage=4, page=2)
    numbers = [each["id"] for each in first["items"] + second["items"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 6
    deleted = await whole(app, "notes", action="delete")
    assert [each["record"] for each in deleted["items"]] == [notes[0]["id"]]
    for nonsense in ("0", "-1", "x", "9" * 30):
        assert (await whole(app, "notes", page=nonsense, perPage=nonsense))["page"] == 1
    bad = await app.ask("GET", "/api/x/history/notes?action=x", user=await app.as_superuser())
    assert bad.status_code == 400
    missing = await app.ask("GET", "/api/x/history/nothing", user=await app.as_superuser())
    assert missing.status_code == 404


async def test_old_entries_are_removed_when_they_are_old_enough(
    app_with: AppWith, clock: FrozenClock
) -> None:
    app = await start(app_with, keep_days=30)
    note = await app.make_record("notes", title="a")
    clock.travel(days=29)
    await app.send("PATCH", "notes", note["id"], json={"title": "b"})
    for days, left in ((0, 2), (2, 1), (40, 0)):
        clock.travel(days=days)
        await app.services.crons.run("history.forget")
        await app.run_jobs()
        assert len(await entries(app, "notes", note["id"])) == left


async def test_everything_about_one_record_is_forgotten_on_demand(app_with: AppWith) -> None:
    app = await start(app_with)
    one, other = await app.make_records("notes", 2)
    path = f"/api/x/history/notes/{one['id']}"
    answer = await app.ask("DELETE", path, user=await app.as_superuser())
    assert answer.json() == {"removed": 1}
    assert await entries(app, "notes", one["id"]) == []
    assert len(await entries(app, "notes", other["id"])) == 1


# Bringing back

VALUES: dict[str, Any] = {
    "title": "first",
    "when": "2026-01-02 03:04:05.678Z",
    "data": {"text": "123", "list": [1, 2.5, None], "deep": {"\u0000": "nul"}},
    "place": {"lon": 1.5, "lat": 2},
}


async def restore(app: PluginApp, collection: str, record: str, **body: Any) -> Any:
    path = f"/api/x/history/{collection}/{record}/restore"
    return await app.ask("POST", path, user=await app.as_superuser(), json=body)


async def test_an_earlier_version_comes_back_exactly(app_with: AppWith) -> None:
    app = await start(app_with)
    note = await app.make_record("notes", **VALUES)
    await app.send("PATCH", "notes", note["id"], json={"title": "second", "data": "123"})
    await app.send("PATCH", "notes", note["id"], json={"place": {"lon": 0, "lat": 0}, "when": ""})
    await app.send("PATCH", "notes", note["id"], json={"title": "third", "data": None})
    versions = [each["id"] for each in await entries(app, "notes", note["id"])]
    for version, title, data in (
        (versions[3], "first", VALUES["data"]),
        (versions[2], "second", 123),
        (versions[0], "third", None),
    ):
        answer = await restore(app, "notes", note["id"], version=version)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["created"], answer.json()["gone"]) == (False, {})
        shown = (await app.send("GET", "notes", note["id"])).json()
        assert shown == answer.json()["record"]
        assert (shown["title"], shown["data"]) == (title, data)
    assert (await restore(app, "notes", note["id"], version=versions[3])).json()["record"] == note
    # The way back is in the history as well.
    newest = (await entries(app, "notes", note["id"]))[0]
    assert (newest["action"], newest["callerCollection"]) == ("update", "_superusers")


async def test_a_text_that_looks_like_json_comes_back_as_a_text(app_with: AppWith) -> None:
    app = await start(app_with)
    notes = app.services.schema.current.find("notes")
    made = await app.services.records.create_internal(notes, {"data": '"123"'})
    await app.send("PATCH", "notes", made["id"], json={"data": 5})
    version = (await entries(app, "notes", made["id"]))[-1]["id"]
    answer = await restore(app, "notes", made["id"], version=version)
    assert answer.json()["record"]["data"] == "123"


async def test_a_deleted_record_comes_back_with_its_id(app_with: AppWith) -> None:
    app = await start(app_with)
    note = await app.make_record("notes", **VALUES)
    await app.send("DELETE", "notes", note["id"])
    answer = await restore(app, "notes", note["id"])
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"record": note, "created": True, "gone": {}}
    assert (await app.send("GET", "notes", note["id"])).json() == note
    again = await restore(app, "notes", note["id"])
    assert (again.status_code, again.json()["message"]) == (
        400,
        "The record is there: say which version is wanted.",
    )


async def test_a_deleted_record_comes_back_as_it_was_at_an_earlier_version(app_with: AppWith) -> None:
    app = await start(app_with)
    note = await app.make_record("notes", **VALUES)
    await app.send("PATCH", "notes", note["id"], json={"title": "second"})
    version = (await entries(app, "notes", note["id"]))[-1]["id"]
    for _ in range(2):
        await app.send("DELETE", "notes", note["id"])
        answer = await restore(app, "notes", note["id"], version=version)
        assert answer.json()["record"]["title"] == "first"


async def test_files_that_are_no_more_are_named(app_with: AppWith) -> None:
    app = await start(app_with)
    files = [("papers", (f"{name}.txt", b"x")) for name in ("a", "b")]
    note = (await app.send("POST", "notes", data={"title": "a"}, files=files)).json()
    first, second = note["papers"]
    await app.send("PATCH", "notes", note["id"], json={"papers": [second]})
    version = (await entries(app, "notes", note["id"]))[-1]["id"]
    done = (await restore(app, "notes", note["id"], version=version)).json()
    assert (done["record"]["papers"], done["gone"]) == ([second], {"papers": [first]})
    await app.send("DELETE", "notes", note["id"])
    done = (await restore(app, "notes", note["id"])).json()
    assert (done["record"]["papers"], done["gone"]) == ([], {"papers": [second]})


async def test_an_account_comes_back_without_its_password(app_with: AppWith) -> None:
    app = await start(app_with)
    user = await app.make_user(email="ann@example.com", name="Ann")
    old = await app.as_user(user)
    await app.send("DELETE", "users", user["id"], user=await app.as_superuser())
    done = (await restore(app, "users", user["id"])).json()
    assert (done["record"]["email"], done["record"]["name"]) == ("ann@example.com", "Ann")
    await app.assert_cannot(old, "view", "users", user["id"])
    form = {"identity": "ann@example.com", "password": PASSWORD}
    assert (await app.ask("POST", "/api/collections/users/auth-with-password", json=form)).status_code == 400


async def test_only_the_wanted_fields_come_back(app_with: AppWith) -> None:
    app = await start(app_with)
    note = await app.make_record("notes", **VALUES)
    await app.send("PATCH", "notes", note["id"], json={"title": "second", "data": 1})
    version = (await entries(app, "notes", note["id"]))[-1]["id"]
    done = (await restore(app, "notes", note["id"], version=version, fields=["title"])).json()
    assert (done["record"]["title"], done["record"]["data"]) == ("first", 1)
    bad = await restore(app, "notes", note["id"], version=version, fields=["nothing"])
    assert bad.json()["message"] == "The version has no field nothing."


async def test_what_comes_back_is_checked_like_everything_else(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None:
        if event.record["title"] == "bad":
            raise Forbidden("Not that one.")

    guard = make_plugin("guard", record_saving)
    app = await app_with(history, guard, config={"history": {}})
    await app.make_collection("notes", FIELDS)
    notes = app.services.schema.current.find("notes")
    target = await app.make_record("notes", title="target")
    relation = {"name": "of", "type": "relation", "collectionId": notes.id}
    await app.make_collection("links", [relation, {"name": "title", "type": "text"}])
    link = await app.make_record("links", of=target["id"])
    await app.send("DELETE", "links", link["id"])
    await app.send("DELETE", "notes", target["id"])
    answer = await restore(app, "links", link["id"])
    assert answer.json()["data"]["of"]["code"] == "validation_missing_rel_records"
    assert (await app.send("GET", "links", link["id"])).status_code == 404
    await app.services.collections.update("links", {"fields": [{"name": "title", "type": "text", "max": 2}]})
    assert (await restore(app, "links", link["id"])).json()["record"]["title"] == ""


WRONG = [
    (b'{"version": 99999}', 404),
    (b'{"version": -1}', 404),
    (b'{"version": 9223372036854775807}', 404),
    (b'{"version": 99999999999999999999}', 404),
    (b'{"version": "1"}', 400),
    (b'{"fields": "title"}', 400),
    (b"[]", 400),
    (b"{", 400),
    (b"\xff", 400),
]


async def test_a_wrong_request_to_restore_is_refused(app_with: AppWith) -> None:
    app = await start(app_with)
    note, admin = await app.make_record("notes", title="a"), await app.as_superuser()
    for body, status in WRONG:
        path = f"/api/x/history/notes/{note['id']}/restore"
        answer = await app.ask("POST", path, user=admin, content=body)
        assert answer.status_code == status, (body, answer.text)
    for record in ("nobody", "a%00b", "x" * 500):
        answer = await app.ask("POST", f"/api/x/history/notes/{record}/restore", user=admin)
        assert answer.status_code == 404


async def test_a_version_of_another_record_is_none_of_this_one(app_with: AppWith) -> None:
    app = await start(app_with)
    one, other = await app.make_records("notes", 2)
    version = (await entries(app, "notes", other["id"]))[0]["id"]
    assert (await restore(app, "notes", one["id"], version=version)).status_code == 404


async def test_the_commands_list_and_restore(
    app_with: AppWith, server_database_url: str, tmp_path: Path
) -> None:
    app = await start(app_with)
    note = await app.make_record("notes", title="a")
    await app.send("PATCH", "notes", note["id"], json={"title": "b"})
    await app.send("DELETE", "notes", note["id"])
    config = tmp_path / "groundplane.toml"
    config.write_text(f'database.url = "{server_database_url}"\n[plugins.history]\n', encoding="utf-8")

    async def command(*words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "groundplane",
            "x",
            "history",
            *words,
            "--config",
            str(config),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    code, said = await command("list", "notes", note["id"])
    assert code == 0, said
    assert [line.split()[4] for line in said.splitlines() if note["id"] in line] == [
        "delete",
        "update",
        "create",
    ]
    code, said = await command("restore", "notes", note["id"])
    assert (code, said) == (0, "The record was made again.\n")
    assert (await app.send("GET", "notes", note["id"])).json()["title"] == "b"
    code, said = await command("restore", "notes", "nobody")
    assert code == 1
    assert "no such entry" in said
