"""Secrets at rest."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from groundplane.security.encryption import BadKey, Seal

KEY = "0123456789abcdef0123456789abcdef"


def test_what_was_sealed_opens_and_looks_different_each_time() -> None:
    seal = Seal(KEY)
    one, other = seal.seal("påss"), seal.seal("påss")
    assert one != other
    assert "påss" not in one
    assert [seal.open(one), seal.open(other)] == ["påss", "påss"]


def test_an_unsealed_text_is_returned_and_an_empty_one_stays_empty() -> None:
    assert Seal(KEY).open("plain") == "plain"
    assert Seal(KEY).seal("") == ""


def test_data_encrypted_in_the_format_of_pocketbase_is_read() -> None:
    nonce = b"n" * 12
    raw = nonce + AESGCM(KEY.encode()).encrypt(nonce, b'{"a":1}', None)
    assert Seal(KEY).decrypt(base64.b64encode(raw).decode()) == b'{"a":1}'


@pytest.mark.parametrize("sealed", ["", "AAAA", "not base64!", base64.b64encode(b"x" * 40).decode()])
def test_damaged_data_is_refused_with_a_sentence(sealed: str) -> None:
    with pytest.raises(BadKey, match="cannot be read"):
        Seal(KEY).decrypt(sealed)


def test_another_key_does_not_open() -> None:
    with pytest.raises(BadKey):
        Seal(KEY[::-1]).open(Seal(KEY).seal("secret"))


@pytest.mark.parametrize("key", ["", "short", KEY + "x", "ä" * 32])
def test_a_key_of_another_size_is_refused(key: str) -> None:
    with pytest.raises(BadKey, match="32 bytes"):
        Seal(key)
