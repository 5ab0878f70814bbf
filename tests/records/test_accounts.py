"""Auth records: the save form, who may set what, and which sessions end."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.errors import Invalid
from groundplane.security.passwords import verify

EMAIL = {"email": "new@b.co"}
PASSWORD = {"password": "12345678", "passwordConfirm": "12345678"}


@pytest.fixture
async def members(base):
    await base.collection(
        "members", {"name": "name", "type": "text"}, type="auth", manageRule="@request.auth.name = 'boss'"
    )
    base.ann = await base.create("members", PASSWORD | {"email": "ann@b.co", "name": "Ann"})
    base.boss = await base.create("members", PASSWORD | {"email": "boss@b.co", "name": "boss"})
    return base


async def stored(base, record: Any) -> dict[str, Any]:
    found = await base.records.find_one(base.schema.find("members"), 'r."id" = $1', record["id"])
    assert found is not None
    return found


def as_boss(base):
    return base.as_caller("members", base.boss)


def as_ann(base):
    return base.as_caller("members", base.ann)


async def test_secrets_are_shown_to_nobody(members, superuser) -> None:
    for record in (members.ann, await members.view("members", members.ann["id"], superuser)):
        assert "password" not in record
        assert "tokenKey" not in record
    row = await stored(members, members.ann)
    assert await verify("12345678", row["password"])
    assert len(row["tokenKey"]) >= 30


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ({}, {"password": "validation_required", "passwordConfirm": "validation_required"}),
        ({"password": "12345678"}, {"passwordConfirm": "validation_required"}),
        ({"passwordConfirm": "12345678"}, {"password": "validation_required", "passwordConfirm": "validation_values_mismatch"}),
        ({"password": "12345678", "passwordConfirm": "1234567"}, {"passwordConfirm": "validation_values_mismatch"}),
        (PASSWORD | {"verified": True}, {"verified": "validation_values_mismatch"}),
        (EMAIL | {"password": "1", "passwordConfirm": "1"}, {"password": "validation_min_text_constraint"}),
        (EMAIL | {"password": "1" * 72, "passwordConfirm": "1" * 72}, {"password": "validation_max_text_constraint"}),
        ({"password": "1" * 73, "passwordConfirm": "1" * 73}, {}),
        (PASSWORD | {"email": "no"}, {"email": "validation_is_email"}),
        (PASSWORD | {"email": "ann@b.co"}, {"email": "validation_not_unique"}),
    ],
)  # fmt: skip
async def test_the_form_of_a_new_account(members, failing, body: Any, codes: Any) -> None:
    with failing() as failure:
        await members.create("members", body)
    assert (failure.message, failure.codes) == ("Failed to create record.", codes)


async def test_form_errors_come_first_and_alone(members, failing) -> None:
    with failing() as failure:
        await members.create("members", {"email": "no", "password": "1"})
    assert failure.codes == {"passwordConfirm": "validation_required"}


async def test_a_long_password_of_a_superuser_is_a_field_error(members, failing, superuser) -> None:
    long = "é" * 37
    with failing() as failure:
        await members.create("members", EMAIL | {"password": long, "passwordConfirm": long}, info=superuser)
    assert failure.codes == {"password": "validation_invalid_value"}


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ({"email": "new@b.co"}, {"email": "validation_values_mismatch"}),
        ({"verified": True}, {"verified": "validation_values_mismatch"}),
        ({"password": "87654321"}, {"oldPassword": "validation_required", "passwordConfirm": "validation_required"}),
        (
            {"password": "87654321", "passwordConfirm": "87654321"},
            {"oldPassword": "validation_required"},
        ),
        (
            {"password": "87654321", "passwordConfirm": "87654321", "oldPassword": "wrong"},
            {"oldPassword": "validation_invalid_old_password"},
        ),
        ({"oldPassword": "12345678"}, {"password": "validation_required", "passwordConfirm": "validation_required"}),
    ],
)  # fmt: skip
async def test_what_an_account_may_not_change_by_itself(members, failing, body: Any, codes: Any) -> None:
    with failing() as failure:
        await members.update("members", members.ann["id"], body, info=as_ann(members))
    assert (failure.message, failure.codes) == ("Failed to update record.", codes)


async def test_an_account_changes_its_password_with_the_old_one(members) -> None:
    before = await stored(members, members.ann)
    body = {"password": "87654321", "passwordConfirm": "87654321", "oldPassword": "12345678"}
    await members.update("members", members.ann["id"], body, info=as_ann(members))
    after = await stored(members, members.ann)
    assert await verify("87654321", after["password"])
    assert after["tokenKey"] != before["tokenKey"]


async def test_other_changes_keep_password_and_sessions(members) -> None:
    before = await stored(members, members.ann)
    await members.update(
        "members", members.ann["id"], {"name": "Anne", "email": "ann@b.co"}, info=as_ann(members)
    )
    after = await stored(members, members.ann)
    assert (after["password"], after["tokenKey"]) == (before["password"], before["tokenKey"])


async def test_an_empty_password_leaves_the_old_one_only_if_it_is_not_submitted(members, failing) -> None:
    with failing() as failure:
        await members.update("members", members.ann["id"], {"password": ""}, info=as_ann(members))
    assert failure.codes == {"password": "validation_required"}


@pytest.mark.parametrize("who", ["manager", "superuser"])
async def test_managers_set_email_verified_and_password_directly(members, superuser, who: str) -> None:
    info = superuser if who == "superuser" else as_boss(members)
    before = await stored(members, members.ann)
    body = {"email": "new@b.co", "verified": True, "password": "87654321", "passwordConfirm": "87654321"}
    changed = await members.update("members", members.ann["id"], body, info=info)
    after = await stored(members, members.ann)
    assert (changed["email"], changed["verified"]) == ("new@b.co", True)
    assert await verify("87654321", after["password"])
    assert after["tokenKey"] != before["tokenKey"]


async def test_a_manager_creates_verified_accounts(members) -> None:
    created = await members.create("members", PASSWORD | EMAIL | {"verified": True}, info=as_boss(members))
    assert created["verified"] is True


async def test_hidden_keys_stay_closed_but_the_password_does_not(members, superuser) -> None:
    before = await stored(members, members.ann)
    await members.update("members", members.ann["id"], {"tokenKey": "x" * 40, "tokenKey:autogenerate": ""})
    assert (await stored(members, members.ann))["tokenKey"] == before["tokenKey"]
    await members.update("members", members.ann["id"], {"tokenKey:autogenerate": ""}, info=superuser)
    assert (await stored(members, members.ann))["tokenKey"] != before["tokenKey"]


async def test_rules_see_the_submitted_password(base) -> None:
    await base.collection("odd", type="auth", createRule="@request.body.password = '12345678'")
    await base.create("odd", PASSWORD | EMAIL)
    other = EMAIL | {"password": "87654321", "passwordConfirm": "87654321"}
    with pytest.raises(Invalid):
        await base.create("odd", other)


# Addresses


async def test_an_address_is_seen_by_whom_it_concerns(members, superuser) -> None:
    async def email_for(*info: Any) -> Any:
        return (await members.view("members", members.ann["id"], *info)).get("email")

    assert await email_for() is None
    assert await email_for(as_ann(members)) == "ann@b.co"
    assert await email_for(as_boss(members)) == "ann@b.co"
    assert await email_for(superuser) == "ann@b.co"
    await members.update("members", members.ann["id"], {"emailVisibility": True})
    assert await email_for() == "ann@b.co"


async def test_addresses_in_lists_and_expansions_follow_the_same_rule(members) -> None:
    collection = members.schema.find("members")
    await members.collection("refs", {"name": "who", "type": "relation", "collectionId": collection.id})
    await members.create("refs", {"who": members.ann["id"]})
    items = (await members.listed("members", as_ann(members)))["items"]
    assert [item.get("email") for item in items] == ["ann@b.co", None]
    for info, email in ((as_boss(members), "ann@b.co"), (as_ann(members), "ann@b.co")):
        item = (await members.listed("refs", info, expand="who"))["items"][0]
        assert item["expand"]["who"].get("email") == email
    guest = (await members.listed("refs", expand="who"))["items"][0]
    assert "email" not in guest["expand"]["who"]


# What follows from a change


@pytest.fixture
async def refs(members, superuser):
    ref = {"collectionRef": members.schema.find("members").id, "recordRef": members.ann["id"]}
    await members.create("_mfas", ref | {"method": "password"}, info=superuser)
    await members.create("_otps", ref | {"password": "12345678"}, info=superuser)
    await members.create("_authOrigins", ref | {"fingerprint": "x"}, info=superuser)
    await members.create("_externalAuths", ref | {"provider": "google", "providerId": "1"}, info=superuser)

    async def left() -> list[str]:
        names = ("_authOrigins", "_externalAuths", "_mfas", "_otps")
        return [name for name in names if (await members.listed(name, superuser))["totalItems"]]

    return left


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({"name": "Anne"}, ["_authOrigins", "_externalAuths", "_mfas", "_otps"]),
        ({"email": "new@b.co"}, ["_authOrigins", "_externalAuths", "_mfas"]),
        ({"password": "87654321", "passwordConfirm": "87654321"}, ["_externalAuths"]),
        ({"verified": True}, ["_authOrigins", "_mfas"]),
        ({"tokenKey:autogenerate": ""}, ["_authOrigins", "_externalAuths", "_mfas"]),
    ],
)
async def test_what_a_change_makes_invalid_is_removed(members, superuser, refs, body: Any, left: Any) -> None:
    before = await stored(members, members.ann)
    await members.update("members", members.ann["id"], body, info=superuser)
    assert await refs() == left
    rotated = (await stored(members, members.ann))["tokenKey"] != before["tokenKey"]
    assert rotated is ("_otps" not in left)


async def test_fields_saved_by_the_server_have_the_same_consequences(members, refs) -> None:
    collection = members.schema.find("members")
    before = await stored(members, members.ann)
    saved = await members.records.save_fields(collection, members.ann["id"], {"password": "a new hash"})
    assert saved["tokenKey"] != before["tokenKey"]
    assert await refs() == ["_externalAuths"]


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ({}, {"collectionRef": "validation_required", "recordRef": "validation_required"}),
        (
            {"collectionRef": "nope", "recordRef": "x"},
            {
                "collectionRef": "validation_invalid_collection_id",
                "recordRef": "validation_invalid_collection",
            },
        ),
        (
            {"collectionRef": "pbc_2279338944", "recordRef": "x"},
            {"collectionRef": "validation_invalid_collection_type", "recordRef": "validation_invalid_record"},
        ),
        (
            {"collectionRef": "_pb_users_auth_", "recordRef": "x\x00"},
            {"recordRef": "validation_invalid_record"},
        ),
    ],
)
async def test_rows_about_accounts_name_an_account(base, failing, superuser, body: Any, codes: Any) -> None:
    with failing() as failure:
        await base.create("_mfas", body | {"method": "x"}, info=superuser)
    assert failure.codes == codes


async def test_an_external_account_names_a_known_provider(members, failing, superuser) -> None:
    ref = {
        "collectionRef": members.schema.find("members").id,
        "recordRef": members.ann["id"],
        "providerId": "1",
    }
    with failing() as failure:
        await members.create("_externalAuths", ref | {"provider": "nope"}, info=superuser)
    assert failure.codes == {"provider": "validation_in_invalid"}


async def test_passwords_outside_of_accounts_are_shown_empty(members, superuser, refs) -> None:
    row = (await members.listed("_otps", superuser))["items"][0]
    assert (row["password"], row["sentTo"]) == ("", "")
    found = await members.records.find_one(members.schema.find("_otps"), "true")
    assert await verify("12345678", found["password"])


# Superusers and ids


async def test_superusers_are_always_verified_and_replace_the_installer(base, superuser) -> None:
    installer = "__pbinstaller@example.com"
    await base.create("_superusers", PASSWORD | {"email": installer}, info=superuser)
    created = await base.create(
        "_superusers", PASSWORD | {"email": "a@b.co", "verified": False}, info=superuser
    )
    assert created["verified"] is True
    left = (await base.listed("_superusers", superuser))["items"]
    assert [each["email"] for each in left] == ["a@b.co"]


async def test_an_account_id_is_unique_over_all_auth_collections(members, failing) -> None:
    await members.collection("others", type="auth")
    with failing() as failure:
        await members.create("others", PASSWORD | EMAIL | {"id": members.ann["id"]})
    assert failure.codes == {"id": "validation_invalid_auth_id"}
    with failing() as failure:
        await members.create("members", PASSWORD | EMAIL | {"id": members.ann["id"]})
    assert failure.codes == {"id": "validation_not_unique"}
