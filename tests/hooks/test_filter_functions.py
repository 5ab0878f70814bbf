"""Functions that plugins add to the filter language: typed, proof against what clients write, closed when gone."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.hooks import hookimpl
from groundplane.hooks.filters import FilterFunction
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin

FUNCTIONS = (
    FilterFunction(name="upper", sql="upper({0})"),
    FilterFunction(name="plus", sql="{0} + {1}", parameters=("number", "number"), returns="number"),
    FilterFunction(
        name="startsWith", sql="starts_with({0}, {1})", parameters=("text", "text"), returns="bool"
    ),
    FilterFunction(name="half", sql="1 / {0}", parameters=("number",), returns="number"),
    FilterFunction(name="pi", sql="pi()", parameters=(), returns="number"),
)


def language(*functions: Any) -> Any:
    @hookimpl
    def register_filter_functions() -> list[Any]:
        return list(functions or FUNCTIONS)

    return make_plugin("language", register_filter_functions)


FIELDS = [{"name": "title", "type": "text"}, {"name": "size", "type": "number"}]


async def notes(app: PluginApp) -> None:
    await app.make_collection("notes", FIELDS)
    for title, size in (("apple", 1), ("pear", 2), ("", 0)):
        await app.make_record("notes", title=title, size=size)


async def titles(app: PluginApp, text: str, status: int = 200) -> Any:
    answer = await app.send("GET", "notes", params={"filter": text})
    assert answer.status_code == status, answer.text
    return [item["title"] for item in answer.json().get("items", [])]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("upper(title) = 'PEAR'", ["pear"]),
        ("upper(title) = upper('apple')", ["apple"]),
        ("plus(size, 1) > 2", ["pear"]),
        ("plus(size, '1') = 3", ["pear"]),
        ("startsWith(title, 'p') = true", ["pear"]),
        ("startsWith(title, 'p') = false", ["apple", ""]),
        ("pi() > 3 && size > 1", ["pear"]),
        ("upper(size) = '2'", ["pear"]),
        ("upper(title) ~ 'ppl' && plus(size, size) = 2", ["apple"]),
    ],
)
async def test_functions_take_fields_and_values_of_their_types(
    app_with: AppWith, text: str, found: list[str]
) -> None:
    app = await app_with(language())
    await notes(app)
    for _ in range(4):  # also when the statement was learnt
        assert await titles(app, text) == found


@pytest.mark.parametrize(
    "hostile",
    [
        "'); DROP TABLE notes; --",
        "'' OR true",
        "{0}",
        "{title}",
        "$1",
        "\\' || pg_sleep(9) || \\'",
        "%s",
        "\x00",
    ],
)
async def test_no_text_of_a_client_becomes_sql(app_with: AppWith, hostile: str) -> None:
    app = await app_with(language())
    await notes(app)
    quoted = hostile.replace("\\'", "'").replace("'", "\\'")
    expected = 400 if "\x00" in hostile else 200
    for _ in range(4):
        assert await titles(app, f"upper(title) = upper('{quoted}')", expected) == []
    assert len(await titles(app, "size >= 0")) == 3


@pytest.mark.parametrize(
    "text",
    [
        "upper() = 'A'",
        "upper(title, title) = 'A'",
        "nowhere(title) = 'A'",
        "plus(title, 'many') = 1",
        "half(0) = 1",
    ],
)
async def test_wrong_calls_are_refused(app_with: AppWith, text: str) -> None:
    app = await app_with(language())
    await notes(app)
    await titles(app, text, 400)


async def test_hidden_fields_cannot_be_read_through_a_function(app_with: AppWith) -> None:
    app = await app_with(language())
    await app.make_collection("notes", [*FIELDS, {"name": "secret", "type": "text", "hidden": True}])
    await titles(app, "upper(secret) = 'A'", 400)


async def test_a_rule_may_call_a_function_and_is_closed_when_its_plugin_is_gone(app_with: AppWith) -> None:
    from groundplane.app import remove_words
    from groundplane.doctor import examine_services

    app = await app_with(language())
    await notes(app)
    rule = "startsWith(title, 'p') = true"
    admin = await app.as_superuser()
    rules = {"listRule": rule, "createRule": rule, "viewRule": rule}
    saved = await app.ask("PATCH", "/api/collections/notes", user=admin, json=rules)
    assert saved.status_code == 200, saved.text
    assert await titles(app, "") == ["pear"]
    assert (await app.send("POST", "notes", json={"title": "plum"})).status_code == 200
    assert (await app.send("POST", "notes", json={"title": "kiwi"})).status_code == 400
    remove_words(app.plugins)
    app = await app_with()
    assert (await app.send("GET", "notes")).status_code == 400
    assert (await app.send("POST", "notes", json={"title": "plum"})).status_code == 400
    assert (await app.send("GET", "notes", user=await app.as_superuser())).json()["totalItems"] == 4
    findings = [finding.text async for finding in examine_services(app.services) if not finding.sound]
    assert any(
        each.startswith("notes.listRule lets in superusers only: unknown function") for each in findings
    )


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("upper", "it is str, not a FilterFunction"),
        (FilterFunction(name="a b", sql="{0}"), "is no name for a function"),
        (FilterFunction(name="strftime", sql="{0}"), "the filter function strftime is there already"),
        (FilterFunction(name="f", sql="1"), "its SQL must use each of its 1 arguments"),
        (FilterFunction(name="f", sql="{0} {1}"), "write {0}, {1}"),
        (FilterFunction(name="f", sql="{0.name}"), "write {0}, {1}"),
        (FilterFunction(name="f", sql="{0", parameters=("text",)), "write {0}, {1}"),
        (FilterFunction(name="f", sql="{0}", parameters=("date",)), "parameters are text or number"),  # type: ignore[arg-type]
        (FilterFunction(name="f", sql="{0}", returns="json"), "it returns text, number or bool"),  # type: ignore[arg-type]
    ],
)
async def test_a_function_that_is_none_takes_its_plugin_out(
    app_with: AppWith, function: Any, reason: str
) -> None:
    app = await app_with(language(function))
    assert reason in app.plugins.broken[0].reason
