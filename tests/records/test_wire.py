"""How values look on the wire."""

from __future__ import annotations

import msgspec
import pytest

from groundplane.records.wire import compact, encode, encode_ready, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.0, "5"),
        (0.0, "0"),
        (-0.0, "-0"),
        (1.5, "1.5"),
        (-2.5e-5, "-0.000025"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (-1.25e-10, "-1.25e-10"),
        (1e15, "1000000000000000"),
        (123456789012345680.0, "123456789012345680"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (2**53 + 1, "9007199254740992"),
        (2**70, "1.1805916207174113e+21"),
        (7, "7"),
        (True, "true"),
    ],
)
def test_numbers_are_the_shortest_float64_form(value: float, text: str) -> None:
    assert encode(value) == text.encode() + b"\n"


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**400])
def test_what_json_cannot_say_is_null(value: float) -> None:
    assert encode([value]) == b"[null]\n"


def test_every_number_reads_back_as_itself() -> None:
    for value in (0.1, 1 / 3, 1e-4, 9.999e-5, 12345.678, 1e15 + 0.5, 5e-324, 1.7976931348623157e308):
        assert msgspec.json.decode(msgspec.json.encode(number(value))) == value


def test_markup_and_line_separators_are_escaped_everywhere() -> None:
    text = encode({"<k>": "a&b\u2028\u2029", "raw": msgspec.Raw(b'{"x":"<i>"}')})
    assert text == (b'{"\\u003ck\\u003e":"a\\u0026b\\u2028\\u2029","raw":{"x":"\\u003ci\\u003e"}}\n')


def test_other_characters_are_literal_and_controls_escaped() -> None:
    assert encode("é😀\x01\n\x7f") == '"é😀\\u0001\\n\x7f"\n'.encode()


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert encode({"a": "x\ud800"}) == '{"a":"x�"}\n'.encode()
    assert encode_ready(["\udfff"]) == '["�"]\n'.encode()


def test_stored_json_keeps_its_members_and_numbers() -> None:
    assert encode({"j": msgspec.Raw(b'{"b":1.50,"a":1e3}')}) == b'{"j":{"b":1.50,"a":1e3}}\n'


def test_members_are_sorted_when_asked() -> None:
    assert compact({"b": {"d": 1, "c": 2}, "a": 1}, sort=True) == '{"a":1,"b":{"c":2,"d":1}}'
