"""What a field type casts and passes is what PostgreSQL stores and gives back."""

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundplane.db.engine import Database
from groundplane.db.sql import ident
from groundplane.schema.fields.base import physical_name
from groundplane.schema.fields.registry import FIELD_TYPES, make_field

VALUES: dict[str, list[Any]] = {
    "text": ["", "ä👍\u2028", "x" * 5000],
    "editor": ["<p>a</p>"],
    "number": [0, -1.5, 1e308, 5e-324],
    "bool": [True, False],
    "email": ["a@b.co"],
    "url": ["https://b.co"],
    "date": ["", "2030-01-02 03:04:05.678Z", "0001-01-01 00:00:00.001Z", "9999-12-31 23:59:59.999Z"],
    "autodate": ["2030-01-02"],
    "select": ["a", []],
    "relation": ["abc", ["abc", "d,e", '"{}\\']],
    "file": [["a.txt", "b.txt"]],
    "json": [
        None,
        {"b": [1, None, "\x00\ud800"], "a": 1.5},
        "[" * 400 + "]" * 400,
        '{"b":1.50,"a":1e400,"a":"\\ud800\\u0000"}',
        "1e400",
        123456789.5,
        "text",
        "",
        False,
    ],
    "password": ["12345678"],
    "geoPoint": [{"lon": 181.5, "lat": 2}, {"lon": -1e300, "lat": 5e-324}, None],
}


async def test_stored_values_come_back(db: Database) -> None:
    for type, several in itertools.product(FIELD_TYPES, (1, 3)):
        field = make_field({"type": type, "name": "f", "maxSelect": several, "values": ["a"]})
        column, table = ident(field.column), f"kept_{type}_{several}"
        async with db.transaction() as connection:
            await connection.execute(f"CREATE TEMP TABLE {table} ({field.column_definition}) ON COMMIT DROP")
            await connection.execute(f"INSERT INTO {table} DEFAULT VALUES")
            unset = await connection.fetchval(f"SELECT {column} FROM {table}")
            assert field.from_column(unset) == field.zero, type
            for raw in VALUES[type]:
                value = field.from_input(raw)
                stored = await connection.fetchval(
                    f"UPDATE {table} SET {column} = $1 RETURNING {column}", value
                )
                assert field.from_column(stored) == value, type


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(st.characters(codec=None)),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(JSON, st.from_regex(r"[\[{\"\-0-9][\[\]{}\",:0-9a\\u ]{0,20}", fullmatch=True)))
async def test_json_that_passes_is_json_to_the_database(db: Database, raw: Any) -> None:
    field = make_field({"type": "json", "name": "f"})
    value = field.from_input(raw)
    if field.check(value) is None:
        assert await db.fetchval("SELECT $1::json", value) == value


async def test_a_table_of_ours_is_not_mistaken_for_one_of_the_system(db: Database) -> None:
    table = ident(physical_name("pg_user"))
    async with db.transaction() as connection:
        await connection.execute(f"CREATE TEMP TABLE {table} (mine text) ON COMMIT DROP")
        assert await connection.fetch(f"SELECT mine FROM {table}") == []


async def test_any_field_name_is_a_column(db: Database) -> None:
    for name in ["_row", "ctid", "xmin", "x" * 100, "pg_" + "x" * 61, "CaseKept", "select"]:
        field = make_field({"type": "number", "name": name})
        table = ident(physical_name(f"of_{name}"))
        assert len(field.column) <= 63
        async with db.transaction() as connection:
            await connection.execute(
                f"CREATE TEMP TABLE {table} (_row int, {field.column_definition}) ON COMMIT DROP"
            )
            await connection.execute(f"INSERT INTO {table} ({ident(field.column)}) VALUES (5)")
            assert await connection.fetchval(f"SELECT {ident(field.column)} FROM {table}") == 5
