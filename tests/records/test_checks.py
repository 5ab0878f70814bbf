"""What makes a record invalid, and how it is told."""

from __future__ import annotations

import pytest

from groundplane.errors import FieldError, Invalid


async def test_all_fields_are_checked_and_told_of_together(base, failing) -> None:
    target = await base.collection("target")
    await base.collection(
        "strict",
        {"name": "t", "type": "text", "required": True},
        {"name": "n", "type": "number", "max": 5},
        {"name": "e", "type": "email"},
        {"name": "rel", "type": "relation", "collectionId": target.id},
        {"name": "rels", "type": "relation", "collectionId": target.id, "maxSelect": 5, "minSelect": 2},
        {"name": "f", "type": "file"},
        {"name": "s", "type": "select", "values": ["a"]},
    )
    with failing() as failure:
        await base.create(
            "strict", {"id": "x", "n": 6, "e": "no", "rel": "missing", "rels": ["a"], "f": "no.txt", "s": "b"}
        )
    assert failure.message == "Failed to create record."
    assert failure.codes == {
        "id": "validation_min_text_constraint",
        "t": "validation_required",
        "n": "validation_max_number_constraint",
        "e": "validation_is_email",
        "rel": "validation_missing_rel_records",
        "rels": "validation_not_enough_values",
        "f": "validation_invalid_file",
        "s": "validation_invalid_value",
    }


async def test_an_update_checks_unchanged_fields_too(base, failing) -> None:
    await base.collection("notes", {"name": "t", "type": "text"}, {"name": "n", "type": "number"})
    record = await base.create("notes")
    fields = [
        *({**field} for field in [each.to_json() for each in base.schema.find("notes").fields]),
    ]
    next(each for each in fields if each["name"] == "t")["required"] = True
    await base.collections.update("notes", {"fields": fields})
    with failing() as failure:
        await base.update("notes", record["id"], {"n": 1})
    assert (failure.message, failure.codes) == ("Failed to update record.", {"t": "validation_required"})


async def test_a_relation_needs_its_collection_and_all_its_records(base, failing) -> None:
    target = await base.collection("target")
    await base.collection(
        "refs", {"name": "rels", "type": "relation", "collectionId": target.id, "maxSelect": 3}
    )
    first, second = (await base.create("target"))["id"], (await base.create("target"))["id"]
    assert (await base.create("refs", {"rels": [second, first]}))["rels"] == [second, first]
    with failing() as failure:
        await base.create("refs", {"rels": [first, "missing"]})
    assert failure.codes == {"rels": "validation_missing_rel_records"}


async def test_a_relation_may_point_to_what_the_caller_may_not_see(base) -> None:
    target = await base.collection("target", viewRule=None, listRule=None)
    await base.collection("refs", {"name": "rel", "type": "relation", "collectionId": target.id})
    there = await base.create("target")
    assert (await base.create("refs", {"rel": there["id"]}))["rel"] == there["id"]


# Ids


async def test_an_id_is_generated_or_taken_as_sent(base) -> None:
    await base.collection("notes")
    generated = (await base.create("notes", {"id": ""}))["id"]
    assert len(generated) == 15
    assert (await base.create("notes", {"id": "abcdefghijklmno"}))["id"] == "abcdefghijklmno"


async def test_a_used_id_is_not_unique(base, failing) -> None:
    await base.collection("notes")
    await base.create("notes", {"id": "abcdefghijklmno"})
    with failing() as failure:
        await base.create("notes", {"id": "abcdefghijklmno"})
    assert failure.codes == {"id": "validation_not_unique"}


@pytest.mark.parametrize("submitted", ["bbbbbbbbbbbbbbb", "", None, 5])
async def test_an_id_cannot_change(base, failing, submitted: object) -> None:
    await base.collection("notes", {"name": "t", "type": "text"})
    record = await base.create("notes", {"id": "aaaaaaaaaaaaaaa"})
    with failing() as failure:
        await base.update("notes", record["id"], {"id": submitted, "t": "x"})
    assert failure.codes == {"id": "validation_pk_change"}
    assert (await base.update("notes", record["id"], {"id": record["id"], "t": "x"}))["t"] == "x"


def id_field(**options: object) -> dict[str, object]:
    return {
        "name": "id",
        "type": "text",
        "primaryKey": True,
        "required": True,
        "system": True,
        "min": 0,
        "max": 0,
        "pattern": "^.+$",
        "autogeneratePattern": "",
        **options,
    }


@pytest.mark.parametrize(
    ("submitted", "code"),
    [
        ("", "validation_required"),
        ("a.b", "validation_forbidden_pk_character"),
        ("a b", "validation_forbidden_pk_character"),
        ("a/b", "validation_forbidden_pk_character"),
        ("CoM1", "validation_reserved_pk"),
        ("FIRST", "validation_pk_invalid"),
        ("first", "validation_pk_invalid"),
    ],
)
async def test_ids_with_a_pattern_of_their_own(base, failing, submitted: str, code: str) -> None:
    await base.collection("custom", id_field())
    await base.create("custom", {"id": "first"})
    with failing() as failure:
        await base.create("custom", {"id": submitted})
    assert failure.codes == {"id": code}
    assert (await base.create("custom", {"id": "Ünicode-1"}))["id"] == "Ünicode-1"


# Unique indexes


async def test_every_plain_column_of_a_violated_index_is_told(base, failing) -> None:
    await base.collection(
        "pairs",
        {"name": "a", "type": "text"},
        {"name": "b", "type": "text"},
        {"name": "c", "type": "text"},
        indexes=[
            "CREATE UNIQUE INDEX `idx_pair` ON `pairs` (`a`, `b` COLLATE NOCASE)",
            "CREATE UNIQUE INDEX idx_expression ON pairs (lower(c)) WHERE c != ''",
        ],
    )
    await base.create("pairs", {"a": "1", "b": "X", "c": "Same"})
    with failing() as failure:
        await base.create("pairs", {"a": "1", "b": "x"})
    assert failure.codes == {"a": "validation_not_unique", "b": "validation_not_unique"}
    with failing() as failure:
        await base.create("pairs", {"a": "2", "c": "same"})
    assert (failure.message, failure.codes) == ("Failed to create record.", {})
    other = await base.create("pairs", {"a": "2"})
    with failing() as failure:
        await base.update("pairs", other["id"], {"a": "1", "b": "X"})
    assert failure.message == "Failed to update record."
    assert set(failure.codes) == {"a", "b"}


async def test_field_errors_hide_unique_errors(base, failing) -> None:
    await base.collection(
        "notes",
        {"name": "t", "type": "text"},
        {"name": "n", "type": "number", "max": 1},
        indexes=["CREATE UNIQUE INDEX `idx_t` ON `notes` (`t`)"],
    )
    await base.create("notes", {"t": "x"})
    with failing() as failure:
        await base.create("notes", {"t": "x", "n": 2})
    assert failure.codes == {"n": "validation_max_number_constraint"}


async def test_a_value_too_long_for_an_index_is_no_crash(base, failing) -> None:
    await base.collection(
        "notes", {"name": "t", "type": "text", "max": 100000},
        indexes=["CREATE INDEX `idx_t` ON `notes` (`t`)"],
    )  # fmt: skip
    import random

    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=50000))
    with failing() as failure:
        await base.create("notes", {"t": noise})
    assert (failure.message, failure.codes) == ("Failed to create record.", {})


async def test_the_error_carries_its_params(base) -> None:
    await base.collection("notes", {"name": "t", "type": "text", "min": 3})
    with pytest.raises(Invalid) as caught:
        await base.create("notes", {"t": "a"})
    assert caught.value.data == {
        "t": FieldError("validation_min_text_constraint", "Must be at least 3 character(s).", {"min": 3})
    }
