"""A statement that was learnt from examples is the one that compiling for the request would give."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.query.test_generated import Generator, collections

from groundplane.context import Caller, RequestInfo
from groundplane.db.lanes import PLACEHOLDER
from groundplane.db.sql import Args, Sql
from groundplane.query.errors import QueryError
from groundplane.query.rules import rule_condition
from groundplane.records.shapes import (
    DATE,
    NUMBER,
    TEXT,
    Given,
    Shapes,
    depends_on_caller_only,
    is_plain,
    learn,
    literals,
    written_with,
)
from groundplane.schema.cache import Schema

CASES = int(os.environ.get("GROUNDPLANE_QUERY_CASES", "500"))
VALUES: dict[str, list[Any]] = {
    TEXT: ["x", "Xy", "a1", "b_5", "two words", "user-1@example.com", "1e1x", "NULL", "tRue", "(f)", "f|&", "a.b:lower"],
    DATE: ["2030-01-02 00:00:00.000Z", "1999-12-31 23:59:59.999Z", "0001-01-01 00:00:00.000Z"],
    NUMBER: [2.0, 5.5, -3.0, 12345678901.25, -0.5, 99.0],
}  # fmt: skip


def inlined(text: str, values: tuple[Any, ...]) -> str:
    """The statement with its values in place of the placeholders, whatever their numbers are."""

    def value(match: Any) -> str:
        return match[0] if match[1] is None else f"{{{values[int(match[1]) - 1]!r}}}"

    return PLACEHOLDER.sub(value, text)


def compiler(schema: Schema, name: str, skeleton: str, method: str = "GET") -> Callable[[Given], Sql]:
    def write(given: Given) -> Sql:
        caller_id, *values = given
        args = Args()
        info = RequestInfo(caller=Caller(caller_id, "c_users", "users"), method=method)
        text = written_with(skeleton, values)
        return args.bind(rule_condition(schema, schema.find(name), text, info, args))

    return write


def test_learnt_statements_are_the_compiled_ones() -> None:
    schema = Schema(collections())
    generator = Generator(7)
    chosen = random.Random(7)
    compiled = found = 0
    for _ in range(CASES):
        name = generator.random.choice(["a", "a", "b", "users"])
        text = str(generator.tree(name))
        skeleton, classes, values = literals(text)
        if not depends_on_caller_only(text):
            continue
        write = compiler(schema, name, skeleton)
        try:
            expected = write(("user1", *values))
        except QueryError:
            continue
        assert inlined(expected.text, expected.args) == inlined(
            *compiler(schema, name, text)(("user1",)),
        ), text
        compiled += 1
        learnt = learn([TEXT, *classes], write, together=1)
        if learnt is None:
            continue
        found += 1
        tries = [values, *([chosen.choice(VALUES[each]) for each in classes] for _ in range(4))]
        for other in tries:
            given = (chosen.choice(["user1", "Zz9", "abcdefghij12345"]), *other)
            fresh = write(given)
            values_now = (*learnt.values(given), *learnt.shape.constants)
            assert inlined(learnt.shape.text, values_now) == inlined(fresh.text, fresh.args), (text, given)
    assert found > compiled * 0.8


def test_values_that_the_compiler_takes_for_something_else_are_of_no_class() -> None:
    for text in [
        "",
        "5",
        " 5 ",
        "1e5",
        "-.5E+7",
        "2030",
        "2030-01",
        "2030-01-02 03:04:05.678Z",
        "a%b",
        "a\\b",
        "é",
        "\x00a",
    ]:
        assert not is_plain(text), text
    assert literals("n > 0 && flag = 1 && title = '' && title ~ '%x' && d > '2030-01'")[1:] == ([], [])


def test_a_literal_comes_out_of_the_text_and_back_into_it() -> None:
    skeleton, classes, values = literals(
        "(title='It is' && n>=-5.25) || d < '2030-01-02 03:04:05.678Z' && data.0=7"
    )
    assert classes == [TEXT, NUMBER, DATE, NUMBER]
    assert values == ["It is", -5.25, "2030-01-02 03:04:05.678Z", 7.0]
    assert written_with(skeleton, ["x", 3.0, "2031-01-02 03:04:05.678Z", -0.5]) == (
        "(title='x' && n>=3) || d < '2031-01-02 03:04:05.678Z' && data.0=-0.5"
    )


@pytest.mark.parametrize(
    "rule",
    [
        "@request.body.title = 'x'",
        "@request.query.q = title",
        "@request.headers.x_key = 'x'",
        "@request.auth.email = title",
        "@request.auth.verified = true",
        "d < @now",
        "@request.method = 'GET'",
        "@request.context = 'default'",
        "this is (no rule",
    ],
)
def test_rules_that_read_more_of_the_request_are_compiled_each_time(rule: str) -> None:
    assert not depends_on_caller_only(rule)


def test_rules_about_the_caller_are_kept() -> None:
    assert depends_on_caller_only(None)
    assert depends_on_caller_only("")
    assert depends_on_caller_only(
        "flag = true || (user = @request.auth.id && @request.auth.team.name = title) || @collection.b.name ?= title"
    )


def test_only_what_comes_again_is_learnt() -> None:
    schema = Schema(collections())
    shapes = Shapes()
    write = compiler(schema, "a", "title = @request.auth.id")
    seen = [shapes.find("key", [TEXT], write, together=1) for _ in range(4)]
    assert [each is not None for each in seen] == [False, False, True, True]
    assert seen[2] is seen[3]


def test_a_statement_that_depends_on_more_than_its_classes_is_not_learnt() -> None:
    def write(given: Given) -> Sql:
        return Sql("SELECT $1, $2", (given[0], len(given[0]) + hash(given[0])))

    assert learn([TEXT], write, together=1) is None
