"""Regular expressions: what compiles, and texts made from them."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.schema.patterns import (
    compile_pattern,
    generate,
    generator_error,
    pattern_error,
)


@pytest.mark.parametrize(
    ("pattern", "shape"),
    [
        ("[a-z0-9]{15}", "[a-z0-9]{15}"),
        ("abc", "abc"),
        (r"\d{3}-\w+", "[0-9]{3}-[0-9A-Za-z_]{1,5}"),
        ("a*", "a{0,5}"),
        ("ab?", "a"),
        ("x{2,4}", "x{2,3}"),
        ("x{2,2}", "xx"),
        ("x{3,}", "x{3,5}"),
        ("x{8,}", "x{8}"),
        ("(foo|bar|b(a|e)z)", "foo|bar|baz|bez"),
        ("(?:ab){2}", "abab"),
        ("(?P<name>ab)c", "abc"),
        (".{4}", "[A-Za-z0-9]{4}"),
        ("[^a-z]{20}", "[ -`{-~]{20}"),
        (r"[\d_-]{9}", "[0-9_-]{9}"),
        (r"\x41\x{42}\.\\", r"AB\.\\"),
        ("[[:upper:]]{5}", "[A-Z]{5}"),
        ("[]a]{5}", "[]a]{5}"),
        (r"\D\W\S", r"[^0-9][^0-9A-Za-z_]\S"),
        ("ä{3}", "äää"),
        ("(?i)abc", "abc"),
        (r"a\Q.*\Eb", r"a\.\*b"),
        ("", ""),
        ("a||b", "a||b"),
    ],
)
def test_a_generated_text_has_the_shape_of_its_pattern(pattern: str, shape: str) -> None:
    assert generator_error(pattern) is None
    for _ in range(50):
        assert re.fullmatch(shape, generate(pattern))


def test_generated_characters_are_all_used_about_equally() -> None:
    counts = Counter("".join(generate("[a-z0-9]{50}") for _ in range(1000)))
    assert len(counts) == 36
    assert max(counts.values()) < 1.3 * min(counts.values())


@pytest.mark.parametrize("pattern", ["^a$", r"\ba", r"a\z", r"\pL", "(a{1000}b{1000}){300}x{999}"])
def test_a_pattern_that_cannot_be_generated_from_is_told(pattern: str) -> None:
    assert generator_error(pattern)
    assert generate(pattern) == ""


@pytest.mark.parametrize("pattern", ["(a", "[z-a]", "a**", "(?=x)", r"(a)\1", "a{2000}", "\ud800"])
def test_an_invalid_expression_has_an_error_text_and_writes_nothing(
    pattern: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (pattern_error(pattern) or "").startswith("error parsing regexp: ")
    assert compile_pattern(pattern) is None
    assert generate(pattern) == ""
    assert capfd.readouterr().err == ""


def test_nested_repeats_are_bounded() -> None:
    assert len(generate("((a{10}){10}){10}")) == 1000
    assert generator_error("(" * 60 + "a?" + ")+" * 60)
    assert generator_error("(" * 900 + "a" + ")" * 900)


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab[]()^-|*+?{},12\\dwsQE.:x4Pi<>$", max_size=16),
)
def test_what_is_generated_matches(pattern: str) -> None:
    compiled = compile_pattern(pattern)
    if compiled is None or generator_error(pattern) is not None:
        return
    text = generate(pattern)
    assert compiled.search(text) is not None


def test_matching_searches_anywhere_in_linear_time() -> None:
    pattern = compile_pattern("(a+)+$")
    assert pattern is not None
    assert pattern.search("a" * 100_000 + "b") is None
    assert pattern.search("bab" + "a") is not None
