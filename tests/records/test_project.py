"""The `fields` parameter."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from groundplane.records.excerpts import excerpt
from groundplane.records.project import BadFields, project

RECORD = {"id": "1", "title": "t", "expand": {"rel": {"id": "2", "name": "n"}, "many": [{"id": "3", "x": 1}]}}


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ("id", {"id": "1"}),
        (" id , title ,,", {"id": "1", "title": "t"}),
        ("expand.rel.name", {"expand": {"rel": {"name": "n"}}}),
        ("id,expand.many.x", {"id": "1", "expand": {"many": [{"x": 1}]}}),
        ("expand.*", {"expand": RECORD["expand"]}),
        ("*,expand.rel.name", {"id": "1", "title": "t", "expand": {"rel": {"name": "n"}}}),
        ("expand,expand.rel.name", {"expand": RECORD["expand"]}),
        ("nope", {}),
        ("*", RECORD),
        (",", RECORD),
        ("title.deeper", {"title": "t"}),
    ],
)
def test_only_what_is_named_stays(fields: str, kept: dict[str, Any]) -> None:
    assert project(RECORD, fields) == kept


def test_of_a_page_only_the_items_are_cut() -> None:
    page = {"items": [RECORD, RECORD], "page": 1, "perPage": 30, "totalItems": 2, "totalPages": 1}
    assert project(page, "id") == page | {"items": [{"id": "1"}, {"id": "1"}]}


def test_of_an_array_every_element_is_cut() -> None:
    assert project([{"body": {"a": 1}, "status": 200}], "status") == [{"status": 200}]


def test_an_array_that_does_not_begin_with_an_object_stays() -> None:
    assert project({"a": [1, {"b": 2}]}, "a.c") == {"a": [1, {"b": 2}]}


def test_stored_json_is_written_anew_with_sorted_members_and_float_numbers() -> None:
    value = {"j": msgspec.Raw(b'{"b":1.50,"a":[1e3]}'), "p": {"lon": 1, "lat": 2}}
    assert list(project(value, "j,p")["j"]) == ["a", "b"]
    assert project(value, "j")["j"] == {"a": [1000.0], "b": 1.5}
    assert list(project(value, "p")["p"]) == ["lat", "lon"]


@pytest.mark.parametrize(
    "fields",
    [
        "title:upper()",
        "title:excerpt",
        "title:excerpt()",
        "title:excerpt(0)",
        "title:excerpt(-1)",
        "title:excerpt(a)",
        "title:excerpt(5",
        "title:excerpt(1,true,2)",
        "title)",
        "." * 40,
    ],
)
def test_a_malformed_list_is_refused(fields: str) -> None:
    with pytest.raises(BadFields):
        project(RECORD, fields)


def test_an_excerpt_is_cut_where_it_is_asked_for() -> None:
    record = {"a": "<p>hello world</p>", "b": 5, "c": "hello"}
    assert project(record, "a:excerpt(7,1),b:excerpt(1)") == {"a": "hello w...", "b": 5}
    assert project(record, "*:excerpt(4)") == {"a": "hell", "b": 5, "c": "hell"}


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>one</p><p>two</p>", "one two"),
        ("on<b>e</b> <i>two</i>", "one two"),
        ("a<script>evil()</script>b", "a b"),
        ("a<style>p {}</style>", "a"),
        ("<head><title>x</title></head>body", "body"),
        ("a\n\t  b", "a b"),
        ("a&nbsp;&nbsp;b", "a\u00a0\u00a0b"),
        ("1 &lt; 2 &amp; 3", "1 < 2 & 3"),
        ("a<img src=x>b<input>c", "a b c"),
        ("<select><option>x</option></select>y", "y"),
        ("line<br>line", "lineline"),
        ("<div><unclosed>text", "text"),
        ("<!-- no --> yes", "yes"),
        ("a<!-- never ends", "a"),
        ("a<b title='1 > 0' x=\"<p>\">b</b>", "ab"),
        ("1 < 2 <3 << 4", "1 < 2 <3 << 4"),
        ("a<SCRIPT>'<p>'</p></script >b", "a b"),
        ("a<svg><svg>x</svg>y</svg>z", "a z"),
        ("a</p>b</>c<?php x ?>d", "a bcd"),
        ("on<b>e</b>", "one"),
        ("&lt;p&gt;", "<p>"),
    ],
)
def test_an_excerpt_is_the_plain_text_of_html(html: str, text: str) -> None:
    assert excerpt(html, 100) == text


def test_an_excerpt_counts_code_points_and_trims_what_it_cuts() -> None:
    assert excerpt("äöü ß", 4, True) == "äöü..."
    assert excerpt("abc", 3, True) == "abc"


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<a ", '<a href="', "<script>", "<svg>", "<div>", "<", "< ", "</", "&", "<a =", "<svg></x>"],
)
def test_an_excerpt_of_hostile_markup_takes_no_more_than_a_moment(piece: str) -> None:
    started = time.process_time()
    excerpt(piece * (4_000_000 // len(piece)), 5)
    assert time.process_time() - started < 2
