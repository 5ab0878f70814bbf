"""Tokens and syntax (contract, filters §1, §2)."""

from __future__ import annotations

import json

import pytest

from groundplane.query.errors import QueryError
from groundplane.query.lexer import decode
from groundplane.query.nodes import All, Any, Call, Comparison, Identifier, Number, Text
from groundplane.query.parser import parse


@pytest.mark.parametrize(
    "text",
    [
        "", " \t\n", "// only a comment", "()", "(a=1", "a=1)", "a", "a =", "= 1", "a = 1 &&", "&& a = 1", "a = 1 b = 2",
        "a = 1 & b = 2", "a = 1 &&& b = 2", "a ! = 1", "a == 1", "a => 1", "a ?? 1", "a <> 1", "a = 1 AND b = 2",
        "_ = 1", "@ = 1", "# = 1", "a. = 1", "a: = 1", "a = -", "a = .5", "a = 5.", "a = 1.2.3", "a = 1e5", "a = +1",
        "a = 'x", 'a = "x', "a = 'x\\'", "a = 1 // ) \n )", "(a = 1 // ( \n )", "a = [1]", "a = {}", "a = 1; b = 2",
        "a = f(g(1))", "a = f(1 2)", "a = f(1", "a = f(,)", "a = f ()", "not a = 1", "a in (1)", "é = 1", "a = 1 , b = 2",
        "f()", "a = 9" + "9" * 400, "a = \ud800",
    ],
)  # fmt: skip
def test_a_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse(text)


def test_and_binds_tighter_than_or_and_groups_disappear() -> None:
    one, two, three = (Comparison(Identifier("a", at), "=", False, Number(1, at + 4)) for at in (0, 9, 18))
    assert parse("a = 1 && a = 1 || a = 1") == Any((All((one, two)), three))
    grouped = parse("((a = 1)) && ((a = 1 || a = 1))")
    assert isinstance(grouped, All)
    assert isinstance(grouped.items[1], Any)


def test_comments_and_blanks_may_stand_between_all_tokens() -> None:
    found = parse("a//1\n\t?=//2\r\n1 // end")
    assert found == Comparison(Identifier("a", 0), "=", True, Number(1, 13))


def test_a_parenthesis_in_a_comment_closes_the_group() -> None:
    assert isinstance(parse("(a = 1 // x ) && b = 2"), All)
    assert isinstance(parse("(a = 1 // (x) y\n && b = 2)"), All)


def test_operands_directly_next_to_operators_need_no_blanks() -> None:
    found = parse("a>=-.5&&b!~'x'")
    assert isinstance(found, All)
    assert found.items[0] == Comparison(Identifier("a", 0), ">=", False, Number(-0.5, 3))


def test_function_arguments_may_have_comments_and_a_trailing_comma() -> None:
    found = parse("f('x', // first\n a.b:lower, 5,) = 1")
    assert isinstance(found, Comparison)
    assert found.left == Call("f", (Text("x", 2), Identifier("a.b:lower", 17), Number(5, 28)), 0)


@pytest.mark.parametrize(
    ("quoted", "value"),
    [
        (r"'x\\'", "x\\"), (r'"a\"b"', 'a"b'), (r"'a\"b'", 'a\\"b'), (r"'a\'b'", "a'b"), (r'"\n\r\t\b\f"', "\n\r\t\b\f"),
        (r'"\%"', "\\%"), (r'"\\%"', "\\%"), (r'"\/"', "\\/"), (r'"\u0041\u00e9"', "Aé"), (r'"\ud83d\ude00"', "😀"),
        (r'"\ud83d"', "\ufffd"), (r'"\ude00\ud83d"', "\ufffd\ufffd"), (r'"\u0041\ude00"', "A\ufffd"), (r'"\u12"', "\\u12"),
        ('"a\nb"', "a\nb"), (r'"\\\\u0041"', "\\\\u0041"),
    ],
)  # fmt: skip
def test_quoted_texts_are_decoded(quoted: str, value: str) -> None:
    assert decode(quoted) == value


@pytest.mark.parametrize(
    "value", ["", "plain", "\"'\\", "a\nb\tc\u0007", "é😀", '[1,{"a":"b"}]', "\\u0041", "%_\\%"]
)
def test_what_the_clients_quote_as_json_comes_back(value: str) -> None:
    for ensure_ascii in (True, False):
        found = parse(f"a = {json.dumps(value, ensure_ascii=ensure_ascii)}")
        assert isinstance(found, Comparison)
        assert isinstance(found.right, Text)
        assert found.right.value == value


def test_200_comparisons_are_allowed_and_201_are_not() -> None:
    parse(" && ".join(["a = 1"] * 200))
    with pytest.raises(QueryError):
        parse(" || ".join(["a = 1"] * 201))
