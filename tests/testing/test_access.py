"""`assert_can` and `assert_cannot`: what they try, and how they explain themselves when they fail."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.errors import Forbidden
from groundplane.hooks import hookimpl
from groundplane.hooks.events import AccessRules, RecordSaving
from groundplane.testing.plugins import GUEST, AppWith, make_plugin

FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text", "max": 10},
    {"name": "owner", "type": "text"},
    {"name": "shut", "type": "bool"},
]


def says(name: str, **rules: Any) -> Any:
    @hookimpl(collections=["notes"])
    def access_rules() -> AccessRules:
        return AccessRules(**rules)

    return make_plugin(name, access_rules)


async def test_a_failure_names_the_rule_of_the_collection_that_decided(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("notes", FIELDS, updateRule="owner = @request.auth.id", deleteRule=None)
    user = await app.as_user()
    mine, other = [await app.make_record("notes", owner=owner) for owner in (user.id, "nobody")]
    await app.assert_can(user, "update", mine, title="a")
    await app.assert_cannot(user, "update", other, title="a")
    with pytest.raises(AssertionError) as failure:
        await app.assert_can(user, "update", other)
    said = str(failure.value)
    assert said.startswith(f"the account {user.id} may not update notes/{other['id']}\nthe answer was 404")
    assert "-> updateRule of notes: owner = @request.auth.id is false" in said
    with pytest.raises(AssertionError, match=r"may update notes/[^-]*-> updateRule of notes: .* is true"):
        await app.assert_cannot(user, "update", mine)
    with pytest.raises(AssertionError, match=r"deleteRule of notes: null \(superusers only\)"):
        await app.assert_can(user, "delete", mine)
    with pytest.raises(AssertionError, match=r'a guest may list notes[^-]*-> listRule of notes: ""'):
        await app.assert_cannot(GUEST, "list", "notes")


async def test_a_failure_names_the_plugin_that_decided(app_with: AppWith) -> None:
    app = await app_with(
        says("sharing", grant=["title = 'open'"]),
        says("tenant", restrict=["owner != 'x'"]),
        says("ban", deny=["shut = true"]),
    )
    await app.make_collection("notes", FIELDS, viewRule=None)
    opened = await app.make_record("notes", title="open", owner="y")
    foreign = await app.make_record("notes", title="open", owner="x")
    banned = await app.make_record("notes", title="open", shut=True)
    await app.assert_can(GUEST, "view", opened)
    with pytest.raises(AssertionError, match="-> grant of plugin sharing: title = 'open' is true"):
        await app.assert_cannot(GUEST, "view", opened)
    with pytest.raises(AssertionError) as failure:
        await app.assert_can(GUEST, "view", foreign)
    assert "-> restrict of plugin tenant: owner != 'x' is false" in str(failure.value)
    assert "   grant of plugin sharing: title = 'open' is true" in str(failure.value)
    with pytest.raises(AssertionError, match="-> deny of plugin ban: shut = true is true"):
        await app.assert_can(GUEST, "view", banned)
    with pytest.raises(AssertionError, match="a superuser stands above all rules"):
        await app.assert_cannot(await app.as_superuser(), "view", banned)


async def test_creating_is_explained_by_the_record_that_would_be(app_with: AppWith) -> None:
    app = await app_with(says("tenant", restrict=["owner != 'x'"]))
    await app.make_collection("notes", FIELDS, createRule="@request.body.title != 'no'")
    await app.assert_can(GUEST, "create", "notes", title="yes")
    await app.assert_cannot(GUEST, "create", "notes", title="no")
    with pytest.raises(AssertionError, match=r"-> createRule of notes: @request\.body\.title .* is false"):
        await app.assert_can(GUEST, "create", "notes", title="no")
    with pytest.raises(AssertionError, match="-> restrict of plugin tenant: owner != 'x' is false"):
        await app.assert_can(GUEST, "create", "notes", title="yes", owner="x")


async def test_a_refusal_that_no_rule_explains_is_said_to_be_a_hooks_or_a_checks(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None:
        if event.record["title"] == "no":
            raise Forbidden("Not that one.")

    app = await app_with(make_plugin("guard", record_saving))
    await app.make_collection("notes", FIELDS)
    for title, answer in (("no", "403 .*Not that one"), ("longer than ten", "validation_max_text")):
        with pytest.raises(AssertionError, match=rf"(?s){answer}.*a hook of a plugin or a check"):
            await app.assert_can(GUEST, "create", "notes", title=title)


async def test_a_listing_is_looked_through_beyond_its_first_page(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("notes", FIELDS, listRule="shut = false")
    records = await app.make_records("notes", 40, title=lambda number: f"n{number}")
    hidden = await app.make_record("notes", shut=True)
    await app.assert_can(GUEST, "list", records[-1])
    await app.assert_cannot(GUEST, "list", hidden)


async def test_explaining_does_nothing(app_with: AppWith) -> None:
    app = await app_with()
    await app.make_collection("notes", FIELDS, deleteRule="title = 'old'")
    note = await app.make_record("notes", title="old")
    explanation = await app.explain(GUEST, "delete", "notes", note["id"])
    assert explanation.allows
    assert str(explanation) == "the rules say yes:\n  -> deleteRule of notes: title = 'old' is true"
    await app.assert_can(GUEST, "view", note)
