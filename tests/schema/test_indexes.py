"""Index statements: what is read, what is written, and that texts survive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundplane.schema.collection import Collection
from groundplane.schema.indexes import is_single_unique, parse_index, rewrite_table, unique_nocase


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("create unique index n on x (a)", "CREATE UNIQUE INDEX `n` ON `t` (`a`)"),
        ("CREATE INDEX `n` ON `x` (`a`)", "CREATE INDEX `n` ON `t` (`a`)"),
        ('CREATE INDEX "n" on "x" (\n"a"\n)', "CREATE INDEX `n` ON `t` (`a`)"),
        ("CREATE INDEX [n] ON [x] ([a], b desc)", "CREATE INDEX `n` ON `t` (\n  `a`,\n  `b` DESC\n)"),
        ("CREATE INDEX IF NOT EXISTS n ON x(a)", "CREATE INDEX IF NOT EXISTS `n` ON `t` (`a`)"),
        ("CREATE INDEX main.n ON x (a)", "CREATE INDEX `n` ON `t` (`a`)"),
        (
            "CREATE INDEX n ON x (a COLLATE nocase ASC) WHERE a != '' AND (b > 1)",
            "CREATE INDEX `n` ON `t` (`a` COLLATE nocase ASC) WHERE a != '' AND (b > 1)",
        ),
        (
            "CREATE INDEX n ON x (lower(a), json_extract(b, '$.x,y)'))",
            "CREATE INDEX `n` ON `t` (\n  lower(a),\n  json_extract(b, '$.x,y)')\n)",
        ),
        ("  CREATE  INDEX  n  ON  `` (a) ;", "CREATE INDEX `n` ON `t` (`a`)"),
    ],
)
def test_a_statement_for_another_table_is_written_in_normal_form(text: str, normal: str) -> None:
    assert rewrite_table(text, "t") == normal
    assert rewrite_table(normal, "t") == normal


@pytest.mark.parametrize(
    "text",
    ["create  index n on t(a)", "CREATE INDEX n ON `t` ( a )", "not an index", "CREATE INDEX n ON x (a"],
)
def test_a_statement_that_names_the_table_or_cannot_be_read_is_kept_verbatim(text: str) -> None:
    assert rewrite_table(text, "t") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CREATE INDEX ON t (a)",
        "CREATE INDEX n ON t",
        "CREATE INDEX n ON t ()",
        "CREATE INDEX n ON t (a,)",
        "CREATE INDEX n ON t (a",
        "CREATE INDEX n ON t (`a)",
        "CREATE INDEX n ON t (a) garbage",
        "CREATE INDEX n ON t (a); DROP TABLE t",
        "CREATE TABLE n (a)",
        "DROP INDEX n",
        "CREATE INDEX n ON t (" + "a," * 20_000 + "a)",
    ],
)
def test_a_text_is_no_index(text: str) -> None:
    assert parse_index(text) is None


def collection(*indexes: str) -> Collection:
    return Collection(id="c", name="t", indexes=indexes)


@pytest.mark.parametrize(
    ("index", "single", "nocase"),
    [
        ("CREATE UNIQUE INDEX n ON t (a)", True, False),
        ("CREATE UNIQUE INDEX n ON t (`A`) WHERE a != ''", True, False),
        ("CREATE UNIQUE INDEX n ON t (a COLLATE NOCASE)", True, True),
        ("CREATE INDEX n ON t (a)", False, False),
        ("CREATE UNIQUE INDEX n ON t (a, b)", False, False),
        ("CREATE UNIQUE INDEX n ON t (lower(a))", False, False),
    ],
)
def test_a_field_is_unique_by_an_index_of_its_own(index: str, single: bool, nocase: bool) -> None:
    assert is_single_unique(collection(index), "a") is single
    assert unique_nocase(collection("CREATE INDEX z ON t (a)", index), "a") is nocase


@given(st.text(alphabet="CREATEINDXONuniqueindexon `\"'[]().,;tna\n", max_size=60))
def test_any_text_is_read_or_not(text: str) -> None:
    parse_index(text)
    parse_index("CREATE INDEX " + text)
    parse_index("CREATE INDEX n ON t (" + text)


def test_long_statements_are_read_in_linear_time() -> None:
    blanks = " " * 19_000
    assert parse_index(f"CREATE INDEX n ON t (a) {blanks}x") is None
    assert parse_index(f"CREATE INDEX n ON t (a{blanks}b)") is not None
