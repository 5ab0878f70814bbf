"""Deleting: references, cascades, files and accounts."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.errors import Invalid, NotFound
from groundplane.records.deleting import REQUIRED_REFERENCE


def relation(name: str, collection: Any, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": "relation", "collectionId": collection.id, **options}


@pytest.fixture
async def family(base):
    target = await base.collection("target")
    await base.collection(
        "refs",
        relation("plain", target),
        relation("cascade", target, cascadeDelete=True),
        relation("needed", target, required=False),
        relation("many", target, maxSelect=9),
        relation("many_cascade", target, maxSelect=9, cascadeDelete=True),
        {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
        {"name": "f", "type": "file"},
    )
    base.one = (await base.create("target"))["id"]
    base.two = (await base.create("target"))["id"]
    return base


async def test_a_deleted_record_is_gone(family) -> None:
    await family.delete("target", family.one)
    with pytest.raises(NotFound):
        await family.view("target", family.one)
    with pytest.raises(NotFound):
        await family.delete("target", family.one)


async def test_plain_references_are_emptied_and_their_rows_dated(family) -> None:
    record = await family.create("refs", {"plain": family.one, "many": [family.one, family.two]})
    await family.delete("target", family.one)
    left = await family.view("refs", record["id"])
    assert (left["plain"], left["many"]) == ("", [family.two])
    assert left["updated"] > record["updated"]


async def test_a_cascading_reference_takes_its_row_with_it(family, upload) -> None:
    record = await family.create("refs", {"cascade": family.one}, ("f", upload("a.txt", b"x")))
    assert family.files_of("refs", record["id"]) == [record["f"]]
    await family.delete("target", family.one)
    assert (await family.listed("refs"))["totalItems"] == 0
    assert family.files_of("refs", record["id"]) == []


async def test_a_cascading_list_is_trimmed_while_something_remains(family) -> None:
    record = await family.create("refs", {"many_cascade": [family.one, family.two]})
    await family.delete("target", family.one)
    assert (await family.view("refs", record["id"]))["many_cascade"] == [family.two]
    await family.delete("target", family.two)
    assert (await family.listed("refs"))["totalItems"] == 0


@pytest.mark.parametrize("many", [False, True])
async def test_a_required_reference_forbids_the_delete(base, failing, many: bool) -> None:
    target = await base.collection("target")
    options = {"maxSelect": 5} if many else {}
    await base.collection("loose", relation("rel", target))
    await base.collection("refs", relation("rel", target, required=True, **options))
    wanted = (await base.create("target"))["id"]
    loose = (await base.create("loose", {"rel": wanted}))["id"]
    await base.create("refs", {"rel": wanted})
    with failing(Invalid) as failure:
        await base.delete("target", wanted)
    assert (failure.message, failure.codes) == (REQUIRED_REFERENCE, {})
    assert (await base.view("target", wanted))["id"] == wanted
    assert (await base.view("loose", loose))["rel"] == wanted


async def test_cascades_go_on_over_collections_and_ignore_rules(base) -> None:
    first = await base.collection("first")
    second = await base.collection("second", relation("up", first, cascadeDelete=True), deleteRule=None)
    await base.collection(
        "third", relation("up", second, cascadeDelete=True), deleteRule=None, updateRule=None
    )
    top = (await base.create("first"))["id"]
    for _ in range(3):
        middle = (await base.create("second", {"up": top}))["id"]
        await base.create("third", {"up": middle})
    await base.delete("first", top)
    for name in ("first", "second", "third"):
        assert (await base.listed(name))["totalItems"] == 0


async def test_records_that_refer_to_each_other_can_be_deleted(base) -> None:
    await base.collection("nodes")
    nodes = base.schema.find("nodes")
    fields = [
        *(field.to_json() for field in nodes.fields),
        relation("other", nodes, cascadeDelete=True),
        relation("must", nodes, required=False),
    ]
    await base.collections.update("nodes", {"fields": fields})
    one = (await base.create("nodes"))["id"]
    two = (await base.create("nodes", {"other": one, "must": one}))["id"]
    await base.update("nodes", one, {"other": two, "must": one})
    await base.delete("nodes", one)
    assert (await base.listed("nodes"))["totalItems"] == 0


async def test_a_long_chain_of_cascades_is_followed_to_its_end(base) -> None:
    await base.collection("nodes")
    nodes = base.schema.find("nodes")
    fields = [*(field.to_json() for field in nodes.fields), relation("up", nodes, cascadeDelete=True)]
    await base.collections.update("nodes", {"fields": fields})
    top = up = (await base.create("nodes"))["id"]
    for number in range(300):
        record_id = f"{number:015d}"
        await base.db.execute("INSERT INTO nodes (id, up) VALUES ($1, $2)", record_id, up)
        up = record_id
    await base.delete("nodes", top)
    assert (await base.listed("nodes"))["totalItems"] == 0


async def test_a_deleted_account_takes_what_belongs_to_it(base, superuser) -> None:
    users = base.schema.find("users")
    account = await base.create(
        "users", {"email": "a@b.co", "password": "12345678", "passwordConfirm": "12345678"}, info=superuser
    )
    other = await base.create(
        "users", {"email": "b@b.co", "password": "12345678", "passwordConfirm": "12345678"}, info=superuser
    )
    for owner in (account, other):
        ref = {"collectionRef": users.id, "recordRef": owner["id"]}
        await base.create("_mfas", ref | {"method": "password"}, info=superuser)
        await base.create("_otps", ref | {"password": "12345678"}, info=superuser)
        await base.create("_authOrigins", ref | {"fingerprint": "x"}, info=superuser)
        await base.create(
            "_externalAuths", ref | {"provider": "google", "providerId": owner["id"]}, info=superuser
        )
    await base.delete("users", account["id"], superuser)
    for name in ("_mfas", "_otps", "_authOrigins", "_externalAuths"):
        left = (await base.listed(name, superuser))["items"]
        assert [each["recordRef"] for each in left] == [other["id"]]


async def test_the_last_superuser_stays(base, superuser, failing) -> None:
    account = {"password": "1234567890", "passwordConfirm": "1234567890"}
    one = await base.create("_superusers", account | {"email": "a@b.co"}, info=superuser)
    two = await base.create("_superusers", account | {"email": "b@b.co"}, info=superuser)
    await base.delete("_superusers", one["id"], superuser)
    with failing(Invalid) as failure:
        await base.delete("_superusers", two["id"], superuser)
    assert failure.message == "You can't delete the only existing superuser."
