"""Templates of administrators: what is replaced, what is escaped, and that nothing is evaluated."""

from __future__ import annotations

from typing import Any

from groundplane.mail.plain import plain_text
from groundplane.mail.templates import record_values, render
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.options import Template
from groundplane.schema.wire import collection_from_json

HOSTILE = "{{ 7*7 }} {% for x in y %} ${7*7} #{7*7} <%= 7*7 %> {0.__class__} %(x)s {APP_NAME.__class__} {RECORD:x.y}"


def people() -> Collection:
    raw: dict[str, Any] = {
        "name": "people",
        "type": "auth",
        "fields": [
            {"name": "name", "type": "text"},
            {"name": "age", "type": "number"},
            {"name": "born", "type": "date"},
            {"name": "fan", "type": "bool"},
            {"name": "data", "type": "json"},
            {"name": "tags", "type": "select", "values": ["a", "b"], "maxSelect": 2},
            {"name": "secretName", "type": "text", "hidden": True},
        ],
    }
    return collection_from_json(raw, base=None, schema=Schema([]))


def rendered(subject: str, body: str, **values: str) -> tuple[str, str, str]:
    known = {f"{{{name}}}": value for name, value in values.items()}
    return render(Template(subject=subject, body=body), known)


def test_known_placeholders_are_replaced_and_others_stay() -> None:
    subject, html, text = rendered(
        "{APP_NAME} {NOPE}", "<p>{TOKEN} {RECORD:nope}</p>", APP_NAME="A", TOKEN="t"
    )
    assert subject == "A {NOPE}"
    assert "<p>t {RECORD:nope}</p>" in html
    assert text == "t {RECORD:nope}\n"


def test_nothing_in_a_template_is_evaluated() -> None:
    subject, html, _ = rendered(HOSTILE, HOSTILE, APP_NAME="A")
    assert subject == HOSTILE
    assert HOSTILE in html
    assert "49" not in subject + html


def test_what_a_value_holds_is_no_placeholder() -> None:
    subject, html, _ = rendered(
        "{RECORD:name}", "{RECORD:name}", **{"RECORD:name": "{TOKEN}", "TOKEN": "secret"}
    )
    assert subject == "{TOKEN}"
    assert "secret" not in html


def test_values_of_records_are_escaped_and_hidden_ones_are_not_there() -> None:
    collection = people()
    record = {field.name: field.zero for field in collection.fields} | {
        "id": "abc",
        "name": '<script>alert("x")</script>\r\nBcc: x@example.com',
        "age": 1.5,
        "fan": True,
        "data": '{"a":"<b>"}',
        "tags": ["a", "b"],
        "email": "a@example.com",
        "emailVisibility": False,
        "secretName": "hidden",
    }
    values = record_values(collection, record)
    assert values["{RECORD:name}"].startswith("&lt;script&gt;alert(&quot;x&quot;)")
    assert values["{RECORD:age}"] == "1.5"
    assert values["{RECORD:fan}"] == "true"
    assert values["{RECORD:data}"] == "{&quot;a&quot;:&quot;&lt;b&gt;&quot;}"
    assert values["{RECORD:tags}"] == ""
    assert values["{RECORD:email}"] == "a@example.com"
    for name in ("secretName", "password", "tokenKey", "collectionId", "collectionName"):
        assert f"{{RECORD:{name}}}" not in values


def test_the_plain_part_has_the_words_the_links_and_no_style() -> None:
    html = (
        "<style>p { color: red }</style><h1>Hello</h1><p>One\n two&nbsp;&amp; three<br>four</p>"
        '<ul><li>a</li><li>b</li></ul><p><a href="https://x.io/?a=1&amp;b=2">Go</a> '
        '<a href="https://y.io">https://y.io</a></p><script>alert(1)</script>'
    )
    assert plain_text(html) == (
        "Hello\n\nOne two\xa0& three\nfour\n\n- a\n- b\n\nGo (https://x.io/?a=1&b=2) https://y.io\n"
    )


def test_broken_html_becomes_text_all_the_same() -> None:
    assert plain_text("</p><a>x</b><a href='y'>").startswith("x")
    assert len(plain_text("<div>" * 20_000 + "x")) == 2
