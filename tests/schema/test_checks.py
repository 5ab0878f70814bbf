"""What is wrong with a collection, by the paths and codes of the contract."""

from typing import Any

import pytest

from groundplane.collections.checks import collection_errors
from groundplane.errors import FieldError
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.registry import make_field
from groundplane.schema.wire import collection_from_json, system_collections

SYSTEM = system_collections()
LOW = "validation_min_greater_equal_than_required"


def new(**raw: Any) -> Collection:
    return collection_from_json({"name": "posts", **raw}, base=None, schema=Schema())


def changed(base: Collection, **raw: Any) -> Collection:
    return collection_from_json(raw, base=base, schema=Schema([base]))


def codes(tree: Any) -> Any:
    if isinstance(tree, FieldError):
        return tree.code
    return {key: codes(inner) for key, inner in tree.items()}


def errors(new: Collection, old: Collection | None = None, *others: Collection) -> Any:
    stored = [old] if old is not None else []
    return codes(collection_errors(new, old, Schema([*others, *stored])))


def test_complete_collections_are_fine() -> None:
    assert errors(new()) == {}
    assert errors(new(type="auth")) == {}
    for collection in SYSTEM:
        others = [each for each in SYSTEM if each is not collection]
        assert errors(collection, None, *others) == {}
        assert errors(collection, collection, *others) == {}


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("a_1", {}),
        ("x" * 101, {"id": "validation_length_out_of_range"}),
        ("a b", {"id": "validation_match_invalid"}),
        ("taken", {"id": "validation_invalid_or_existing_id"}),
    ],
)
def test_ids(id: str, expected: dict[str, str]) -> None:
    assert errors(new(id=id), None, Collection(id="taken", name="x")) == expected


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "validation_required"),
        ("x" * 256, "validation_length_out_of_range"),
        ("a_Via_b", "validation_found_via"),
        ("a-b", "validation_match_invalid"),
        ("ä", "validation_match_invalid"),
        ("a\n", "validation_match_invalid"),
        ("TAKEN", "validation_collection_name_exists"),
        ("other_id", "validation_collection_name_id_duplicate"),
        ("_Params", "validation_collection_name_invalid"),
        ("1a", None),
        ("_mine", None),
    ],
)
def test_names(name: str, code: str | None) -> None:
    found = errors(new(id="posts", name=name), None, Collection(id="other_id", name="taken"))
    assert found == ({"name": code} if code else {})


def test_what_may_not_change() -> None:
    stored = new()
    assert errors(changed(stored, system=True), stored) == {
        "system": "validation_collection_system_flag_change"
    }
    assert errors(changed(stored, name="other"), stored) == {}
    mfas = next(each for each in SYSTEM if each.name == "_mfas")
    assert errors(changed(mfas, name="x", listRule="", createRule=None), mfas) == {
        "name": "validation_collection_system_name_change",
        "listRule": "validation_collection_system_rule_change",
    }
    superusers = next(each for each in SYSTEM if each.is_superusers)
    after = changed(superusers, authRule=None, manageRule="id != ''", mfa={"rule": "id != ''"})
    assert errors(after, superusers) == {
        "authRule": "validation_collection_system_rule_change",
        "manageRule": "validation_collection_system_rule_change",
        "mfa": {"rule": "validation_collection_system_rule_change"},
    }


def test_another_type_is_told_together_with_its_missing_options() -> None:
    stored = new()
    found = errors(changed(stored, type="auth"), stored)
    assert found.pop("type") == "validation_collection_type_change"
    template = {"subject": "validation_required", "body": "validation_required"}
    token = {"secret": "validation_required", "duration": "validation_required"}
    assert found == {
        "authAlert": {"emailTemplate": template},
        "otp": {"emailTemplate": template},
        **dict.fromkeys(
            ("authToken", "passwordResetToken", "emailChangeToken", "verificationToken", "fileToken"), token
        ),
        **dict.fromkeys(
            ("verificationTemplate", "resetPasswordTemplate", "confirmEmailChangeTemplate"), template
        ),
    }
    view = errors(changed(stored, type="view"), stored)
    assert view == {"type": "validation_collection_type_change", "viewQuery": "validation_required"}


def test_an_unknown_type() -> None:
    assert errors(new(type="nonsense")) == {"type": "validation_in_invalid"}


def text(name: str, **options: Any) -> dict[str, Any]:
    return {"type": "text", "name": name, **options}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([text("a"), text("A")], {"2": {"name": "validation_duplicated_field_name"}}),
        ([{"type": "number", "name": "id"}], {"1": {"name": "validation_duplicated_field_name"}}),
        (
            [text("a-b"), text("b", max=-1), {"type": "select", "name": "c"}],
            {
                "1": {"name": "validation_match_invalid"},
                "2": {"max": "validation_min_greater_equal_than_required"},
                "3": {"values": "validation_required"},
            },
        ),
        (
            [text("key", primaryKey=True, required=True, pattern="a")],
            {
                "0": {"primaryKey": "validation_unsupported_composite_pk"},
                "1": {"primaryKey": "validation_unsupported_composite_pk", "name": "validation_in_invalid"},
            },
        ),
        ([text("password"), text("oldPassword")], {}),
    ],
)
def test_fields(fields: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert errors(new(fields=fields)) == ({"fields": expected} if expected else {})


def test_reserved_names_of_auth_collections() -> None:
    found = errors(new(type="auth", fields=[text("passwordConfirm"), text("ok"), text("oldPassword")]))
    assert found == {
        "fields": {
            "1": {"name": "validation_reserved_field_name"},
            "3": {"name": "validation_reserved_field_name"},
        }
    }


def test_system_fields_stay() -> None:
    stored = new(type="auth")

    def with_change(of: str, **change: Any) -> list[dict[str, Any]]:
        return [{**field.to_json(), **(change if field.name == of else {})} for field in stored.fields]

    assert errors(changed(stored, fields=[]), stored) == {}
    changed_error = {"fields": "validation_system_field_change"}
    assert errors(changed(stored, fields=with_change("email", name="mail")), stored) == changed_error
    assert errors(changed(stored, fields=with_change("email", id="other")), stored) == changed_error
    renamed = with_change("id", name="key")
    assert errors(changed(stored, fields=renamed), stored) == {"fields": "validation_missing_primary_key"}
    mfas = next(each for each in SYSTEM if each.name == "_mfas")
    assert errors(changed(mfas, fields=[]), mfas)["fields"] == "validation_system_field_change"


def test_a_field_does_not_change_its_type() -> None:
    stored = new(fields=[text("a", id="a1")])
    after = changed(stored, fields=[{"type": "number", "name": "a", "id": "a1"}])
    assert errors(after, stored) == {"fields": {"1": "validation_field_type_change"}}
    fresh = changed(stored, fields=[{"type": "number", "name": "a"}])
    assert errors(fresh, stored) == {}


def test_rules_must_compile_on_the_new_fields() -> None:
    rules = {
        "listRule": "a = 1",
        "viewRule": "nope = 1",
        "createRule": "a =",
        "updateRule": "",
        "deleteRule": None,
    }
    found = collection_errors(new(fields=[text("a")], **rules), None, Schema())
    assert codes(found) == {"viewRule": "validation_invalid_rule", "createRule": "validation_invalid_rule"}
    assert found["viewRule"].message.startswith("Invalid rule. Raw error: ")
    stored = new(fields=[text("a", id="a1")], listRule="a = 1")
    assert errors(changed(stored, fields=[text("b", id="a1")]), stored) == {
        "listRule": "validation_invalid_rule"
    }


def test_views_have_no_rules_for_writing_and_no_indexes() -> None:
    id_field = make_field(text("id", id="i", primaryKey=True, required=True, pattern="a", system=True))
    view = new(
        type="view",
        viewQuery="select id from x",
        createRule="",
        listRule="",
        indexes=["CREATE INDEX i ON x (a)"],
    )
    assert errors(view.replaced(fields=[id_field])) == {
        "createRule": "validation_nil",
        "indexes": "validation_indexes_not_supported",
    }
    assert errors(new(type="view", viewQuery=" ")) == {
        "fields": "validation_required",
        "viewQuery": "validation_required",
    }
    only = make_field(text("count(id)", id="c"))
    assert errors(new(type="view", viewQuery="x").replaced(fields=[only])) == {
        "fields": "validation_missing_primary_key"
    }
    assert errors(new(type="view", viewQuery="x").replaced(fields=[id_field, only])) == {
        "fields": {"1": {"name": "validation_match_invalid"}}
    }


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        (["CREATE INDEX i ON posts (a)", "CREATE UNIQUE INDEX j ON posts (a)"], None),
        (["nonsense"], {"0": "validation_invalid_index_expression"}),
        (["CREATE INDEX i ON x (a)", "CREATE INDEX I ON x (b)"], {"1": "validation_duplicated_index_name"}),
        (
            ["CREATE INDEX i ON x (a)", "create index j on y (`a`)"],
            {"1": "validation_duplicated_index_definition"},
        ),
        (["CREATE INDEX Used ON x (a)"], {"0": "validation_existing_index_name"}),
        (["nonsense", "nonsense"], {"0": "validation_invalid_index_expression"}),
    ],
)
def test_indexes(indexes: list[str], expected: Any) -> None:
    other = Collection(id="o", name="other", indexes=["CREATE INDEX used ON other (z)"])
    found = errors(new(fields=[text("a"), text("b")], indexes=indexes), None, other)
    assert found == ({"indexes": expected} if expected else {})


def test_a_unique_index_on_a_system_field_stays() -> None:
    stored = new(type="auth")
    both = [
        "CREATE UNIQUE INDEX x ON posts (tokenKey)",
        "CREATE UNIQUE INDEX y ON posts (email DESC) WHERE 1=1",
    ]
    assert errors(changed(stored, indexes=both), stored) == {}
    origins = next(each for each in SYSTEM if each.name == "_authOrigins")
    assert errors(changed(origins, indexes=[]), origins) == {
        "indexes": "validation_invalid_unique_system_field_index"
    }
    bare = stored.replaced(indexes=stored.indexes[:1])
    assert errors(bare)["indexes"] == "validation_missing_required_unique_index"


def option_errors(**options: Any) -> Any:
    fields = [text("nick"), text("tag")]
    return errors(new(type="auth", fields=fields, indexes=["CREATE UNIQUE INDEX n ON x (nick)"], **options))


GOOGLE = {"name": "google", "clientId": "c", "clientSecret": "s"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"manageRule": ""}, {"manageRule": "validation_nil_or_not_empty_required"}),
        ({"authRule": "nope = 1"}, {"authRule": "validation_invalid_rule"}),
        ({"authRule": None}, {}),
        ({"oauth2": {"enabled": True}}, {}),
        ({"oauth2": {"enabled": False, "providers": [{"name": "nope"}]}}, {}),
        (
            {"oauth2": {"enabled": True, "providers": [GOOGLE, {"name": "nope"}, {}]}},
            {
                "oauth2": {
                    "providers": {
                        "1": {
                            "name": "validation_missing_provider",
                            "clientId": "validation_required",
                            "clientSecret": "validation_required",
                        },
                        "2": dict.fromkeys(("name", "clientId", "clientSecret"), "validation_required"),
                    }
                }
            },
        ),
        (
            {"oauth2": {"enabled": True, "providers": [GOOGLE, GOOGLE]}},
            {"oauth2": {"providers": {"1": {"name": "validation_duplicated_provider"}}}},
        ),
        (
            {"oauth2": {"enabled": True, "providers": [{**GOOGLE, "authURL": "no url"}]}},
            {"oauth2": {"providers": {"0": {"authURL": "validation_is_url"}}}},
        ),
        ({"passwordAuth": {"identityFields": ["email", "nick"]}}, {}),
        (
            {"passwordAuth": {"identityFields": []}},
            {"passwordAuth": {"identityFields": "validation_required"}},
        ),
        (
            {"passwordAuth": {"identityFields": ["nope"]}},
            {"passwordAuth": {"identityFields": "validation_missing_field"}},
        ),
        (
            {"passwordAuth": {"identityFields": ["tag"]}},
            {"passwordAuth": {"identityFields": "validation_missing_unique_constraint"}},
        ),
        ({"passwordAuth": {"enabled": False, "identityFields": ["nope"]}}, {}),
        ({"mfa": {"enabled": True}}, {"mfa": {"enabled": "validation_mfa_not_enough_auths"}}),
        ({"mfa": {"enabled": True, "rule": "verified = true"}, "otp": {"enabled": True}}, {}),
        (
            {
                "mfa": {"enabled": True, "duration": 9, "rule": "nope"},
                "otp": {"enabled": True, "length": 3, "duration": 0},
            },
            {
                "mfa": {"duration": LOW, "rule": "validation_invalid_rule"},
                "otp": {"duration": "validation_required", "length": LOW},
            },
        ),
        ({"otp": {"enabled": False, "length": 1}}, {}),
        (
            {"otp": {"emailTemplate": {"body": ""}}},
            {"otp": {"emailTemplate": {"body": "validation_required"}}},
        ),
        (
            {"authToken": {"secret": "short", "duration": 94670857}},
            {
                "authToken": {
                    "secret": "validation_length_out_of_range",
                    "duration": "validation_max_less_equal_than_required",
                }
            },
        ),
        (
            {"verificationTemplate": {"subject": ""}},
            {"verificationTemplate": {"subject": "validation_required"}},
        ),
    ],
)
def test_auth_options(options: dict[str, Any], expected: Any) -> None:
    assert option_errors(**options) == expected
