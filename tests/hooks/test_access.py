"""Plugins and access: grants, denials, restrictions, on every path to a record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from groundplane.hooks import hookimpl
from groundplane.hooks.events import AccessRules
from groundplane.schema.collection import Collection
from groundplane.testing.plugins import GUEST, AppWith, PluginApp, make_plugin

FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text"},
    {"name": "owner", "type": "text"},
    {"name": "paper", "type": "file", "protected": True},
]
CLOSED: dict[str, Any] = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"))


def says(name: str, answer: Callable[[Collection, str], Any], only: str = "notes") -> Any:
    @hookimpl(collections=[only])
    def access_rules(collection: Collection, action: str) -> Any:
        return answer(collection, action)

    return make_plugin(name, access_rules)


async def set_up(app: PluginApp, **rules: Any) -> dict[str, str]:
    await app.make_collection("notes", FIELDS, **rules)
    return {title: (await app.make_record("notes", title=title))["id"] for title in ("open", "shut")}


async def test_a_grant_lets_in_whom_the_rule_does_not(app_with: AppWith) -> None:
    grant = AccessRules(grant=("title = 'open'",))
    app = await app_with(says("sharing", lambda collection, action: grant if action == "view" else None))
    ids = await set_up(app, **CLOSED)
    await app.assert_can(GUEST, "view", "notes", ids["open"])
    await app.assert_cannot(GUEST, "view", "notes", ids["shut"])
    await app.assert_cannot(GUEST, "list", "notes")
    await app.assert_cannot(GUEST, "delete", "notes", ids["open"])


async def test_a_denial_keeps_out_whom_the_rule_lets_in(app_with: AppWith) -> None:
    app = await app_with(says("ban", lambda *_: AccessRules(deny=("title = 'shut'",))))
    ids = await set_up(app)
    for action in ("view", "list", "update", "delete"):
        await app.assert_cannot(GUEST, action, "notes", ids["shut"])
    for action in ("view", "list", "update", "delete"):
        await app.assert_can(GUEST, action, "notes", ids["open"])
    await app.assert_cannot(GUEST, "create", "notes", title="shut")
    await app.assert_can(GUEST, "create", "notes", title="other")


async def test_a_grant_never_reaches_beyond_what_another_plugin_restricts(app_with: AppWith) -> None:
    app = await app_with(
        says("tenant", lambda *_: AccessRules(restrict=("title = 'open'",))),
        says("generous", lambda *_: AccessRules(grant=("id != ''", "title != 'x'"))),
    )
    ids = await set_up(app, **CLOSED)
    for action in ("view", "list", "update", "delete"):
        await app.assert_cannot(GUEST, action, "notes", ids["shut"])
    await app.assert_can(GUEST, "list", "notes", ids["open"])
    await app.assert_cannot(GUEST, "create", "notes", title="shut")


@pytest.mark.parametrize(
    "answer",
    [
        5,
        True,
        "title = 'open'",
        AccessRules(restrict=("no such field = 1",)),
        AccessRules(restrict=("",)),
        AccessRules(deny=(7,)),  # type: ignore[arg-type]
        AccessRules(restrict={"a": 1}),  # type: ignore[arg-type]
    ],
)
async def test_an_answer_that_cannot_be_understood_lets_in_superusers_only(
    app_with: AppWith, answer: Any
) -> None:
    app = await app_with(says("rubbish", lambda *_: answer))
    ids = await set_up(app)
    for action in ("view", "list", "update", "delete"):
        await app.assert_cannot(GUEST, action, "notes", ids["open"])
    await app.assert_cannot(GUEST, "create", "notes", title="x")
    await app.assert_can(await app.as_superuser(), "view", "notes", ids["open"])


async def test_a_plugin_that_raises_when_asked_lets_in_superusers_only(app_with: AppWith) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no")

    app = await app_with(says("raises", fail))
    ids = await set_up(app)
    await app.assert_cannot(GUEST, "view", "notes", ids["open"])
    await app.assert_can(await app.as_superuser(), "list", "notes", ids["open"])


async def test_a_grant_that_does_not_compile_grants_nothing(app_with: AppWith) -> None:
    app = await app_with(says("typo", lambda *_: AccessRules(grant=("titel = 1", "title = 'open'"))))
    ids = await set_up(app, **CLOSED)
    await app.assert_can(GUEST, "view", "notes", ids["open"])
    await app.assert_cannot(GUEST, "view", "notes", ids["shut"])


async def test_restrictions_hold_on_every_path_to_a_record(app_with: AppWith) -> None:
    app = await app_with(says("tenant", lambda *_: AccessRules(restrict=("title = 'open'",))))
    ids = await set_up(app)
    await app.services.settings.change({"batch": {"enabled": True}})
    target = app.services.schema.current.find("notes").id
    relation = {"name": "of", "type": "relation", "collectionId": target}
    await app.make_collection("links", [{"name": "name", "type": "text"}, relation])
    links = {each: (await app.make_record("links", name=each, of=ids[each]))["id"] for each in ids}
    # expand, there and back
    for each, link in links.items():
        shown = (await app.send("GET", "links", link, params={"expand": "of"})).json()
        assert ("of" in shown.get("expand", {})) == (each == "open")
    # a filter that asks about records that one may not list
    for each, found in (("open", 1), ("shut", 0)):
        answer = await app.send("GET", "links", params={"filter": f"of.title = '{each}'"})
        assert answer.json()["totalItems"] == found
    # an item of a batch
    item = {"method": "DELETE", "url": f"/api/collections/notes/records/{ids['shut']}"}
    assert (await app.ask("POST", "/api/batch", json={"requests": [item]})).status_code == 400
    # a plain read again and again, which may be answered in a shorter way
    for _ in range(6):
        await app.assert_cannot(GUEST, "view", "notes", ids["shut"])
        assert (await app.send("GET", "notes")).json()["totalItems"] == 1


async def test_protected_files_follow_the_restriction(app_with: AppWith) -> None:
    app = await app_with(says("tenant", lambda *_: AccessRules(restrict=("title = 'open'",))))
    await set_up(app)
    statuses = []
    for title in ("open", "shut"):
        answer = await app.ask(
            "POST",
            "/api/collections/notes/records",
            user=await app.as_superuser(),
            data={"title": title},
            files={"paper": ("a.txt", b"x")},
        )
        record = answer.json()
        path = f"/api/files/notes/{record['id']}/{record['paper']}"
        statuses.append((await app.ask("GET", path)).status_code)
    assert statuses == [200, 404]


async def test_a_later_version_of_the_schema_is_asked_about_again(app_with: AppWith) -> None:
    def answer(collection: Collection, action: str) -> AccessRules | None:
        return AccessRules(restrict=("secret = false",)) if collection.field("secret") else None

    app = await app_with(says("secrets", answer))
    ids = await set_up(app)
    await app.assert_can(GUEST, "view", "notes", ids["open"])
    fields = [*FIELDS, {"name": "secret", "type": "bool"}]
    await app.services.collections.update("notes", {"fields": fields})
    answered = await app.send(
        "PATCH", "notes", ids["open"], user=await app.as_superuser(), json={"secret": True}
    )
    assert answered.status_code == 200
    await app.assert_cannot(GUEST, "view", "notes", ids["open"])


async def test_the_collections_api_shows_the_collections_own_rules(app_with: AppWith) -> None:
    app = await app_with(says("tenant", lambda *_: AccessRules(restrict=("title = 'open'",))))
    await set_up(app)
    shown = await app.ask("GET", "/api/collections/notes", user=await app.as_superuser())
    assert shown.json()["listRule"] == ""


async def test_nobody_gets_in_when_a_plugin_with_a_say_cannot_be_started(app_with: AppWith) -> None:
    plugin = says("tenant", lambda *_: AccessRules(restrict=("title = 'open'",)))

    @hookimpl
    async def startup() -> None:
        raise RuntimeError("no")

    plugin.startup = startup
    app = await app_with(plugin)
    ids = await set_up(app)
    await app.assert_cannot(GUEST, "view", "notes", ids["open"])
    await app.assert_can(await app.as_superuser(), "view", "notes", ids["open"])
