"""Collections as JSON: the way out, the way in, and what is added on the way."""

import json
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.errors import BadShape
from groundplane.schema.wire import collection_from_json, collection_to_json, scaffold, system_collections

EMPTY = Schema()
BASE_KEYS = [
    "id",
    "listRule",
    "viewRule",
    "createRule",
    "updateRule",
    "deleteRule",
    "name",
    "type",
    "fields",
    "indexes",
    "created",
    "updated",
    "system",
]
AUTH_KEYS = [
    "authRule",
    "manageRule",
    "authAlert",
    "oauth2",
    "passwordAuth",
    "mfa",
    "otp",
    "authToken",
    "passwordResetToken",
    "emailChangeToken",
    "verificationToken",
    "fileToken",
    "verificationTemplate",
    "resetPasswordTemplate",
    "confirmEmailChangeTemplate",
]


def new(**raw: Any) -> Collection:
    return collection_from_json(raw, base=None, schema=EMPTY)


def changed(base: Collection, **raw: Any) -> Collection:
    return collection_from_json(raw, base=base, schema=Schema([base]))


def names(collection: Collection) -> list[str]:
    return [field.name for field in collection.fields]


def test_the_example_of_the_contract() -> None:
    collection = new(id="pbc_1", name="tags", listRule="", viewRule="", created="2030-01-02 03:04:05.678Z")
    text = msgspec.json.encode(collection_to_json(collection)).decode()
    assert text == (
        '{"id":"pbc_1","listRule":"","viewRule":"","createRule":null,"updateRule":null,"deleteRule":null,'
        '"name":"tags","type":"base","fields":[{"autogeneratePattern":"[a-z0-9]{15}","help":"",'
        '"hidden":false,"id":"text3208210256","max":15,"min":15,"name":"id","pattern":"^[a-z0-9]+$",'
        '"presentable":false,"primaryKey":true,"required":true,"system":true,"type":"text"}],"indexes":[],'
        '"created":"2030-01-02 03:04:05.678Z","updated":"","system":false}'
    )


def test_the_keys_stand_in_the_order_of_the_contract() -> None:
    assert list(collection_to_json(scaffold("base"))) == BASE_KEYS
    assert list(collection_to_json(scaffold("view"))) == [*BASE_KEYS, "viewQuery"]
    assert list(collection_to_json(scaffold("auth"))) == [*BASE_KEYS, *AUTH_KEYS]


def test_scaffolds_are_blank_but_complete() -> None:
    auth = scaffold("auth")
    assert names(auth) == ["id", "password", "tokenKey", "email", "emailVisibility", "verified"]
    assert (auth.id, auth.name) == ("", "")
    token_key, email = auth.indexes
    assert token_key.startswith("CREATE UNIQUE INDEX `idx_tokenKey_")
    assert token_key.endswith("` ON `` (`tokenKey`)")
    assert len(token_key.split("`")[1]) == len("idx_tokenKey_") + 10
    assert email.endswith("` ON `` (`email`) WHERE `email` != ''")
    assert names(scaffold("base")) == ["id"]
    assert names(scaffold("view")) == []
    assert scaffold("nonsense").type == "base"


def test_secrets_are_only_shown_when_asked_for() -> None:
    collection = new(name="u", type="auth", oauth2={"providers": [{"name": "google", "clientSecret": "s3"}]})
    shown = collection_to_json(collection)
    assert shown["authToken"] == {"duration": 432000}
    assert list(shown["oauth2"]["providers"][0]) == [
        "pkce",
        "name",
        "clientId",
        "authURL",
        "tokenURL",
        "userInfoURL",
        "displayName",
        "extra",
    ]
    stored = collection_to_json(collection, secrets=True)
    assert len(stored["authToken"]["secret"]) == 50
    assert stored["oauth2"]["providers"][0]["clientSecret"] == "s3"
    assert len({stored[key]["secret"] for key in AUTH_KEYS if key.endswith("Token")}) == 5


def test_default_templates_have_their_placeholders() -> None:
    shown = collection_to_json(scaffold("auth"))
    for key, page in (
        ("verificationTemplate", "confirm-verification"),
        ("resetPasswordTemplate", "confirm-password-reset"),
        ("confirmEmailChangeTemplate", "confirm-email-change"),
    ):
        assert f'href="{{APP_URL}}/_/#/auth/{page}/{{TOKEN}}"' in shown[key]["body"]
    assert "{OTP}" in shown["otp"]["emailTemplate"]["body"]
    assert "{ALERT_INFO}" in shown["authAlert"]["emailTemplate"]["body"]


def test_ids_are_checksums_of_type_and_name() -> None:
    ids = {collection.name: collection.id for collection in system_collections()}
    assert ids == {
        "_superusers": "pbc_3142635823",
        "_externalAuths": "pbc_2281828961",
        "_mfas": "pbc_2279338944",
        "_otps": "pbc_1638494021",
        "_authOrigins": "pbc_4275539003",
        "users": "_pb_users_auth_",
    }


def test_a_taken_id_gets_the_first_free_number() -> None:
    first = new(name="tags")
    second = collection_from_json({"name": "tags"}, base=None, schema=Schema([first]))
    third = collection_from_json({"name": "tags"}, base=None, schema=Schema([first, second]))
    assert (second.id, third.id) == (first.id + "2", first.id + "3")


def test_system_collections_are_as_in_the_contract() -> None:
    by_name = {collection.name: collection for collection in system_collections()}
    superusers = by_name["_superusers"]
    assert superusers.options is not None
    assert superusers.options.auth_token.duration == 86400
    assert superusers.list_rule is None
    assert superusers.system
    assert all(field.system for field in superusers.fields)
    assert names(by_name["_otps"]) == [
        "id",
        "collectionRef",
        "recordRef",
        "password",
        "sentTo",
        "created",
        "updated",
    ]
    assert (by_name["_mfas"].delete_rule, by_name["_mfas"].view_rule) == (None, by_name["_otps"].view_rule)
    assert by_name["_authOrigins"].delete_rule == by_name["_externalAuths"].list_rule
    users = by_name["users"]
    assert not users.system
    assert users.create_rule == ""
    assert users.options is not None
    assert users.options.oauth2.mappedFields.avatarURL == "avatar"
    assert users.indexes == (
        "CREATE UNIQUE INDEX `idx_tokenKey__pb_users_auth_` ON `users` (`tokenKey`)",
        "CREATE UNIQUE INDEX `idx_email__pb_users_auth_` ON `users` (`email`) WHERE `email` != ''",
    )


IMPORTED = (
    "users",
    "demo1",
    "demo2",
    "demo4",
    "nologin",
    "view1",
    "view2",
    "_superusers",
    "_otps",
    "_authOrigins",
)


def imported(data: Path, name: str) -> dict[str, Any]:
    """A collection as an installation of PocketBase 0.39 stores it, in the shape of the API."""
    with sqlite3.connect(f"file:{data}?mode=ro&immutable=1", uri=True) as source:
        source.row_factory = sqlite3.Row
        row = dict(source.execute("SELECT * FROM _collections WHERE name = ?", (name,)).fetchone())
    source.close()
    options = json.loads(row.pop("options"))
    row |= {"fields": json.loads(row["fields"]), "indexes": json.loads(row["indexes"])}
    return row | {"system": bool(row["system"])} | options


@pytest.mark.parametrize("name", IMPORTED)
def test_a_real_collection_passes_without_loss(real_inputs: Path, name: str) -> None:
    raw = imported(real_inputs / "pocketbase-0.39" / "data.db", name)
    shown = collection_to_json(new(**raw), secrets=True)
    for field in raw["fields"]:
        if field["type"] != "autodate":
            field.setdefault("help", "")  # older installations did not have it
    if raw["type"] == "auth":
        raw["oauth2"]["providers"] = raw["oauth2"]["providers"] or []
    assert collection_to_json(new(**shown), secrets=True) == shown
    for position, index in enumerate(shown["indexes"]):
        if raw["name"].lower() not in raw["indexes"][position].lower().partition(" on ")[2]:
            # Written for the table under an earlier name, so the statement was rewritten.
            assert f" ON `{raw['name']}` (" in index
            raw["indexes"][position] = index
    assert shown == raw


def test_fields_without_id_get_one_made_of_type_and_name() -> None:
    collection = new(name="c", fields=[{"type": "text", "name": "id"}, {"type": "number", "name": "n"}])
    assert [field.id for field in collection.fields] == ["text3208210256", f"number{zlib.crc32(b'n')}"]


def test_a_field_without_id_replaces_an_earlier_one_of_its_name() -> None:
    collection = new(
        name="c",
        fields=[
            {"type": "text", "name": "a", "id": "first"},
            {"type": "text", "name": "b"},
            {"type": "number", "name": "a"},
        ],
    )
    replaced = collection.fields[1]
    assert (replaced.id, replaced.name, replaced.type_name) == ("first", "a", "number")
    assert names(collection) == ["id", "a", "b"]


def test_of_two_fields_with_one_id_the_later_stays() -> None:
    collection = new(
        name="c",
        fields=[{"type": "text", "name": "a", "id": "x"}, {"type": "text", "name": "b", "id": "x"}],
    )
    assert names(collection) == ["id", "b"]


def test_a_generated_id_that_is_taken_gets_a_number() -> None:
    taken = new(name="c", fields=[{"type": "text", "name": "a"}]).fields[1].id
    collection = new(
        name="c", fields=[{"type": "bool", "name": "z", "id": taken}, {"type": "text", "name": "a"}]
    )
    assert collection.fields[2].id == taken + "2"


def test_the_id_field_is_put_first_and_forced_into_shape() -> None:
    collection = new(
        name="c",
        fields=[{"type": "text", "name": "a"}, {"type": "text", "name": "id", "hidden": True, "max": 50}],
    )
    assert names(collection) == ["a", "id"]
    shown = collection.fields[1].to_json()
    assert (shown["hidden"], shown["primaryKey"], shown["required"], shown["system"]) == (
        False,
        True,
        True,
        True,
    )
    assert (shown["pattern"], shown["max"]) == ("^[a-z0-9]+$", 50)
    assert names(new(name="c", fields=[{"type": "text", "name": "a"}])) == ["id", "a"]


def test_system_fields_of_another_type_become_the_proper_ones() -> None:
    collection = new(
        name="u",
        type="auth",
        fields=[{"type": "number", "name": "email"}, {"type": "password", "name": "password", "min": 20}],
    )
    assert names(collection) == ["id", "email", "password", "tokenKey", "emailVisibility", "verified"]
    assert collection.by_name["email"].type_name == "email"
    shown = collection.by_name["password"].to_json()
    assert (shown["min"], shown["hidden"], shown["system"], shown["required"]) == (20, True, True, True)


def test_missing_system_fields_come_back_under_their_stored_ids() -> None:
    stored = new(
        name="u",
        type="auth",
        fields=[
            {"type": "text", "name": "id", "id": "_pbf_text_id_"},
            {"type": "email", "name": "email", "id": "_pbf_auth_email_"},
        ],
    )
    after = changed(stored, fields=[{"type": "text", "name": "title"}])
    assert names(after) == ["id", "title", "password", "tokenKey", "email", "emailVisibility", "verified"]
    assert after.by_name["id"].id == "_pbf_text_id_"
    assert after.by_name["email"].id == "_pbf_auth_email_"
    assert after.by_name["password"].id == stored.by_name["password"].id


def test_a_change_keeps_what_it_does_not_mention() -> None:
    stored = new(
        name="c",
        listRule="",
        fields=[{"type": "text", "name": "a"}],
        indexes=["CREATE INDEX i ON c (a)"],
    )
    after = changed(stored, viewRule="a = 1", listRule=None)
    assert (after.list_rule, after.view_rule) == (None, "a = 1")
    assert (names(after), after.indexes, after.id) == (names(stored), stored.indexes, stored.id)


def test_indexes_follow_the_name_of_the_collection() -> None:
    stored = new(name="c", indexes=["CREATE INDEX i ON c (a)"])
    assert changed(stored, name="d").indexes == ("CREATE INDEX `i` ON `d` (`a`)",)


def test_missing_required_indexes_are_added_again() -> None:
    stored = new(name="u", type="auth")
    assert changed(stored, indexes=[]).indexes == stored.indexes
    own = ["CREATE UNIQUE INDEX a ON u (email COLLATE NOCASE)", "CREATE UNIQUE INDEX b ON u (tokenKey)"]
    assert list(changed(stored, indexes=own).indexes) == own


def test_options_merge_deeply() -> None:
    stored = new(name="u", type="auth")
    after = changed(
        stored, authToken={"duration": 100}, otp={"emailTemplate": {"subject": "S"}}, MFA={"rule": "x"}
    )
    assert stored.options is not None
    assert after.options is not None
    assert after.options.auth_token.duration == 100
    assert after.options.auth_token.secret == stored.options.auth_token.secret
    assert after.options.otp.email_template.subject == "S"
    assert after.options.otp.email_template.body == stored.options.otp.email_template.body
    assert after.options.mfa.rule == "x"
    assert stored.options.mfa.rule == ""


def test_an_unseen_provider_secret_is_kept_by_name_and_else_by_position() -> None:
    stored = new(
        name="u",
        type="auth",
        oauth2={
            "providers": [
                {"name": "google", "clientId": "g", "clientSecret": "gs", "authURL": "https://g.example"},
                {"name": "github", "clientId": "h", "clientSecret": "hs"},
            ]
        },
    )
    after = changed(stored, oauth2={"providers": [{"name": "github"}, {"name": "gitlab", "clientId": "l"}]})
    assert after.options is not None
    github, gitlab = after.options.oauth2.providers
    assert (github.clientId, github.clientSecret) == ("h", "hs")
    assert (gitlab.clientId, gitlab.clientSecret, gitlab.authURL) == ("l", "hs", "")
    assert changed(stored, oauth2={"providers": None}).options.oauth2.providers == []


def test_a_mapping_to_a_missing_field_is_dropped() -> None:
    collection = new(
        name="u",
        type="auth",
        fields=[{"type": "text", "name": "nick"}],
        oauth2={"mappedFields": {"name": "nick", "username": "nope"}},
    )
    assert collection.options is not None
    mapped = collection.options.oauth2.mappedFields
    assert (mapped.name, mapped.username) == ("nick", "")


def test_another_auth_rule_ends_all_sessions() -> None:
    stored = new(name="u", type="auth")
    assert stored.options is not None
    same = changed(stored, authRule="")
    other = changed(stored, authRule="verified = true")
    assert same.options.auth_token.secret == stored.options.auth_token.secret
    assert other.options.auth_token.secret != stored.options.auth_token.secret
    assert other.options.file_token.secret == stored.options.file_token.secret


def test_superusers_always_have_a_password_and_never_oauth2() -> None:
    stored = next(each for each in system_collections() if each.name == "_superusers")
    after = changed(
        stored,
        passwordAuth={"enabled": False},
        oauth2={"enabled": True, "providers": [{"name": "google"}]},
        otp={"enabled": True},
    )
    assert after.options is not None
    assert (after.options.password_auth.enabled, after.options.oauth2.enabled) == (True, False)
    assert (after.options.oauth2.providers, after.options.mfa.enabled) == ([], True)


def test_a_change_to_another_type_has_that_types_options_unset() -> None:
    after = changed(new(name="c"), type="auth")
    assert after.options is not None
    assert after.options.auth_token.secret == ""
    assert changed(new(name="u", type="auth"), type="base").options is None


def test_keys_are_matched_in_any_case_and_unknown_ones_ignored() -> None:
    collection = new(NAME="c", ListRule="", nonsense=1, Fields=[{"Type": "text", "NAME": "a", "x": 1}])
    assert (collection.name, collection.list_rule, names(collection)) == ("c", "", ["id", "a"])


@pytest.mark.parametrize(
    "raw",
    [
        {"name": 5},
        {"type": []},
        {"listRule": 5},
        {"system": "yes"},
        {"fields": {}},
        {"fields": ["a"]},
        {"fields": [{"name": "a"}]},
        {"fields": [{"name": "a", "type": "nonsense"}]},
        {"fields": [{"name": "a", "type": "text", "min": "1"}]},
        {"fields": [{"name": "a", "type": "text", "min": 10**30}]},
        {"fields": [{"name": "a", "type": "text", "min": 1.5}]},
        {"fields": [{"name": "a", "type": "bool", "required": 1}]},
        {"fields": [{"name": "a", "type": "select", "values": "x"}]},
        {"fields": [{"name": "a", "type": "select", "values": [1]}]},
        {"fields": [{"name": "a", "type": "date", "min": 5}]},
        {"fields": [{"name": "a\x00", "type": "text"}]},
        {"indexes": "x"},
        {"indexes": [1]},
        {"authToken": 5},
        {"authToken": {"duration": "1"}},
        {"oauth2": {"providers": [1]}},
        {"oauth2": {"providers": [{"extra": []}]}},
        {"passwordAuth": {"identityFields": [1]}},
        {"name": "a\ud800"},
        {"otp": {"emailTemplate": {"body": {"a": {}}}}},
    ],
)
def test_a_value_of_the_wrong_shape_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(BadShape):
        new(**raw)
    with pytest.raises(BadShape):
        changed(new(name="u", type="auth"), **raw)


def test_null_leaves_options_at_their_defaults() -> None:
    collection = new(
        name=None,
        type=None,
        system=None,
        indexes=None,
        fields=[{"type": "text", "name": "a", "min": None, "help": None}, {"type": "number", "min": None}],
    )
    assert (collection.name, collection.type, collection.indexes) == ("", "base", ())
    assert collection.fields[1].to_json()["min"] == 0
    assert collection.fields[2].to_json()["min"] is None
