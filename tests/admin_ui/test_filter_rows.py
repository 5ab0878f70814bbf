"""Expressions as rows of the filter builder, and back."""

from __future__ import annotations

import pytest

from groundplane.schema.collection import Collection
from groundplane.schema.fields.boolean import BoolField
from groundplane.schema.fields.number import NumberField
from groundplane.schema.fields.text import TextField
from groundplane_admin.pages.record_filter import Condition, TooComplex, conditions_of, expression_of

POSTS = Collection(
    id="posts",
    name="posts",
    fields=[TextField(name="title"), NumberField(name="views"), BoolField(name="published")],
)


@pytest.mark.parametrize(
    "text",
    [
        'title ~ "sun" && views > 12',
        'title = "a \\"quoted\\" \\\\ word" || title = "12"',
        "published = true && views <= -1.5",
        'title != "true"',
    ],
)
def test_an_expression_comes_back_as_it_was(text: str) -> None:
    join, rows = conditions_of(text)
    assert expression_of(POSTS, join, rows) == text


@pytest.mark.parametrize(
    "text", ["views ?> 1", "(views > 1 && title = 'a') || views = 2", "views > title", "1 = 1", "views >"]
)
def test_what_rows_cannot_show_is_not_shown_as_rows(text: str) -> None:
    with pytest.raises(TooComplex):
        conditions_of(text)


def test_a_value_cannot_end_its_text() -> None:
    rows = [
        Condition("title", "=", '" || id != "'),
        Condition("views", "=", "1 || 1 = 1"),
        Condition("x", "&&", "1"),
    ]
    assert conditions_of(expression_of(POSTS, "&&", rows))[1] == rows[:2]
