"""Rules: who may do what, and how a refusal looks."""

from __future__ import annotations

import pytest

from groundplane.errors import Forbidden, Invalid, NotFound

RULES = ("listRule", "viewRule", "createRule", "updateRule", "deleteRule")


async def test_null_rules_are_for_superusers_only(base, superuser, failing) -> None:
    await base.collection("closed", {"name": "t", "type": "text"}, **dict.fromkeys(RULES))
    record = await base.create("closed", {"t": "x"}, info=superuser)
    for attempt in (
        base.listed("closed"),
        base.view("closed", record["id"]),
        base.view("closed", "missing"),
        base.create("closed"),
        base.update("closed", record["id"], {"t": "y"}),
        base.update("closed", "missing"),
        base.delete("closed", record["id"]),
    ):
        with failing(Forbidden) as failure:
            await attempt
        assert failure.message == "Only superusers can perform this action."
    await base.update("closed", record["id"], {"t": "y"}, info=superuser)
    assert (await base.listed("closed", superuser))["totalItems"] == 1
    await base.delete("closed", record["id"], superuser)


async def test_a_rule_that_is_not_satisfied(base, failing) -> None:
    await base.collection("picky", {"name": "t", "type": "text"}, **dict.fromkeys(RULES, "t = 'yes'"))
    with failing(Invalid) as failure:
        await base.create("picky", {"t": "no"})
    assert (failure.message, failure.codes) == ("Failed to create record.", {})
    record = await base.create("picky", {"t": "yes"})
    # The update rule looks at the stored record, not at what it becomes.
    await base.update("picky", record["id"], {"t": "no"})
    assert (await base.listed("picky"))["items"] == []
    for attempt in (
        base.view("picky", record["id"]),
        base.update("picky", record["id"], {"t": "yes"}),
        base.delete("picky", record["id"]),
        base.view("picky", "missing"),
        base.update("picky", "missing"),
        base.delete("picky", "missing"),
    ):
        with failing(NotFound) as failure:
            await attempt
        assert (failure.message, failure.codes) == ("The requested resource wasn't found.", {})


async def test_a_failed_create_rule_hides_field_errors(base, failing) -> None:
    await base.collection("picky", {"name": "t", "type": "text", "required": True}, createRule="t = 'yes'")
    with failing() as failure:
        await base.create("picky", {"t": ""})
    assert failure.codes == {}


async def test_a_rule_broken_by_another_change(base, failing) -> None:
    other = await base.collection("other", {"name": "gone", "type": "text"})
    await base.collection(
        "broken",
        {"name": "t", "type": "text"},
        {"name": "rel", "type": "relation", "collectionId": other.id},
        **dict.fromkeys(RULES, "rel.gone = ''"),
    )
    record = await base.create("broken")
    await base.collections.update("other", {"fields": [{"name": "id", "type": "text", "primaryKey": True,
        "pattern": "^[a-z0-9]+$", "required": True, "system": True, "min": 15, "max": 15,
        "autogeneratePattern": "[a-z0-9]{15}"}]})  # fmt: skip
    with failing(Invalid) as failure:
        await base.listed("broken")
    assert failure.message == "Something went wrong while processing your request."
    with failing(Invalid) as failure:
        await base.create("broken")
    assert failure.message == "Failed to create record."
    for attempt in (
        base.view("broken", record["id"]),
        base.update("broken", record["id"]),
        base.delete("broken", record["id"]),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_views_cannot_be_written(base, failing) -> None:
    await base.collection("notes", {"name": "t", "type": "text"})
    await base.collection("seen", type="view", viewQuery="select id, t from notes")
    record = await base.create("notes", {"t": "x"})
    for attempt in (
        base.create("seen"),
        base.update("seen", record["id"]),
        base.delete("seen", record["id"]),
    ):
        with failing(Invalid) as failure:
            await attempt
        assert failure.message == "Unsupported collection type."
    assert (await base.view("seen", record["id"]))["t"] == "x"
    assert (await base.listed("seen"))["totalItems"] == 1


async def test_an_unknown_collection_is_missing(base, failing) -> None:
    for attempt in (
        base.listed("nope"),
        base.view("nope", "x"),
        base.create("nope"),
        base.delete("nope", "x"),
    ):
        with failing(NotFound) as failure:
            await attempt
        assert failure.message == "Missing collection context."


async def test_a_collection_is_found_by_its_id_and_by_its_name_in_any_case(base) -> None:
    collection = await base.collection("Notes", {"name": "t", "type": "text"})
    record = await base.create("nOTES", {"t": "x"})
    assert (await base.view(collection.id, record["id"]))["collectionName"] == "Notes"
    with pytest.raises(NotFound):
        await base.view(collection.id.upper(), record["id"])


@pytest.mark.parametrize("record_id", ["", "\x00", "x\x00", "'; drop table notes; --", "é" * 5000, "\ud800"])
async def test_an_impossible_id_is_not_found(base, record_id: str) -> None:
    await base.collection("notes", {"name": "t", "type": "text"})
    for attempt in (
        base.view("notes", record_id),
        base.update("notes", record_id),
        base.delete("notes", record_id),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_the_create_rule_sees_the_virtual_row(base, failing) -> None:
    await base.collection(
        "rows",
        {"name": "t", "type": "text"},
        {"name": "auto", "type": "text", "autogeneratePattern": "[a-z]{5}"},
        {"name": "verified", "type": "bool"},
        {"name": "tags", "type": "select", "values": ["a", "b"], "maxSelect": 2},
        {"name": "made", "type": "autodate", "onCreate": True},
        {"name": "at", "type": "date"},
        {"name": "j", "type": "json"},
        createRule=(
            "id != '' && auto = '' && made = '' && verified = false && tags:length = 2 && "
            "t = 'x' && at > '2029-01-01' && j.a = 1"
        ),
    )
    body = {"t": "x", "verified": True, "tags": ["a", "b"], "at": "2030-01-01", "j": {"a": 1}}
    created = await base.create("rows", body)
    assert created["verified"] is True
    assert created["auto"]
    assert created["made"]
    with failing():
        await base.create("rows", body | {"j": {"a": 2}})


async def test_the_create_rule_does_not_find_the_new_row_among_the_stored_ones(base, failing) -> None:
    await base.collection(
        "unique_by_rule", {"name": "t", "type": "text"}, createRule="@collection.unique_by_rule.t ?= t"
    )
    with failing():
        await base.create("unique_by_rule", {"t": "first"})


async def test_hostile_values_reach_no_rule_as_text(base, failing) -> None:
    await base.collection(
        "notes", {"name": "t", "type": "text"}, {"name": "j", "type": "json"}, createRule="t != 'no'"
    )
    hostile = "'); DROP TABLE notes; --"
    record = await base.create("notes", {"t": hostile, "j": {hostile: hostile}})
    assert (await base.view("notes", record["id"]))["t"] == hostile
    assert await base.ids("notes", filter=f't = "{hostile}"') == [record["id"]]
