"""A change of a collection keeps the data that its fields carry on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from groundplane.collections.service import Collections
from groundplane.db.engine import Database
from groundplane.errors import Invalid, Unavailable
from groundplane.schema.collection import Collection
from groundplane.schema.wire import collection_to_json


def fields_of(collection: Collection) -> list[dict[str, Any]]:
    return collection_to_json(collection)["fields"]  # type: ignore[no-any-return]


async def make(collections: Collections, *fields: dict[str, Any], **more: Any) -> Collection:
    return await collections.create({"name": "things", "fields": list(fields), **more})


async def column(db: Database, name: str, table: str = "things") -> list[Any]:
    return [row[0] for row in await db.fetch(f'SELECT "{name}" FROM "{table}" ORDER BY "_row"')]


async def definition(db: Database, table: str, name: str) -> tuple[str, str | None, bool]:
    row = await db.fetchrow(
        "SELECT format_type(a.atttypid, a.atttypmod) AS type, pg_get_expr(d.adbin, d.adrelid) AS preset, "
        "a.attnotnull AS filled FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid "
        "AND d.adnum = a.attnum WHERE a.attrelid = to_regclass($1) AND a.attname = $2",
        f'"{table}"',
        name,
    )
    assert row is not None
    return row["type"], row["preset"], row["filled"]


async def indexes(db: Database, table: str) -> dict[str, str]:
    rows = await db.fetch("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1", table)
    return {row["indexname"]: row["indexdef"] for row in rows}


async def test_a_new_table_has_the_columns_of_the_storage_table(
    collections: Collections, db: Database
) -> None:
    await make(
        collections,
        {"name": "a", "type": "text"},
        {"name": "b", "type": "number"},
        {"name": "c", "type": "bool"},
        {"name": "d", "type": "date"},
        {"name": "e", "type": "select", "values": ["x", "y"], "maxSelect": 2},
        {"name": "f", "type": "json"},
        {"name": "g", "type": "geoPoint"},
    )
    found = {name: await definition(db, "things", name) for name in "abcdefg"}
    assert found == {
        "a": ("text", "''::text", True),
        "b": ("double precision", "0", True),
        "c": ("boolean", "false", True),
        "d": ("timestamp(3) with time zone", None, False),
        "e": ("text[]", "'{}'::text[]", True),
        "f": ("json", None, False),
        "g": ("point", "'(0,0)'::point", True),
    }


async def test_renaming_a_field_keeps_its_values(collections: Collections, db: Database) -> None:
    made = await make(collections, {"name": "title", "type": "text"})
    await db.execute("INSERT INTO things (id, title) VALUES ('r1', 'one')")
    fields = fields_of(made)
    fields[1]["name"] = "headline"
    await collections.update("things", {"fields": fields})
    assert await column(db, "headline") == ["one"]


async def test_two_fields_can_swap_their_names(collections: Collections, db: Database) -> None:
    made = await make(collections, {"name": "a", "type": "text"}, {"name": "b", "type": "text"})
    await db.execute("INSERT INTO things (id, a, b) VALUES ('r1', 'was a', 'was b')")
    fields = fields_of(made)
    fields[1]["name"], fields[2]["name"] = "b", "a"
    await collections.update("things", {"fields": fields})
    assert await column(db, "a") == ["was b"]
    assert await column(db, "b") == ["was a"]


async def test_three_fields_can_trade_names_while_one_of_a_freed_name_is_new(
    collections: Collections, db: Database
) -> None:
    made = await make(collections, *({"name": name, "type": "text"} for name in "abc"))
    await db.execute("INSERT INTO things (id, a, b, c) VALUES ('r1', 'A', 'B', 'C')")
    id_field, a, b, _ = fields_of(made)
    a["name"], b["name"] = "b", "c"
    # c is dropped while b takes its name, and a new field takes the name of a.
    await collections.update(
        "things", {"fields": [id_field, a, b, {"name": "a", "type": "number", "id": "new1"}]}
    )
    assert await column(db, "b") == ["A"]
    assert await column(db, "c") == ["B"]
    assert await column(db, "a") == [0.0]


async def test_renaming_a_collection_keeps_records_and_indexes(
    collections: Collections, db: Database
) -> None:
    await make(
        collections,
        {"name": "title", "type": "text"},
        indexes=["CREATE UNIQUE INDEX `idx_title` ON `things` (`title`)"],
    )
    await db.execute("INSERT INTO things (id, title) VALUES ('r1', 'one')")
    renamed = await collections.update("things", {"name": "items"})
    assert renamed.indexes == ("CREATE UNIQUE INDEX `idx_title` ON `items` (`title`)",)
    assert await column(db, "title", "items") == ["one"]
    assert "idx_title" in await indexes(db, "items")
    # The old name is free again.
    await make(collections, {"name": "title", "type": "text"})


async def test_a_single_value_becomes_a_list_and_the_last_of_a_list_a_single_value(
    collections: Collections, db: Database
) -> None:
    select = {"name": "tag", "type": "select", "values": ["x", "y", "z"], "maxSelect": 1}
    made = await make(collections, select)
    await db.execute("INSERT INTO things (id, tag) VALUES ('r1', 'x'), ('r2', '')")
    fields = fields_of(made)
    fields[1]["maxSelect"] = 3
    made = await collections.update("things", {"fields": fields})
    assert await column(db, "tag") == [["x"], []]
    assert await definition(db, "things", "tag") == ("text[]", "'{}'::text[]", True)
    await db.execute("UPDATE things SET tag = '{x,z}' WHERE id = 'r1'")
    fields = fields_of(made)
    fields[1]["maxSelect"] = 1
    await collections.update("things", {"fields": fields})
    assert await column(db, "tag") == ["z", ""]
    assert await definition(db, "things", "tag") == ("text", "''::text", True)


async def test_a_dropped_field_and_one_of_the_same_name_share_no_data(
    collections: Collections, db: Database
) -> None:
    made = await make(collections, {"name": "a", "type": "text"})
    await db.execute("INSERT INTO things (id, a) VALUES ('r1', 'old')")
    await collections.update(
        "things", {"fields": [fields_of(made)[0], {"id": "other", "name": "a", "type": "text"}]}
    )
    assert await column(db, "a") == [""]


async def test_relations_have_an_index_for_looking_back(collections: Collections, db: Database) -> None:
    made = await make(
        collections,
        {"name": "one", "type": "relation", "collectionId": "_pb_users_auth_", "maxSelect": 1},
        {"name": "many", "type": "relation", "collectionId": "_pb_users_auth_", "maxSelect": 5},
    )
    methods = {text.partition(" USING ")[2] for text in (await indexes(db, "things")).values()}
    assert {"btree (one)", "gin (many)"} <= methods
    fields = fields_of(made)
    fields[1]["maxSelect"] = 2
    made = await collections.update("things", {"fields": fields})
    methods = {text.partition(" USING ")[2] for text in (await indexes(db, "things")).values()}
    assert {"gin (one)", "gin (many)"} <= methods
    await collections.update("things", {"fields": fields_of(made)[:1]})
    assert set(await indexes(db, "things")) == {f"gp$pk${made.id}", f"gp$row${made.id}"}


async def test_names_longer_than_postgresql_allows_work(collections: Collections, db: Database) -> None:
    long = "n" * 200
    field = "f" * 90
    made = await collections.create({"name": long, "fields": [{"name": field, "type": "text"}]})
    await db.execute(f"INSERT INTO \"{made.table}\" (id, \"{made.fields[1].column}\") VALUES ('r1', 'x')")
    fields = fields_of(made)
    fields[1]["name"] = "g" * 90
    renamed = await collections.update(long, {"name": "m" * 250, "fields": fields})
    assert await column(db, renamed.fields[1].column, renamed.table) == ["x"]


async def test_columns_that_postgresql_names_itself_can_be_fields(
    collections: Collections, db: Database
) -> None:
    made = await make(collections, {"name": "ctid", "type": "text"}, {"name": "_row", "type": "number"})
    await db.execute(f"INSERT INTO things (id, \"{made.fields[1].column}\") VALUES ('r1', 'x')")
    assert await column(db, made.fields[1].column) == ["x"]


async def test_records_written_while_the_schema_changes_are_all_there(
    collections: Collections, db: Database
) -> None:
    made = await make(collections, {"name": "title", "type": "text"})
    written: list[str] = []
    stop = asyncio.Event()

    async def write(worker: int) -> None:
        number = 0
        while not stop.is_set():
            id = f"w{worker}n{number}"
            try:
                await db.execute("INSERT INTO things (id) VALUES ($1)", id)
            except Unavailable:
                continue
            written.append(id)
            number += 1

    writers = [asyncio.create_task(write(worker)) for worker in range(3)]
    for round in range(6):
        fields = [*fields_of(made)[:2], {"name": f"extra{round}", "type": "number"}]
        made = await collections.update("things", {"fields": fields})
    stop.set()
    await asyncio.gather(*writers)
    assert written
    assert sorted(await column(db, "id")) == sorted(written)


async def test_a_failing_change_leaves_table_and_schema_as_they_were(
    collections: Collections, db: Database
) -> None:
    made = await make(collections, {"name": "title", "type": "text"})
    await db.execute("INSERT INTO things (id, title) VALUES ('r1', 'same'), ('r2', 'same')")
    fields = fields_of(made)
    fields[1]["name"] = "headline"
    with pytest.raises(Invalid):
        await collections.update(
            "things",
            {"fields": fields, "indexes": ["CREATE UNIQUE INDEX `idx_h` ON `things` (`headline`)"]},
        )
    assert await column(db, "title") == ["same", "same"]
    assert collections.view("things").field("title") is not None


async def test_changes_made_at_once_by_two_processes_both_hold(
    collections: Collections, other_process: Collections
) -> None:
    await other_process.load()
    await asyncio.gather(
        *(collections.create({"name": f"mine{number}"}) for number in range(4)),
        *(other_process.create({"name": f"theirs{number}"}) for number in range(4)),
    )
    await collections.refresh()
    names = {collection.name for collection in collections.cache.current}
    assert {f"mine{n}" for n in range(4)} | {f"theirs{n}" for n in range(4)} <= names
