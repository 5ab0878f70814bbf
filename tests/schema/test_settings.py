"""What each field type's own options may be, and the options that all have."""

from typing import Any

import pytest

from groundplane.collections.checks import common_errors
from groundplane.errors import FieldError
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.registry import make_field

OTHER = Collection(id="other", name="other")
VIEW = Collection(id="view1", name="view1", type="view")


def errors(type: str, schema: Schema | None = None, **options: Any) -> dict[str, Any]:
    field = make_field({"type": type, "name": "f", "id": "f1", **options})
    collection = Collection(id="own", name="own", fields=[field])
    found = field.option_errors(collection, schema or Schema([OTHER, VIEW]))
    return {
        key: error.code
        if isinstance(error, FieldError)
        else {position: inner.code for position, inner in error.items()}
        for key, error in found.items()
    }


LOW = "validation_min_greater_equal_than_required"
HIGH = "validation_max_less_equal_than_required"
REGEX = "validation_invalid_regex"


@pytest.mark.parametrize(
    ("type", "options", "expected"),
    [
        ("text", {}, {}),
        ("text", {"min": 5, "max": 5}, {}),
        ("text", {"min": 5, "max": 4}, {"max": LOW}),
        ("text", {"min": -1}, {"min": LOW}),
        ("text", {"max": 2**53}, {"max": HIGH}),
        ("text", {"min": 2**53}, {"min": HIGH}),
        ("text", {"pattern": "(a"}, {"pattern": REGEX}),
        ("text", {"autogeneratePattern": "(a"}, {"autogeneratePattern": REGEX}),
        (
            "text",
            {"autogeneratePattern": "^a"},
            {"autogeneratePattern": "validation_invalid_autogenerate_pattern"},
        ),
        (
            "text",
            {"autogeneratePattern": "a{3}", "min": 4},
            {"autogeneratePattern": "validation_invalid_autogenerate_pattern_value"},
        ),
        ("text", {"autogeneratePattern": "a{3}", "min": 3, "pattern": "^a+$"}, {}),
        (
            "text",
            {"primaryKey": True, "hidden": True},
            {
                "pattern": "validation_required",
                "name": "validation_in_invalid",
                "required": "validation_required",
                "hidden": "validation_empty",
            },
        ),
        ("editor", {"maxSize": -1}, {"maxSize": LOW}),
        ("json", {"maxSize": 2**53}, {"maxSize": HIGH}),
        ("number", {"min": 1.5, "max": 2.5}, {}),
        ("number", {"min": 3, "max": 2}, {"max": "validation_min_number_constraint"}),
        (
            "number",
            {"min": 1.5, "max": 2.5, "onlyInt": True},
            {"min": "validation_only_int_constraint", "max": "validation_only_int_constraint"},
        ),
        ("bool", {}, {}),
        ("email", {"onlyDomains": ["b.co", ""], "exceptDomains": []}, {}),
        (
            "email",
            {"onlyDomains": ["b.co"], "exceptDomains": ["c.co"]},
            {"exceptDomains": "validation_empty", "onlyDomains": "validation_empty"},
        ),
        (
            "url",
            {"onlyDomains": ["b.co", "localhost", "*.b.co", "b.co:80"]},
            {
                "onlyDomains": {
                    "1": "validation_is_domain",
                    "2": "validation_is_domain",
                    "3": "validation_is_domain",
                }
            },
        ),
        ("date", {"min": "2030-01-01", "max": "2020-01-01"}, {}),
        ("autodate", {}, {"onCreate": "validation_required", "onUpdate": "validation_required"}),
        ("autodate", {"onUpdate": True}, {}),
        ("select", {"values": ["a", "b"], "maxSelect": 2}, {}),
        ("select", {}, {"values": "validation_required"}),
        ("select", {"values": ["a"], "maxSelect": 2}, {"maxSelect": HIGH}),
        ("select", {"values": ["a"], "maxSelect": -1}, {"maxSelect": LOW}),
        ("relation", {"collectionId": "other"}, {}),
        ("relation", {"collectionId": "own"}, {}),
        ("relation", {}, {"collectionId": "validation_required"}),
        (
            "relation",
            {"collectionId": "nope"},
            {"collectionId": "validation_field_relation_missing_collection"},
        ),
        (
            "relation",
            {"collectionId": "view1"},
            {"collectionId": "validation_relation_field_non_view_base_collection"},
        ),
        ("relation", {"collectionId": "other", "minSelect": 2}, {"maxSelect": "validation_required"}),
        ("relation", {"collectionId": "other", "minSelect": 2, "maxSelect": 1}, {"maxSelect": LOW}),
        ("relation", {"collectionId": "other", "minSelect": -1}, {"minSelect": LOW}),
        ("relation", {"collectionId": "other", "maxSelect": -1}, {"maxSelect": LOW}),
        ("file", {"thumbs": ["100x50", "1x2t", "1x2b", "1x2f", "0x50", "50x0", ""]}, {}),
        (
            "file",
            {"thumbs": ["0x0", "0x0f", "x", "1x2c"]},
            {
                "thumbs": {
                    "0": "validation_not_in_invalid",
                    "1": "validation_not_in_invalid",
                    "2": "validation_match_invalid",
                    "3": "validation_match_invalid",
                }
            },
        ),
        ("file", {"maxSize": -1, "maxSelect": 2**53}, {"maxSize": LOW, "maxSelect": HIGH}),
        ("password", {"min": 1, "max": 71, "cost": 4}, {}),
        ("password", {"min": 72, "cost": 32}, {"min": HIGH, "max": None, "cost": HIGH}),
        (
            "password",
            {"min": 10, "max": 9, "cost": 3, "pattern": "["},
            {"max": LOW, "cost": LOW, "pattern": REGEX},
        ),
        ("geoPoint", {}, {}),
    ],
)
def test_options(type: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert errors(type, **options) == {key: code for key, code in expected.items() if code}


def test_a_sample_that_would_be_refused_is_shown() -> None:
    field = make_field({"type": "text", "autogeneratePattern": "abc", "pattern": "^x"})
    error = field.option_errors(Collection(id="c", name="c", fields=[field]), Schema())["autogeneratePattern"]
    assert (
        error.message == 'The provided autogenerate pattern could produce invalid field values, ex.: "abc".'
    )


def test_a_regular_expression_error_is_a_sentence() -> None:
    field = make_field({"type": "text", "pattern": "[z-a]"})
    error = field.option_errors(Collection(id="c", name="c", fields=[field]), Schema())["pattern"]
    assert error.message == "Error parsing regexp: invalid character class range: `z-a`."


def test_the_target_of_a_stored_relation_stays() -> None:
    stored = make_field({"type": "relation", "name": "f", "id": "f1", "collectionId": "other"})
    schema = Schema([OTHER, Collection(id="own", name="own", fields=[stored])])
    assert errors("relation", schema, collectionId="own") == {
        "collectionId": "validation_field_relation_change"
    }
    assert errors("relation", schema, collectionId="other") == {}
    assert errors("relation", schema, id="f2", collectionId="own") == {}


def test_the_times_of_a_system_autodate_stay() -> None:
    stored = make_field({"type": "autodate", "name": "f", "id": "f1", "onCreate": True, "system": True})
    schema = Schema([Collection(id="own", name="own", fields=[stored])])
    assert errors("autodate", schema, onCreate=True, onUpdate=True) == {
        "onUpdate": "validation_values_mismatch"
    }
    assert errors("autodate", schema, onUpdate=True) == {
        "onCreate": "validation_values_mismatch",
        "onUpdate": "validation_values_mismatch",
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"name": "a_1", "id": "any id!"}, {}),
        ({"name": "1a", "id": "i", "help": "x" * 300}, {}),
        ({"name": "", "id": ""}, {"name": "validation_required", "id": "validation_required"}),
        (
            {"name": "x" * 101, "id": "ä" * 51, "help": "x" * 301},
            dict.fromkeys(("name", "id", "help"), "validation_length_out_of_range"),
        ),
        ({"name": "a-b", "id": "i"}, {"name": "validation_match_invalid"}),
        ({"name": "ä", "id": "i"}, {"name": "validation_match_invalid"}),
        ({"name": "expand", "id": "i"}, {"name": "validation_not_in_invalid"}),
        ({"name": "Expand", "id": "i"}, {}),
        ({"name": "a_VIA_b", "id": "i"}, {"name": "validation_found_via"}),
    ],
)
def test_options_of_every_field(options: dict[str, Any], expected: dict[str, str]) -> None:
    found = common_errors(make_field({"type": "text", **options}))
    assert {key: error.code for key, error in found.items()} == expected


@pytest.mark.parametrize(
    ("type", "keys"),
    [
        ("text", "autogeneratePattern help hidden id max min name pattern presentable primaryKey required"),
        ("editor", "convertURLs help hidden id maxSize name presentable required"),
        ("number", "help hidden id max min name onlyInt presentable required"),
        ("bool", "help hidden id name presentable required"),
        ("email", "exceptDomains help hidden id name onlyDomains presentable required"),
        ("url", "exceptDomains help hidden id name onlyDomains presentable required"),
        ("date", "help hidden id max min name presentable required"),
        ("autodate", "hidden id name onCreate onUpdate presentable"),
        ("select", "help hidden id maxSelect name presentable required"),
        (
            "relation",
            "cascadeDelete collectionId help hidden id maxSelect minSelect name presentable required",
        ),
        ("file", "help hidden id maxSelect maxSize mimeTypes name presentable protected required"),
        ("json", "help hidden id maxSize name presentable required"),
        ("password", "cost help hidden id max min name pattern presentable required"),
        ("geoPoint", "help hidden id name presentable required"),
    ],
)
def test_a_field_shows_its_options_sorted(type: str, keys: str) -> None:
    shown = make_field({"type": type}).to_json()
    last = {"select": ["values"], "file": ["thumbs"]}.get(type, [])
    assert list(shown) == sorted([*keys.split(), "system", "type", *last])


def test_date_limits_are_normalised() -> None:
    shown = make_field({"type": "date", "min": "2030-01-02", "max": "nonsense"}).to_json()
    assert (shown["min"], shown["max"]) == ("2030-01-02 00:00:00.000Z", "")
