"""What plugins may do to requests for records, and what they cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from groundplane.db.engine import Database
from groundplane.errors import FieldError, Forbidden, Invalid
from groundplane.hooks import hookimpl
from groundplane.hooks.events import (
    ListQuery,
    PasswordCheck,
    RecordDeleted,
    RecordDeleting,
    RecordEnrich,
    RecordRequest,
    RecordSaved,
    RecordSaving,
    RecordWriteFailed,
)
from groundplane.services import Services
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin

TITLE = {"name": "title", "type": "text", "max": 10}


async def notes(app: PluginApp, **more: Any) -> None:
    await app.make_collection("notes", [TITLE, {"name": "n", "type": "number"}], **more)


async def test_a_plugin_changes_what_is_saved(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None:
        event.record["title"] = event.record["title"].upper()

    app = await app_with(make_plugin("loud", record_saving))
    await notes(app)
    made = (await app.send("POST", "notes", json={"title": "a"})).json()
    assert made["title"] == "A"
    changed = (await app.send("PATCH", "notes", made["id"], json={"title": "b"})).json()
    assert changed["title"] == "B"
    assert (await app.send("GET", "notes", made["id"])).json()["title"] == "B"


async def test_what_a_plugin_has_changed_is_checked_again(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None:
        event.record["title"] = "longer than ten"

    app = await app_with(make_plugin("long", record_saving))
    await notes(app)
    answer = await app.send("POST", "notes", json={"title": "a"})
    assert answer.status_code == 400
    assert answer.json()["data"]["title"]["code"] == "validation_max_text_constraint"
    assert (await app.send("GET", "notes")).json()["totalItems"] == 0


async def test_a_plugin_refuses_with_its_own_status_and_nothing_is_written(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving, services: Services) -> None:
        await services.db.execute('INSERT INTO "_params" ("id", "value") VALUES (\'x\', \'1\')')
        raise Forbidden("Not on Sundays.")

    app = await app_with(make_plugin("sunday", record_saving))
    await notes(app)
    answer = await app.send("POST", "notes", json={"title": "a"})
    assert (answer.status_code, answer.json()["message"]) == (403, "Not on Sundays.")
    assert (await app.send("GET", "notes")).json()["totalItems"] == 0
    assert await app.services.db.fetchval("SELECT count(*) FROM \"_params\" WHERE id = 'x'") == 0


async def test_a_plugin_that_raises_refuses_with_a_500_that_says_nothing_and_is_named_in_the_log(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None:
        raise KeyError("secret")

    app = await app_with(make_plugin("clumsy", record_saving))
    await notes(app)
    answer = await app.send("POST", "notes", json={"title": "a"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "clumsy" not in answer.text
    assert "Plugin clumsy failed in record_saving: KeyError: 'secret'" in caplog.text
    assert (await app.send("GET", "notes")).json()["totalItems"] == 0


async def test_a_plugin_that_hangs_is_ended_at_its_deadline(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    @hookimpl(deadline_s=0.05)
    async def record_saving(event: RecordSaving) -> None:
        await asyncio.Event().wait()

    app = await app_with(make_plugin("slow", record_saving))
    await notes(app)
    assert (await app.send("POST", "notes", json={"title": "a"})).status_code == 500
    assert "Plugin slow failed in record_saving: it took longer than 0.05 s" in caplog.text
    assert app.plugins.figures()[0]["timeouts"] == 1


@pytest.mark.parametrize("rubbish", [5, "text", {"title": 1}])
async def test_a_plugin_that_returns_something_where_nothing_is_expected_is_refused(
    app_with: AppWith, rubbish: Any
) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> Any:
        return rubbish

    app = await app_with(make_plugin("odd", record_saving))
    await notes(app)
    assert (await app.send("POST", "notes", json={"title": "a"})).status_code == 500
    assert app.plugins.figures()[0]["failures"] == 1


async def test_a_plugin_that_leaks_a_coroutine_is_named(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    async def later() -> None: ...

    @hookimpl
    async def record_saving(event: RecordSaving) -> Any:
        return later()

    app = await app_with(make_plugin("leaky", record_saving))
    await notes(app)
    assert (await app.send("POST", "notes", json={"title": "a"})).status_code == 500
    assert "Plugin leaky failed in record_saving: it returned a coroutine" in caplog.text


@pytest.mark.parametrize("value", [5, None, object(), ["x"]])
async def test_a_value_of_the_wrong_type_is_not_written(app_with: AppWith, value: Any) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None:
        event.record["title"] = value

    app = await app_with(make_plugin("odd", record_saving))
    await notes(app)
    assert (await app.send("POST", "notes", json={"title": "a"})).status_code >= 400
    assert (await app.send("GET", "notes")).json()["totalItems"] == 0


async def test_a_plugin_cannot_add_fields_or_change_a_stored_id(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None:
        if event.before is None:
            event.record["title"] = "made"
        elif event.record["title"] == "id":
            event.record["id"] = "another12345678"
        else:
            event.record["invented"] = 1

    app = await app_with(make_plugin("odd", record_saving))
    await notes(app)
    made = (await app.send("POST", "notes", json={})).json()
    for title in ("id", "field"):
        assert (await app.send("PATCH", "notes", made["id"], json={"title": title})).status_code == 500
    assert (await app.send("GET", "notes", made["id"])).json()["title"] == "made"


async def test_saved_and_deleted_are_told_after_the_commit_and_in_order(app_with: AppWith) -> None:
    told: list[Any] = []

    @hookimpl
    async def record_saved(event: RecordSaved, services: Services) -> None:
        seen = await services.db.fetchval("SELECT count(*) FROM notes WHERE id = $1", event.record["id"])
        told.append((event.before is None, event.record["title"], seen))

    @hookimpl
    async def record_deleted(event: RecordDeleted) -> None:
        told.append(event.record["title"])

    app = await app_with(make_plugin("ears", record_saved, record_deleted))
    await notes(app)
    made = (await app.send("POST", "notes", json={"title": "a"})).json()
    await app.send("PATCH", "notes", made["id"], json={"title": "b"})
    await app.settled()
    assert told == [(True, "a", 1), (False, "b", 1)]
    await app.send("DELETE", "notes", made["id"])
    await app.settled()
    assert told[2:] == ["b"]


async def test_nothing_is_told_of_a_write_that_was_rolled_back(app_with: AppWith) -> None:
    told: list[str] = []
    failed: list[Any] = []

    @hookimpl
    async def record_saved(event: RecordSaved) -> None:
        told.append(event.record["title"])

    @hookimpl
    async def record_write_failed(event: RecordWriteFailed) -> None:
        failed.append((event.action, type(event.error)))

    app = await app_with(make_plugin("ears", record_saved, record_write_failed))
    await notes(app, indexes=["CREATE UNIQUE INDEX `one` ON `notes` (`title`)"])
    await app.services.settings.change({"batch": {"enabled": True}})
    for _ in range(2):
        await app.send("POST", "notes", json={"title": "a"})
    requests = [
        {"method": "POST", "url": "/api/collections/notes/records", "body": {"title": title}}
        for title in ("b", "a")
    ]
    assert (await app.ask("POST", "/api/batch", json={"requests": requests})).status_code == 400
    await app.settled()
    assert told == ["a"]
    assert failed == [("create", Invalid), ("create", Invalid)]


async def test_a_listener_is_told_of_the_account_as_it_is_stored(app_with: AppWith) -> None:
    told: list[Any] = []

    @hookimpl(collections=["notes"])
    async def record_saved(event: RecordSaved) -> None:
        assert event.caller is not None
        told.append(event.caller.record["name"])

    app = await app_with(make_plugin("ears", record_saved))
    await notes(app)
    user = await app.as_user()
    id, statement = user.id, "UPDATE users SET name = $1 WHERE id = $2"
    names = ["one", "one", "one", "one", "one", "two", "two", "three"]
    for name in names:
        # As another worker would.
        await app.services.db.execute(statement, name, id)
        assert (await app.send("POST", "notes", user=user, json={"title": name})).status_code == 200
    await app.settled()
    assert told == names


async def test_a_listener_does_not_send_creates_another_way(
    app_with: AppWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    @hookimpl
    async def record_saved(event: RecordSaved) -> None: ...

    app = await app_with(make_plugin("ears", record_saved))
    await notes(app)
    user = await app.as_user()
    for number in range(4):
        await app.send("POST", "notes", user=user, json={"title": f"{number}"})

    def elsewhere(database: Any) -> Any:
        raise AssertionError("a create used a connection besides the lane's")

    monkeypatch.setattr(Database, "connection", elsewhere)
    assert (await app.send("POST", "notes", user=user, json={"title": "quick"})).status_code == 200
    monkeypatch.undo()


async def test_one_listener_that_fails_or_hangs_holds_up_neither_the_answer_nor_the_others(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    held = asyncio.Event()

    def listener(act: Any) -> Any:
        @hookimpl
        async def record_saved(event: RecordSaved) -> None:
            await act(event)

        return record_saved

    async def hang(event: RecordSaved) -> None:
        await held.wait()

    async def fail(event: RecordSaved) -> None:
        raise RuntimeError("no")

    async def hear(event: RecordSaved) -> None:
        told.append(event.record["title"])
        if len(told) == 3:
            held.set()

    app = await app_with(
        make_plugin("hangs", listener(hang)),
        make_plugin("fails", listener(fail)),
        make_plugin("hears", listener(hear)),
    )
    await notes(app)
    for title in ("a", "b", "c"):
        assert (await app.send("POST", "notes", json={"title": title})).status_code == 200
    await app.settled()
    assert told == ["a", "b", "c"]
    assert "Plugin fails failed in record_saved: RuntimeError: no" in caplog.text


async def test_deleting_can_be_refused_for_a_record_that_a_cascade_would_take(app_with: AppWith) -> None:
    @hookimpl(collections=["children"])
    async def record_deleting(event: RecordDeleting) -> None:
        if event.record["title"] == "kept":
            raise Invalid(f"Kept, {'cascade' if event.is_cascade else 'alone'}.")

    app = await app_with(make_plugin("keeper", record_deleting))
    await notes(app)
    parent = app.services.schema.current.find("notes").id
    relation = {"name": "of", "type": "relation", "collectionId": parent, "cascadeDelete": True}
    await app.make_collection("children", [TITLE, relation])
    note = await app.make_record("notes", title="a")
    child = await app.make_record("children", title="kept", of=note["id"])
    refused = await app.send("DELETE", "notes", note["id"])
    assert (refused.status_code, refused.json()["message"]) == (400, "Kept, cascade.")
    assert (await app.send("DELETE", "children", child["id"])).json()["message"] == "Kept, alone."
    assert (await app.send("GET", "notes", note["id"])).status_code == 200


async def test_requests_are_entered_in_order_and_left_in_reverse(app_with: AppWith) -> None:
    steps: list[str] = []

    def around(name: str) -> Any:
        @hookimpl
        async def record_request(event: RecordRequest) -> AsyncIterator[None]:
            steps.append(f"{name} {event.action}")
            yield
            steps.append(f"{name} done")

        return record_request

    app = await app_with(make_plugin("inner", around("inner")), make_plugin("outer", around("outer")))
    await notes(app)
    await app.send("GET", "notes")
    # The one that was registered last comes first.
    assert steps == ["outer list", "inner list", "inner done", "outer done"]


async def test_around_a_request_the_real_exception_is_seen_and_may_become_another(app_with: AppWith) -> None:
    seen: list[str] = []

    @hookimpl
    async def record_request(event: RecordRequest) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            seen.append(type(error).__name__)
            if event.action == "view":
                raise Forbidden("Ask nicely.") from error

    app = await app_with(make_plugin("polite", record_request))
    await notes(app)
    assert (await app.send("GET", "notes", "nobody")).json()["message"] == "Ask nicely."
    # Swallowed here, and still the answer.
    assert (await app.send("DELETE", "notes", "nobody")).status_code == 404
    assert seen == ["NotFound", "NotFound"]


@pytest.mark.parametrize("fault", ["none", "two", "before", "after"])
async def test_a_faulty_around_is_a_500_and_the_server_goes_on(app_with: AppWith, fault: str) -> None:
    @hookimpl
    async def record_request(event: RecordRequest) -> AsyncIterator[None]:
        if event.action == "list":
            yield
            return
        if fault == "before":
            raise RuntimeError("no")
        if fault != "none":
            yield
        if fault == "two":
            yield
        if fault == "after":
            raise RuntimeError("no")

    app = await app_with(make_plugin("faulty", record_request))
    await notes(app)
    assert (await app.send("POST", "notes", json={"title": "a"})).status_code == 500
    assert (await app.send("GET", "notes")).status_code == 200


async def test_a_list_is_narrowed_and_its_question_changed(app_with: AppWith) -> None:
    @hookimpl
    async def list_query(event: ListQuery) -> None:
        event.query["sort"] = "-title"
        event.restrict.append("n > 1")

    app = await app_with(make_plugin("lister", list_query))
    await notes(app)
    for n, title in enumerate("abcd"):
        await app.make_record("notes", title=title, n=n)
    found = (await app.send("GET", "notes", params={"sort": "title"})).json()
    assert ([item["title"] for item in found["items"]], found["totalItems"]) == (["d", "c"], 2)


async def test_records_are_enriched_once_per_collection_with_those_of_an_expand(app_with: AppWith) -> None:
    batches: list[tuple[str, int]] = []

    @hookimpl
    async def record_enrich(event: RecordEnrich) -> None:
        batches.append((event.collection.name, len(event.items)))
        for item in event.items:
            item["length"] = len(item["title"])

    app = await app_with(make_plugin("measure", record_enrich))
    await notes(app)
    target = app.services.schema.current.find("notes").id
    await app.make_collection("children", [TITLE, {"name": "of", "type": "relation", "collectionId": target}])
    note = await app.make_record("notes", title="four")
    for title in ("a", "bb"):
        await app.make_record("children", title=title, of=note["id"])
    batches.clear()
    items = (await app.send("GET", "children", params={"expand": "of", "sort": "title"})).json()["items"]
    assert [(item["length"], item["expand"]["of"]["length"]) for item in items] == [(1, 4), (2, 4)]
    assert batches == [("children", 2), ("notes", 2)]
    shown = await app.send("GET", "notes", note["id"], params={"fields": "length"})
    assert shown.json() == {"length": 4}


async def test_passwords_are_checked_when_they_are_new(app_with: AppWith) -> None:
    @hookimpl
    async def password_check(event: PasswordCheck) -> None:
        if event.password == "password123":
            error = FieldError("validation_weak_password", "Choose another one.")
            raise Invalid("Failed.", {event.field: error})

    app = await app_with(make_plugin("strong", password_check))
    weak = {"password": "password123", "passwordConfirm": "password123"}
    refused = await app.ask(
        "POST",
        "/api/collections/users/records",
        user=await app.as_superuser(),
        json={"email": "a@example.com", **weak},
    )
    assert refused.json()["data"]["password"]["code"] == "validation_weak_password"
    user = await app.as_user()
    changed = await app.send("PATCH", "users", user.id, user=await app.as_superuser(), json=weak)
    assert changed.status_code == 400


async def test_filters_by_collection_and_tag_decide_who_is_called(app_with: AppWith) -> None:
    called: list[str] = []

    def saving(name: str, **filters: Any) -> Any:
        @hookimpl(**filters)
        async def record_saving(event: RecordSaving) -> None:
            called.append(f"{name} {event.collection.name}")

        return record_saving

    app = await app_with(
        make_plugin("accounts", saving("accounts", tags=["auth"])),
        make_plugin("named", saving("named", collections="notes")),
    )
    await notes(app)
    await app.make_collection("others", [TITLE])
    for collection in ("notes", "others"):
        await app.make_record(collection, title="a")
    await app.as_user()
    assert called == ["named notes", "accounts users"]


async def test_the_calls_of_a_request_come_in_the_order_of_the_specifications(app_with: AppWith) -> None:
    @hookimpl
    async def record_request(event: RecordRequest) -> AsyncIterator[None]:
        yield

    @hookimpl
    async def record_saving(event: RecordSaving) -> None: ...

    @hookimpl
    async def record_enrich(event: RecordEnrich) -> None: ...

    app = await app_with(make_plugin("all", record_request, record_saving, record_enrich))
    await notes(app)
    await app.send("POST", "notes", json={"title": "a"})
    await app.assert_called("record_request", "record_saving", "record_enrich")
    await app.send("POST", "notes", json={"title": "longer than ten"})
    await app.assert_called("record_request")
