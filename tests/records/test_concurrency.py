"""Many writers at once: nothing is lost, nothing dangles, nothing is there twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from groundplane.errors import Conflict, GroundplaneError, Invalid, NotFound, PreconditionFailed


async def outcomes(*attempts: Any) -> list[Any]:
    return list(await asyncio.gather(*attempts, return_exceptions=True))


async def test_no_increment_is_lost(base) -> None:
    await base.collection(
        "counters",
        {"name": "n", "type": "number"},
        {"name": "tags", "type": "select", "values": [str(n) for n in range(30)], "maxSelect": 30},
    )
    record = await base.create("counters")
    await asyncio.gather(
        *(base.update("counters", record["id"], {"n+": 1, "tags+": str(number)}) for number in range(30))
    )
    left = await base.view("counters", record["id"])
    assert left["n"] == 30
    assert len(left["tags"]) == 30


async def test_of_equal_unique_values_exactly_one_is_saved(base) -> None:
    await base.collection(
        "notes", {"name": "t", "type": "text"}, indexes=["CREATE UNIQUE INDEX `idx_t` ON `notes` (`t`)"]
    )
    found = await outcomes(*(base.create("notes", {"t": "same"}) for _ in range(10)))
    failures = [each for each in found if isinstance(each, Exception)]
    assert len(failures) == 9
    assert all(isinstance(each, Invalid) and set(each.data) == {"t"} for each in failures)
    assert (await base.listed("notes"))["totalItems"] == 1


async def test_one_account_id_in_two_collections_is_saved_once(base) -> None:
    account = {
        "id": "abcdefghijklmno",
        "email": "a@b.co",
        "password": "12345678",
        "passwordConfirm": "12345678",
    }
    await base.collection("left", type="auth")
    await base.collection("right", type="auth")
    found = await outcomes(*(base.create(name, account) for name in ("left", "right") * 2))
    assert sum(isinstance(each, dict) for each in found) == 1
    assert all(isinstance(each, dict | Invalid) for each in found)


@pytest.mark.parametrize("cascade", [False, True])
async def test_no_required_reference_dangles(base, cascade: bool) -> None:
    target = await base.collection("target")
    await base.collection(
        "refs",
        {
            "name": "rel",
            "type": "relation",
            "collectionId": target.id,
            "required": True,
            "cascadeDelete": cascade,
        },
    )
    for _ in range(15):
        wanted = (await base.create("target"))["id"]
        found = await outcomes(
            base.create("refs", {"rel": wanted}),
            base.delete("target", wanted),
            base.create("refs", {"rel": wanted}),
        )
        assert all(each is None or isinstance(each, dict | Invalid) for each in found)
    ids = set(await base.ids("target", perPage="1000"))
    assert {item["rel"] for item in (await base.listed("refs", perPage="1000"))["items"]} <= ids


async def test_records_that_refer_to_each_other_may_be_deleted_at_once(base) -> None:
    await base.collection("nodes")
    nodes = base.schema.find("nodes")
    fields = [
        *(field.to_json() for field in nodes.fields),
        {"name": "other", "type": "relation", "collectionId": nodes.id, "maxSelect": 5},
    ]
    await base.collections.update("nodes", {"fields": fields})
    for _ in range(10):
        one, two = (await base.create("nodes"))["id"], (await base.create("nodes"))["id"]
        await base.update("nodes", one, {"other": [two]})
        await base.update("nodes", two, {"other": [one]})
        found = await outcomes(base.delete("nodes", one), base.delete("nodes", two))
        assert found == [None, None]
    assert (await base.listed("nodes"))["totalItems"] == 0


async def test_superusers_that_delete_each_other_leave_one(base, superuser) -> None:
    account = {"password": "1234567890", "passwordConfirm": "1234567890"}
    ids = [
        (await base.create("_superusers", account | {"email": f"{name}@b.co"}, info=superuser))["id"]
        for name in "abc"
    ]
    found = await outcomes(*(base.delete("_superusers", each, superuser) for each in ids))
    assert sum(isinstance(each, Invalid) for each in found) == 1
    assert (await base.listed("_superusers", superuser))["totalItems"] == 1


async def test_an_update_and_a_delete_at_once(base) -> None:
    await base.collection("notes", {"name": "n", "type": "number"})
    for _ in range(10):
        record = await base.create("notes")
        found = await outcomes(
            *(base.update("notes", record["id"], {"n+": 1}) for _ in range(3)),
            base.delete("notes", record["id"]),
        )
        assert all(each is None or isinstance(each, dict | NotFound) for each in found)
    assert (await base.listed("notes"))["totalItems"] == 0


async def test_a_field_that_becomes_a_list_and_back_under_load_refuses_nobody(base) -> None:
    kind = {"name": "tag", "type": "select", "values": ["a", "b", "c"], "maxSelect": 1}
    await base.collection("notes", kind)
    await base.create("notes", {"tag": "a"})
    done = asyncio.Event()
    problems: list[BaseException] = []

    async def read_and_write() -> None:
        while not done.is_set():
            try:
                await base.listed("notes", filter="tag ~ 'a' && tag:length = 1", sort="-tag")
                await base.create("notes", {"tag": "b"})
            except GroundplaneError as error:
                problems.append(error)

    async def change() -> None:
        for number in range(6):
            fields = [field.to_json() for field in base.schema.find("notes").fields]
            for field in fields:
                if field["name"] == "tag":
                    field["maxSelect"] = 1 + (number + 1) % 2
            await base.collections.update("notes", {"fields": fields})
        done.set()

    await asyncio.gather(change(), read_and_write(), read_and_write())
    assert problems == []


async def test_a_schema_change_under_load_loses_nothing(base) -> None:
    await base.collection("notes", {"name": "n", "type": "number"})
    record = await base.create("notes")
    done = asyncio.Event()
    problems: list[BaseException] = []
    count = 0

    async def write() -> None:
        nonlocal count
        while not done.is_set():
            try:
                await base.update("notes", record["id"], {"n+": 1})
                count += 1
                await base.listed("notes", sort="-n", filter="n >= 0")
                await base.create("notes", {"n": -1})
            except GroundplaneError as error:
                problems.append(error)

    async def change() -> None:
        for number in range(6):
            fields = [
                field.to_json()
                for field in base.schema.find("notes").fields
                if not field.name.startswith("x")
            ]
            fields.append({"name": f"x{number}", "type": "text"})
            await base.collections.update("notes", {"fields": fields})
        done.set()

    await asyncio.gather(change(), write(), write(), write())
    assert problems == []
    assert (await base.view("notes", record["id"]))["n"] == count


# Versions


async def test_a_version_names_one_state_of_a_record(base) -> None:
    await base.collection("notes", {"name": "n", "type": "number"})
    from groundplane.records.values import Submitted

    created = await base.records.create("notes", Submitted({"n": 1}), {}, base_info())
    viewed = await base.records.view("notes", created.record["id"], {}, base_info())
    assert created.etag == viewed.etag != ""
    await base.update("notes", created.record["id"], {"n": 2}, if_match=created.etag)
    for stale in (created.etag, '"0"', "nonsense", f"W/{created.etag}"):
        with pytest.raises(PreconditionFailed):
            await base.update("notes", created.record["id"], {"n": 3}, if_match=stale)
        with pytest.raises(PreconditionFailed):
            await base.records.delete("notes", created.record["id"], base_info(), if_match=stale)
    changed = await base.records.view("notes", created.record["id"], {}, base_info())
    assert changed.record["n"] == 2
    await base.update("notes", created.record["id"], {"n": 3}, if_match=f'"1", {changed.etag}')
    await base.update("notes", created.record["id"], {"n": 4}, if_match="*")
    with pytest.raises(NotFound):
        await base.update("notes", "missing", {}, if_match="*")


def base_info():
    from groundplane.context import RequestInfo

    return RequestInfo()


async def test_of_writers_with_one_version_only_the_first_succeeds(base) -> None:
    await base.collection("notes", {"name": "n", "type": "number"})
    from groundplane.records.values import Submitted

    created = await base.records.create("notes", Submitted({}), {}, base_info())
    found = await outcomes(
        *(base.update("notes", created.record["id"], {"n+": 1}, if_match=created.etag) for _ in range(8))
    )
    assert sum(isinstance(each, dict) for each in found) == 1
    assert (await base.view("notes", created.record["id"]))["n"] == 1


# Repeated creates


async def test_a_repeated_create_happens_once(base, upload) -> None:
    await base.collection("notes", {"name": "t", "type": "text"}, {"name": "f", "type": "file"})
    first = await base.create("notes", {"t": "x"}, ("f", upload("a.txt", b"1")), key="k1")
    again = await base.create("notes", {"t": "x"}, ("f", upload("a.txt", b"1")), key="k1")
    assert first == again
    assert (await base.listed("notes"))["totalItems"] == 1
    for other in ({"t": "y"}, {"t": "x"}):
        with pytest.raises(Conflict):
            await base.create("notes", other, key="k1")
    assert (await base.create("notes", {"t": "x"}, key="k2"))["id"] != first["id"]
    with pytest.raises(Invalid):
        await base.create("notes", {"t": "x"}, key="k" * 300)


async def test_repeated_creates_at_once_happen_once(base) -> None:
    await base.collection("notes", {"name": "t", "type": "text"})
    found = await asyncio.gather(*(base.create("notes", {"t": "x"}, key="k") for _ in range(8)))
    assert len({each["id"] for each in found}) == 1
    assert (await base.listed("notes"))["totalItems"] == 1


async def test_a_failed_create_may_be_repeated_under_its_key(base) -> None:
    await base.collection("notes", {"name": "t", "type": "text", "required": True})
    with pytest.raises(Invalid):
        await base.create("notes", {}, key="k")
    assert (await base.create("notes", {"t": "x"}, key="k"))["t"] == "x"


async def test_keys_belong_to_their_caller_and_collection(base, superuser) -> None:
    for name in ("notes", "others"):
        await base.collection(name, {"name": "t", "type": "text"})
    made = [
        await base.create("notes", {"t": "x"}, key="k"),
        await base.create("notes", {"t": "x"}, key="k", info=superuser),
        await base.create("others", {"t": "x"}, key="k"),
    ]
    assert len({each["id"] for each in made}) == 3


async def test_a_key_expires_after_a_day(base) -> None:
    await base.collection("notes", {"name": "t", "type": "text"})
    first = await base.create("notes", {"t": "x"}, key="k")
    await base.create("notes", {"t": "x"}, key="old")
    await base.db.execute("UPDATE _idempotency SET created = created - interval '25 hours'")
    assert (await base.create("notes", {"t": "other"}, key="k"))["id"] != first["id"]
    assert await base.db.fetchval("SELECT count(*) FROM _idempotency") == 1
