"""Signed tokens: what is accepted, and what is not whatever it looks like."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from groundplane.security import tokens

KEY = "k" * 50 + "s" * 50


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(claims: Any, header: Any = None, key: str = KEY) -> str:
    head = part({"alg": "HS256", "typ": "JWT"} if header is None else header)
    signed = f"{head}.{part(claims)}"
    mac = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{part(mac)}"


def accepted(token: str, key: str = KEY) -> bool:
    return tokens.read_unverified(token) is not None and tokens.verify(token, key)


def test_a_token_has_the_known_header_and_its_claims_in_order() -> None:
    token = tokens.sign({"type": "auth", "id": "a", "exp": 5, "collectionId": "c", "refreshable": True}, KEY)
    head, body, _ = token.split(".")
    assert base64.urlsafe_b64decode(head + "==") == b'{"alg":"HS256","typ":"JWT"}'
    assert base64.urlsafe_b64decode(body + "==") == (
        b'{"collectionId":"c","exp":5,"id":"a","refreshable":true,"type":"auth"}'
    )
    assert token == forged(base64.urlsafe_b64decode(body + "=="), base64.urlsafe_b64decode(head + "=="))


def test_a_token_made_elsewhere_with_the_same_key_is_accepted() -> None:
    assert accepted(forged({"id": "a", "exp": time.time() + 60}))


def test_a_token_without_typ_is_accepted() -> None:
    assert accepted(forged({"id": "a"}, header={"alg": "HS256"}))


def test_a_token_without_exp_does_not_expire() -> None:
    assert accepted(forged({"id": "a"}))


@pytest.mark.parametrize("exp", [None, 0, -1, "9999999999", True, [], {}, 1.5, 1_500_000_000])
def test_an_exp_that_is_past_or_no_number_is_refused(exp: Any) -> None:
    assert not accepted(forged({"id": "a", "exp": exp}))


def test_exp_may_have_a_fraction_and_is_exact() -> None:
    moment = 1_700_000_000.5
    assert tokens.is_current({"exp": moment}, moment - 0.001)
    assert not tokens.is_current({"exp": moment}, moment)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused(name: str) -> None:
    assert not accepted(forged({"id": "a", name: time.time() + 60}))
    assert not accepted(forged({"id": "a", name: "soon"}))
    assert accepted(forged({"id": "a", name: time.time() - 1}))


def test_another_key_does_not_verify() -> None:
    assert not accepted(forged({"id": "a"}), KEY[:-1])
    assert not accepted(forged({"id": "a"}, key="x"))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None", "typ": "JWT"},
        {"alg": "HS512"},
        {"alg": "hs256"},
        {"alg": "RS256"},
        {"alg": ["HS256"]},
        {"typ": "JWT"},
        {},
        [],
        "HS256",
        None,
        b"",
        b"{",
    ],
)
def test_any_other_algorithm_or_header_is_refused(header: Any) -> None:
    token = forged({"id": "a"}, header="null" if header is None else header)
    assert not accepted(token)
    assert not accepted(token.rpartition(".")[0] + ".")


@pytest.mark.parametrize(
    "claims", [[], "x", 5, None, b"", b"{", b'{"exp":1e400}', b"\xff", b"[" * 6000, b'{"a":' * 6000]
)
def test_claims_that_are_no_object_are_refused(claims: Any) -> None:
    assert not accepted(forged(b"null" if claims is None else claims))


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b", "a.b.c.d", "a.b.c", "ä.ö.ü", "\0.\0.\0", " ", "x" * 100_000]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert tokens.read_unverified(token) is None
    assert not tokens.verify(token, KEY)


def test_a_changed_character_anywhere_breaks_the_token() -> None:
    token = tokens.sign({"id": "abc", "exp": int(time.time()) + 600}, KEY)
    for position in range(0, len(token), 7):
        other = "A" if token[position] != "A" else "B"
        assert not accepted(token[:position] + other + token[position + 1 :])


def test_base64_with_padding_or_other_letters_is_refused() -> None:
    head, body, mac = forged({"id": "a"}).split(".")
    assert not accepted(f"{head}.{body}.{mac}=")
    assert not accepted(f"{head}.{body}\n.{mac}")
    assert not accepted(f"{head}.{body}.{mac} ")
