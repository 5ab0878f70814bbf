"""Field types of plugins: in the API, plans, filters and documents, and what is left when the plugin is gone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from groundplane.app import remove_words
from groundplane.collections.file import BadFile, declaration, read_document
from groundplane.doctor import examine_services
from groundplane.errors import FieldError
from groundplane.hooks import hookimpl
from groundplane.schema.fields.base import Kind
from groundplane.schema.fields.plugin import PluginField
from groundplane.schema.fields.text import TextField
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin

NO_COLOUR = FieldError("colour_invalid", "Must be a colour such as #0080ff.")


class ColourField(PluginField, kw_only=True, rename="camel"):
    """A colour; `with_alpha` allows a fourth pair of digits."""

    type_name: ClassVar[str] = "colour"

    with_alpha: bool = False

    def read(self, raw: Any) -> str:
        text = str(super().read(raw)).lower()
        return re.sub(r"^#([0-9a-f])([0-9a-f])([0-9a-f])$", r"#\1\1\2\2\3\3", text)

    def problem(self, value: Any) -> FieldError | None:
        digits = "{6}([0-9a-f]{2})?" if self.with_alpha else "{6}"
        return None if re.fullmatch(f"#[0-9a-f]{digits}", value) else NO_COLOUR

    def json_schema(self) -> Mapping[str, Any]:
        return {"type": "string", "pattern": "^#[0-9a-f]{6}$"}


class MoneyField(PluginField, kw_only=True, rename="camel"):
    """An amount of cents that is shown with its currency."""

    type_name: ClassVar[str] = "money"
    storage: ClassVar[Kind] = Kind.NUMBER

    currency: str = "EUR"

    def show(self, value: Any) -> Any:
        return {"amount": value / 100, "currency": self.currency}

    def wrong_options(self) -> Mapping[str, FieldError]:
        return (
            {} if len(self.currency) == 3 else {"currency": FieldError("currency_invalid", "Three letters.")}
        )


def paint(*types: Any) -> Any:
    @hookimpl
    def register_field_types() -> list[Any]:
        return list(types or (ColourField, MoneyField))

    return make_plugin("paint", register_field_types)


FIELDS = [
    {"name": "shade", "type": "colour", "required": True},
    {"name": "price", "type": "money", "currency": "CHF"},
]


async def things(app: PluginApp) -> None:
    await app.make_collection("things", FIELDS)
    await app.make_record("things", shade="#08F", price=250)
    await app.make_record("things", shade="#ffffff", price=99)


async def listed(app: PluginApp, **params: str) -> Any:
    answer = await app.send("GET", "things", params=params)
    assert answer.status_code == 200, answer.text
    return [item["shade"] for item in answer.json()["items"]]


async def test_values_are_read_checked_filtered_sorted_and_shown(app_with: AppWith) -> None:
    app = await app_with(paint())
    await things(app)
    for _ in range(5):  # also when the statements were learnt
        assert await listed(app, filter="price > 100") == ["#0088ff"]
        assert await listed(app, filter="shade ~ 'FFF'") == ["#ffffff"]
        assert await listed(app, sort="price") == ["#ffffff", "#0088ff"]
    item = (await app.send("GET", "things", params={"sort": "-price"})).json()["items"][0]
    assert item["price"] == {"amount": 2.5, "currency": "CHF"}
    wrong = await app.send("POST", "things", json={"shade": "blue"})
    assert wrong.json()["data"] == {
        "shade": {"code": "colour_invalid", "message": "Must be a colour such as #0080ff."}
    }
    blank = await app.send("POST", "things", json={})
    assert blank.json()["data"]["shade"]["code"] == "validation_required"
    changed = await app.send("PATCH", "things", item["id"], json={"shade": "#FFF"})
    assert changed.json()["shade"] == "#ffffff"


async def test_the_options_are_checked_and_the_document_knows_the_type(app_with: AppWith) -> None:
    app = await app_with(paint())
    await things(app)
    admin = await app.as_superuser()
    raw = {"name": "other", "fields": [{"name": "price", "type": "money", "currency": "dollars"}]}
    refused = await app.ask("POST", "/api/collections", user=admin, json=raw)
    assert [each["currency"]["code"] for each in refused.json()["data"]["fields"].values()] == [
        "currency_invalid"
    ]
    document = (await app.ask("GET", "/api/openapi.json", user=admin)).text
    assert '"pattern":"^#[0-9a-f]{6}$"' in document.replace(": ", ":").replace(", ", ",")


async def test_plan_and_apply_make_fields_of_the_type(app_with: AppWith) -> None:
    app = await app_with(paint())
    fields = {"shade": {"type": "colour", "withAlpha": True}}
    declared = read_document({"collections": [{"name": "things", "type": "base", "fields": fields}]})
    await app.services.planner.apply(declared)
    things = app.services.schema.current.find("things")
    shown = declaration(things, app.services.schema.current)
    assert shown["fields"] == {"shade": {"type": "colour", "withAlpha": True}}
    assert (await app.services.planner.plan(declared)).steps == ()
    # The same file is still right when the plugin is gone: nothing is to be done.
    remove_words(app.plugins)
    app = await app_with()
    assert (await app.services.planner.plan(declared)).steps == ()
    wrong = read_document(
        {"collections": [{"name": "things", "type": "base", "fields": {"new": {"type": "colour"}}}]}
    )
    with pytest.raises(BadFile, match="unknown type 'colour'"):
        await app.services.planner.plan(wrong)


async def test_without_its_plugin_a_field_keeps_its_values_and_everything_else_goes_on(
    app_with: AppWith,
) -> None:
    app = await app_with(paint())
    await things(app)
    await app.services.collections.update("things", {"listRule": "shade != ''"})
    remove_words(app.plugins)
    app = await app_with()
    record = (await app.send("GET", "things", params={"filter": "price = 250"})).json()["items"][0]
    assert (record["shade"], record["price"]) == ("#0088ff", 250)
    admin = await app.as_superuser()
    # What others sent or changed is not the field's matter.
    fields = (await app.ask("GET", "/api/collections/things", user=admin)).json()["fields"]
    assert [field.get("currency") for field in fields if field["type"] == "money"] == ["CHF"]
    more = {"fields": [*fields, {"name": "note", "type": "text"}]}
    changed = await app.ask("PATCH", "/api/collections/things", user=admin, json=more)
    assert changed.status_code == 200, changed.text
    kept = await app.send("PATCH", "things", record["id"], json={"note": "a", "price": 250})
    assert (kept.status_code, kept.json()["price"]) == (200, 250)
    refused = await app.send("PATCH", "things", record["id"], json={"price": 1})
    assert refused.json()["data"]["price"]["code"] == "validation_missing_plugin"
    assert (await app.send("POST", "things", json={"note": "new"})).status_code == 200
    made = await app.ask(
        "POST", "/api/collections", user=admin,
        json={"name": "other", "fields": [{"name": "c", "type": "colour", "storage": "text"}]},
    )  # fmt: skip
    assert "validation_unknown_field_type" in made.text
    findings = [finding.text async for finding in examine_services(app.services) if not finding.sound]
    assert "things.shade: nobody knows the field type colour; it can be read and not changed" in findings
    # And when it is back, everything is as it was.
    app = await app_with(paint())
    again = (await app.send("GET", "things", record["id"])).json()
    assert again["price"] == {"amount": 2.5, "currency": "CHF"}


class Raising(PluginField, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "hostile"

    def read(self, raw: Any) -> Any:
        raise RuntimeError("secret")


class Rubbish(PluginField, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "hostile"

    def read(self, raw: Any) -> Any:
        return object()


class Unshowable(PluginField, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "hostile"

    def show(self, value: Any) -> Any:
        return object()


class Strange(PluginField, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "hostile"

    def problem(self, value: Any) -> Any:
        return "no"


@pytest.mark.parametrize("hostile", [Raising, Rubbish, Unshowable, Strange])
async def test_a_type_that_fails_is_named_and_nothing_of_it_is_stored_or_told(
    app_with: AppWith, hostile: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = await app_with(paint(hostile))
    await app.make_collection("things", [{"name": "odd", "type": "hostile"}])
    answer = await app.send("POST", "things", json={"odd": "x"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Plugin paint failed in field type hostile" in caplog.text


class Underivable(TextField, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "mytext"


class Taken(PluginField, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "text"


class Listed(PluginField, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "listed"
    storage: ClassVar[Kind] = Kind.MULTI


class Demanding(PluginField, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "demanding"

    size: int


@pytest.mark.parametrize(
    ("field_type", "reason"),
    [
        (Underivable, "must be derived from PluginField"),
        (Taken, "the field type text is there already"),
        (Listed, "its storage is one of text, number, bool, date, json"),
        (Demanding, "every option needs a default"),
        ("colour", "register_field_types: it is str, not a class"),
    ],
)
async def test_a_type_that_is_none_takes_its_plugin_out(
    app_with: AppWith, field_type: Any, reason: str
) -> None:
    app = await app_with(paint(field_type))
    assert reason in app.plugins.broken[0].reason
