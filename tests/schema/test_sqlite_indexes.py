"""CREATE INDEX statements of SQLite become indexes on our columns, with the same idea of "the same value"."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.db.sql import ident
from groundplane.schema.collection import Collection
from groundplane.schema.fields.registry import make_field
from groundplane.schema.sqlite import Untranslatable, index_name, translate_index

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "text", "primaryKey": True},
    {"name": "title", "type": "text"},
    {"name": "email", "type": "email"},
    {"name": "score", "type": "number"},
    {"name": "active", "type": "bool"},
    {"name": "seen", "type": "date"},
    {"name": "many", "type": "select", "values": ["a", "b"], "maxSelect": 2},
    {"name": "meta", "type": "json"},
    {"name": "place", "type": "geoPoint"},
    {"name": "select", "type": "text"},
    {"name": "x" * 80, "type": "text"},
]
THINGS = Collection(
    id="pbc_1", name="things", fields=[make_field({"id": f"f{each['name']}"} | each) for each in FIELDS]
)


@pytest.fixture
async def table(db: Database) -> Database:
    columns = ", ".join(field.column_definition for field in THINGS.fields)
    await db.execute(f"CREATE TABLE {ident(THINGS.table)} ({columns}, PRIMARY KEY (id))")
    return db


WRITTEN = [
    ("CREATE INDEX `i` ON `other` (`title`)", '("title")'),
    ('create unique index if not exists main.[i] on "t" ([title] desc, `email`)', '("title" DESC, "email")'),
    (
        "CREATE INDEX i ON t (\n  `email` COLLATE NOCASE,\n  title COLLATE RTRIM ASC)",
        '((lower(("email") COLLATE "C")), (rtrim(("title") COLLATE "C", \' \')))',
    ),
    ("CREATE INDEX i ON t (title COLLATE BINARY)", '("title")'),
    ("CREATE INDEX i ON t (score, active, many)", '("score", "active", "many")'),
    ("CREATE INDEX i ON t (seen DESC)", '("seen" DESC NULLS LAST)'),
    ("CREATE UNIQUE INDEX i ON t (seen)", '("seen" NULLS FIRST) NULLS NOT DISTINCT'),
    ("CREATE INDEX i ON t (lower(title))", '((lower(("title") COLLATE "C")))'),
    ("CREATE INDEX i ON t (title) WHERE email != ''", '("title") WHERE ("email" <> \'\'::text)'),
    ("CREATE INDEX i ON t (title) WHERE many != '[]'", '("title") WHERE (cardinality("many") > 0)'),
    ("CREATE INDEX i ON t (title) WHERE many = '[]';", '("title") WHERE (cardinality("many") = 0)'),
    (
        "CREATE INDEX i ON t (title) WHERE active = 1 AND seen <> ''",
        '("title") WHERE (("active") AND ("seen" IS NOT NULL))',
    ),
    ("CREATE INDEX i ON t (title) WHERE active = false", '("title") WHERE (NOT "active")'),
    ("CREATE INDEX i ON t (`select`)", '("select")'),
]


@pytest.mark.parametrize(("text", "rest"), WRITTEN)
def test_statements_name_our_table_and_columns(text: str, rest: str) -> None:
    unique = "UNIQUE " if "unique" in text.lower() else ""
    assert translate_index(text, THINGS) == f'CREATE {unique}INDEX "i" ON "public"."things" {rest}'


async def test_every_translation_is_accepted_by_postgresql(table: Database) -> None:
    others = [
        "CREATE INDEX i ON t (json_extract(meta, '$.a.b[0]'))",
        "CREATE INDEX i ON t (meta, place)",
        "CREATE INDEX i ON t (score + 1, title || email, length(title), substr(title, 1, 3))",
        "CREATE INDEX i ON t (title) WHERE score > 5 AND title LIKE 'a%' AND seen >= '2024-01-01 00:00:00.000Z'",
        "CREATE INDEX i ON t (title) WHERE seen > '2024' OR meta IS NOT NULL OR score = '5'",
        f"CREATE INDEX i ON t ({'x' * 80})",
        "CREATE INDEX i ON t (iif(active, title, email))",
    ]
    for text in (*(text for text, _ in WRITTEN), *others):
        await table.execute(translate_index(text, THINGS))
        await table.execute('DROP INDEX "i"')


REFUSED = [
    ("CREATE INDEX ON t (title)", "not a CREATE INDEX"),
    ("DROP INDEX i", "not a CREATE INDEX"),
    ("CREATE INDEX i ON t (title", "not closed"),
    ("CREATE INDEX i ON t (nothing)", "no such column: nothing"),
    ('CREATE INDEX i ON t ("nothing")', "no such column: nothing"),
    ("CREATE INDEX i ON t (xmin)", "no such column"),
    ("CREATE INDEX i ON t (title); DROP TABLE things", "unexpected"),
    ("CREATE INDEX i ON t (title) TABLESPACE x", "unexpected"),
    ("CREATE INDEX i ON t (title) WHERE nothing = 1", "no such column"),
    ("CREATE INDEX i ON t (title) WHERE title = 'a'; DROP TABLE things", "cannot be read"),
    ("CREATE INDEX i ON t (title) WHERE id IN (SELECT id FROM things)", "subquery"),
    ("CREATE INDEX i ON t (pg_sleep(1))", "pg_sleep() is not available"),
    ("CREATE INDEX i ON t (strftime('%Y', seen))", "may not be used in an index"),
    ("CREATE INDEX i ON t (random())", "may not be used in an index"),
    ("CREATE INDEX i ON t (count(title))", "misuse of aggregate"),
    ("CREATE INDEX i ON t (title COLLATE GERMAN)", "no such collation"),
    ("CREATE INDEX i ON t (title, email FROM things)", "cannot be read"),
    ("CREATE INDEX i ON t ()", "cannot be read"),
    ("CREATE INDEX i ON t ('title')", "column"),
    ("CREATE INDEX i ON t (tit\x00le)", "NUL"),
    ("CREATE INDEX i ON t (" + "(" * 2000 + "title" + ")" * 2000 + ")", ""),
    ("CREATE INDEX i ON t (" + "title," * 3000 + "title)", "too long"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_cannot_be_an_index_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        translate_index(text, THINGS)
    assert reason in caught.value.reason


async def test_nocase_uniqueness_minds_no_case_and_a_condition_leaves_rows_out(table: Database) -> None:
    text = "CREATE UNIQUE INDEX e ON things (email COLLATE NOCASE) WHERE email != ''"
    await table.execute(translate_index(text, THINGS))
    await table.execute("INSERT INTO things (id) VALUES ('1'), ('2')")
    await table.execute("INSERT INTO things (id, email) VALUES ('3', 'a@example.com')")
    with pytest.raises(UniqueViolation):
        await table.execute("INSERT INTO things (id, email) VALUES ('4', 'A@EXAMPLE.com')")


async def test_two_unset_dates_collide_in_a_unique_index_as_in_sqlite(table: Database) -> None:
    await table.execute(translate_index("CREATE UNIQUE INDEX s ON things (seen)", THINGS))
    await table.execute("INSERT INTO things (id) VALUES ('1')")
    with pytest.raises(UniqueViolation):
        await table.execute("INSERT INTO things (id) VALUES ('2')")


def test_long_names_stay_distinct_within_the_limit_of_postgresql() -> None:
    long = "idx_" + "n" * 100
    assert index_name("short") == "short"
    assert len(index_name(long).encode()) <= 63
    assert index_name(long + "1") != index_name(long + "2")
    assert ident(index_name(long)) in translate_index(f"CREATE INDEX `{long}` ON t (title)", THINGS)
