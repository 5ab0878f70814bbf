"""Ids and secrets."""

from __future__ import annotations

import pytest

from groundplane.security.ids import LOWER_ALPHANUMERIC, equal, random_text, record_id, secret


def test_a_record_id_has_15_lower_case_letters_and_digits() -> None:
    ids = {record_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(len(each) == 15 and set(each) <= set(LOWER_ALPHANUMERIC) for each in ids)


def test_every_character_of_an_alphabet_comes_up_equally_often() -> None:
    text = random_text(60_000, "abcdef")
    assert {letter: round(text.count(letter) / 10_000, 1) for letter in "abcdef"} == dict.fromkeys(
        "abcdef", 1.0
    )


@pytest.mark.parametrize("length", [0, 1, 15, 50, 4000])
def test_a_random_text_has_the_length_asked_for(length: int) -> None:
    assert len(random_text(length)) == length


@pytest.mark.parametrize("alphabet", ["", "a", "äö"])
def test_an_alphabet_that_gives_no_choice_is_refused(alphabet: str) -> None:
    with pytest.raises(ValueError, match="alphabet"):
        random_text(5, alphabet)


def test_secrets_are_50_letters_and_digits() -> None:
    assert len(secret()) == 50
    assert secret() != secret()
    assert secret().isalnum()


def test_comparison_takes_any_text() -> None:
    assert equal("grün", "grün")
    assert not equal("a", "ab")
    assert not equal("\ud800", "?")
