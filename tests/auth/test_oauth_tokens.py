"""ID tokens: only what the issuer has signed, for this client, for this sign-in, and now (OpenID Connect Core §3.1.3.7)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from tests.auth.oauth_site import CLIENT_ID, OAuthSite, Told, told

from groundplane.auth import openid
from groundplane.auth.openid import nonce_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERIFIER = "verifier"
RSA_KEY = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC_KEY = ECKey.generate_key("P-256", {"kid": "ec"})
ED_KEY = OKPKey.generate_key("Ed25519", {"kid": "ed"})
OTHER_KEY = ECKey.generate_key("P-256", {"kid": "other"})


class Issuer:
    """Signs what it is told to, and publishes the keys in `keys`."""

    def __init__(self, site: OAuthSite) -> None:
        self.site = site
        self.url = site.provider.url
        self.keys: list[Any] = [EC_KEY, RSA_KEY, ED_KEY]
        self.document: dict[str, Any] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        self.fetched = 0
        site.provider.answers["/.well-known/openid-configuration"] = lambda asked: told(self.document)
        site.provider.answers["/keys"] = self._keys

    def _keys(self, asked: Any) -> Told:
        self.fetched += 1
        return told(
            {"keys": [key.as_dict(private=False) if not isinstance(key, dict) else key for key in self.keys]}
        )

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good token, changed; None takes one out."""
        moment = int(time.time())
        good = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "ann",
            "exp": moment + 300,
            "iat": moment,
            "nonce": nonce_of(VERIFIER),
            "email": "ann@example.com",
            "email_verified": True,
        }
        return {name: value for name, value in (good | changed).items() if value is not None}

    def code(self, token: str) -> str:
        return self.site.provider.code_for(tokens={"id_token": token, "access_token": "at"})


def signed(claims: dict[str, Any], key: Any = EC_KEY, alg: str = "ES256", **header: Any) -> str:
    whole = {"alg": alg, "kid": key.kid, **header}
    return jwt.encode({k: v for k, v in whole.items() if v is not None}, claims, key, algorithms=[alg])


def by_hand(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token whose header the library would not make."""
    text = f"{part(header)}.{part(claims)}"
    signature = ED_KEY.get_op_key("sign").sign(text.encode())
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture
def issuer(oauth_site: OAuthSite) -> Issuer:
    # What one test has published is not to be remembered in the next.
    oauth_site.services.auth.oauth2.providers.openid._issuers.clear()
    oauth_site.services.auth.oauth2.providers.openid._keys.clear()
    oauth_site.provider.answers = {
        "/token": oauth_site.provider._token,
        "/userinfo": oauth_site.provider._user_info,
    }
    return Issuer(oauth_site)


async def strict(issuer: Issuer) -> str:
    """The collection that names nothing but the issuer; one for all tests, which differ in the tokens."""
    made = issuer.site.named
    if "strict" not in made:
        bare = {"authURL": "", "tokenURL": "", "userInfoURL": "", "extra": {"issuer": issuer.url}}
        made["strict"] = await issuer.site.collection([issuer.site.configured("oidc", **bare)])
    return made["strict"]


async def outcome(issuer: Issuer, people: str, token: str, **more: Any) -> int:
    answer = await issuer.site.sign_in(people, issuer.code(token), codeVerifier=VERIFIER, **more)
    if answer.status_code != 200:
        assert answer.json()["message"] == "Failed to fetch OAuth2 user."
    return answer.status_code


async def test_an_issuer_says_itself_where_everything_is(issuer: Issuer) -> None:
    people = await strict(issuer)
    methods = (await issuer.site.client.get(f"/api/collections/{people}/auth-methods")).json()
    [shown] = methods["oauth2"]["providers"]
    assert shown["authURL"].startswith(f"{issuer.url}/authorize?")
    assert shown["authURL"].endswith("&redirect_uri=")
    asked = parse_qs(urlsplit(shown["authURL"]).query)
    assert asked["nonce"] == [nonce_of(shown["codeVerifier"])]
    token = signed(issuer.claims(nonce=nonce_of(shown["codeVerifier"])))
    answer = await issuer.site.signed_in(people, issuer.code(token), codeVerifier=shown["codeVerifier"])
    assert (answer["record"]["email"], answer["record"]["verified"]) == ("ann@example.com", True)
    assert answer["meta"]["rawUser"]["iss"] == issuer.url


@pytest.mark.parametrize(
    ("key", "alg"),
    [(EC_KEY, "ES256"), (ED_KEY, "Ed25519"), (RSA_KEY, "RS256"), (RSA_KEY, "PS384")],
)
async def test_tokens_of_every_kind_of_public_key_are_taken(issuer: Issuer, key: Any, alg: str) -> None:
    people = await strict(issuer)
    assert await outcome(issuer, people, signed(issuer.claims(), key, alg)) == 200
    # Without the name of a key there must be only one that fits; a long header is no reason to refuse.
    assert await outcome(issuer, people, signed(issuer.claims(), key, alg, kid=None, x5c=["A" * 3000])) == 200


async def test_the_older_name_of_an_algorithm_is_taken(issuer: Issuer) -> None:
    people = await strict(issuer)
    assert await outcome(issuer, people, by_hand({"alg": "EdDSA", "kid": "ed"}, issuer.claims())) == 200


MOMENT = int(time.time())
BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "the issuer with a slash": {"iss": "slash"},
    "no issuer": {"iss": None},
    "another client": {"aud": "another"},
    "no audience": {"aud": None},
    "an audience that is no text": {"aud": [1]},
    "several clients and no azp": {"aud": [CLIENT_ID, "another"]},
    "another azp": {"azp": "another"},
    "another nonce": {"nonce": nonce_of("another")},
    "no nonce": {"nonce": None},
    "a nonce that is no text": {"nonce": 1},
    "ended": {"exp": MOMENT - 61},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "tomorrow"},
    "made in the future": {"iat": MOMENT + 400},
    "made at no time": {"iat": None},
    "not yet": {"nbf": MOMENT + 400},
    "nobody": {"sub": None},
    "a number as id": {"sub": 5},
    "of another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.parametrize("changed", BAD_CLAIMS.values(), ids=BAD_CLAIMS.keys())
async def test_a_token_that_says_something_wrong_is_refused(issuer: Issuer, changed: dict[str, Any]) -> None:
    people = await strict(issuer)
    if changed.get("iss") == "slash":
        changed = {"iss": f"{issuer.url}/"}
    assert await outcome(issuer, people, signed(issuer.claims(**changed))) == 400


async def test_a_little_difference_of_the_clocks_is_none(issuer: Issuer) -> None:
    people, moment = await strict(issuer), int(time.time())
    good = {
        "exp": moment - 30,
        "iat": moment + 30,
        "nbf": moment + 30,
        "azp": CLIENT_ID,
        "aud": [CLIENT_ID, "other"],
    }
    digest = hashlib.sha256(b"at").digest()[:16]
    good["at_hash"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert await outcome(issuer, people, signed(issuer.claims(**good))) == 200


def with_public_key_as_secret(claims: dict[str, Any]) -> str:
    """A MAC whose secret is the published key, as text: the oldest confusion of algorithms."""
    pem = RSA_KEY.as_pem(private=False)
    header, body = part({"alg": "HS256", "kid": "rsa"}), part(claims)

    mac = hmac.new(pem, f"{header}.{body}".encode(), "sha256").digest()
    return f"{header}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "unsigned": lambda claims: f"{part({'alg': 'none'})}.{part(claims)}.",
    "unsigned in capitals": lambda claims: f"{part({'alg': 'NONE', 'kid': 'ec'})}.{part(claims)}.",
    "no algorithm": lambda claims: f"{part({'kid': 'ec'})}.{part(claims)}.AAAA",
    "an algorithm that is no text": lambda claims: f"{part({'alg': ['ES256']})}.{part(claims)}.AAAA",
    "the public key as a secret": with_public_key_as_secret,
    "any secret": lambda claims: jwt.encode(
        {"alg": "HS256", "kid": "ec"}, claims, OctKey.import_key("x" * 32), algorithms=["HS256"]
    ),
    "an unknown key": lambda claims: signed(claims, OTHER_KEY),
    "another key under a known name": lambda claims: signed(claims, OTHER_KEY, kid="ec"),
    "a key that came along": lambda claims: jws.serialize_compact(
        {"alg": "ES256", "jwk": OTHER_KEY.as_dict(private=False)}, json.dumps(claims), OTHER_KEY
    ),
    "a critical word": lambda claims: by_hand({"alg": "Ed25519", "kid": "ed", "crit": ["x"], "x": 1}, claims),
    "another key's algorithm": lambda claims: signed(claims, RSA_KEY, "RS256", kid="ec"),
    "changed afterwards": lambda claims: swapped(signed(claims), claims | {"sub": "bob"}),
    "cut": lambda claims: signed(claims)[:-4],
    "two parts": lambda claims: signed(claims).rpartition(".")[0],
    "five parts": lambda claims: signed(claims) + ".a.b",
    "no text": lambda claims: "\u00e4.b.c",
    "huge": lambda claims: signed(claims | {"x": "y" * 200_000}),
    "empty": lambda claims: "",
}


def swapped(token: str, claims: dict[str, Any]) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{part(claims)}.{signature}"


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_a_token_that_the_issuer_has_not_signed_is_refused(
    issuer: Issuer, forge: Callable[[dict[str, Any]], str]
) -> None:
    people = await strict(issuer)
    assert await outcome(issuer, people, forge(issuer.claims())) == 400


async def test_rotated_keys_are_fetched_once_and_not_for_every_unknown_name(issuer: Issuer) -> None:
    people = await strict(issuer)
    assert await outcome(issuer, people, signed(issuer.claims())) == 200
    assert await outcome(issuer, people, signed(issuer.claims())) == 200
    assert issuer.fetched == 1
    issuer.keys = [OTHER_KEY]
    assert await outcome(issuer, people, signed(issuer.claims(), OTHER_KEY)) == 200
    assert issuer.fetched == 2
    # The old key is gone with the new set.
    for _ in range(3):
        assert await outcome(issuer, people, signed(issuer.claims())) == 400
    assert issuer.fetched == 2


async def test_keys_are_used_on_while_the_issuer_does_not_answer(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await strict(issuer)
    assert await outcome(issuer, people, signed(issuer.claims())) == 200
    monkeypatch.setattr(openid, "KEPT_S", -1.0)
    issuer.site.provider.answers["/keys"] = lambda asked: told({}, 503)
    assert await outcome(issuer, people, signed(issuer.claims())) == 200
    monkeypatch.setattr(openid, "STALE_S", -1.0)
    assert await outcome(issuer, people, signed(issuer.claims())) == 400


async def test_an_issuer_that_fails_is_asked_once_for_all_who_wait(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await strict(issuer)
    asked = 0

    async def failing(_: Any) -> Told:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return told({}, 503)

    issuer.site.provider.answers["/.well-known/openid-configuration"] = failing
    path = f"/api/collections/{people}/auth-methods"
    answers = await asyncio.gather(*(issuer.site.client.get(path) for _ in range(5)))
    assert [answer.json()["oauth2"]["providers"] for answer in answers] == [[]] * 5
    assert asked == 1
    issuer.site.provider.answers["/.well-known/openid-configuration"] = lambda asked: told(issuer.document)
    monkeypatch.setattr(openid, "RETRY_S", 0.0)
    assert await outcome(issuer, people, signed(issuer.claims())) == 200


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "oct", "k": "AAAA", "kid": "ec"}],
        [{**EC_KEY.as_dict(private=False), "use": "enc"}],
        [{**EC_KEY.as_dict(private=False), "alg": "ES512"}],
        [{"kty": "EC", "kid": "ec", "crv": "P-256", "x": "!", "y": 5}, "x", None],
    ],
    ids=["none", "a secret", "for encryption", "for another algorithm", "broken"],
)
async def test_a_key_that_cannot_be_one_for_signatures_is_not_used(issuer: Issuer, keys: list[Any]) -> None:
    people = await strict(issuer)
    issuer.keys = keys
    assert await outcome(issuer, people, signed(issuer.claims())) == 400


@pytest.mark.parametrize(
    "answer",
    [
        told({"issuer": "https://another.example", "jwks_uri": "https://another.example/keys"}),
        told({"issuer": 5}),
        told([]),
        told({}, 404),
        Told(200, b"<html>"),
        Told(200, b'{"issuer": "' + b"x" * 1_100_000 + b'"}'),
        Told(302, b"", (("Location", "http://169.254.169.254/latest/meta-data"),)),
    ],
    ids=[
        "about another",
        "mistyped",
        "a list",
        "missing",
        "a page",
        "huge",
        "a redirect to a private address",
    ],
)
async def test_an_issuer_whose_document_is_none_is_not_offered(issuer: Issuer, answer: Told) -> None:
    people = await strict(issuer)
    issuer.site.provider.answers["/.well-known/openid-configuration"] = lambda asked: answer
    methods = (await issuer.site.client.get(f"/api/collections/{people}/auth-methods")).json()
    assert methods["oauth2"] == {"providers": [], "enabled": True}
    refused = await issuer.site.sign_in(people, issuer.code(signed(issuer.claims())), codeVerifier=VERIFIER)
    assert (refused.status_code, refused.json()["message"]) == (400, "Failed to fetch OAuth2 token.")


async def test_the_profile_beside_a_token_must_be_of_the_same_person(issuer: Issuer) -> None:
    issuer.document["userinfo_endpoint"] = f"{issuer.url}/userinfo"
    people = await strict(issuer)
    for sub, status in (("bob", 400), ("ann", 200)):
        tokens = {"id_token": signed(issuer.claims()), "access_token": f"at-{sub}"}
        code = issuer.site.provider.code_for(sub, tokens, name="Told")
        answer = await issuer.site.sign_in(people, code, codeVerifier=VERIFIER)
        assert answer.status_code == status, answer.text
    assert answer.json()["meta"]["name"] == "Told"


async def test_a_small_key_is_not_used(issuer: Issuer) -> None:
    people = await strict(issuer)
    small = rsa.generate_private_key(65537, 1024)
    numbers = small.public_key().public_numbers()
    modulus = base64.urlsafe_b64encode(numbers.n.to_bytes(128)).rstrip(b"=").decode()
    issuer.keys = [{"kty": "RSA", "kid": "small", "e": "AQAB", "n": modulus}]
    signing_input = f"{part({'alg': 'RS256', 'kid': 'small'})}.{part(issuer.claims())}"
    signature = small.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
    token = f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert await outcome(issuer, people, token) == 400


# As PocketBase has it: no userInfoURL, and in `extra` what is to be compared


async def lenient(issuer: Issuer, **extra: Any) -> str:
    return await issuer.site.collection([issuer.site.configured("oidc", userInfoURL="", extra=extra)])


async def test_without_an_address_for_users_the_id_token_is_the_profile(issuer: Issuer) -> None:
    people = await lenient(issuer)
    moment = int(time.time())
    # Five minutes of leeway; nonce, issuer and signature are not compared here.
    token = signed(issuer.claims(exp=moment - 200, nonce=None, iss=None, iat=None), OTHER_KEY)
    assert await outcome(issuer, people, token) == 200
    for wrong in ({"aud": "another"}, {"exp": moment - 301}, {"exp": None}):
        assert await outcome(issuer, people, signed(issuer.claims(**wrong), OTHER_KEY)) == 400
    assert await outcome(issuer, people, FORGED["unsigned"](issuer.claims())) == 400
    code = issuer.site.provider.code_for()
    assert (await issuer.site.sign_in(people, code)).json()["message"] == "Failed to fetch OAuth2 user."


async def test_issuers_and_keys_of_the_collection_are_compared(issuer: Issuer) -> None:
    issuers = [issuer.url, "https://second.example"]
    people = await lenient(issuer, issuers=issuers, jwksURL=f"{issuer.url}/keys")
    assert await outcome(issuer, people, signed(issuer.claims(iss="https://second.example"))) == 200
    assert await outcome(issuer, people, signed(issuer.claims(iss="https://third.example"))) == 400
    for forge in FORGED.values():
        assert await outcome(issuer, people, forge(issuer.claims())) == 400
