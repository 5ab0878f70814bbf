"""How one can sign in, and what the endpoints of a method that is off say."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

from groundplane.auth.methods import auth_methods
from groundplane.schema.collection import Collection
from groundplane.schema.options import MFA, OTP, AuthOptions, OAuth2, PasswordAuth, Provider


def methods(**options: Any) -> dict[str, Any]:
    return auth_methods(Collection(id="x", name="x", type="auth", options=AuthOptions(**options)))


async def test_the_methods_of_a_new_collection_in_order(site: Any) -> None:
    response = await site.client.get("/api/collections/users/auth-methods")
    assert response.status_code == 200
    assert response.text == (
        '{"password":{"identityFields":["email"],"enabled":true},"oauth2":{"providers":[],"enabled":false},'
        '"mfa":{"enabled":false,"duration":0},"otp":{"enabled":false,"duration":0},'
        '"authProviders":null,"usernamePassword":false,"emailPassword":true}\n'
    )
    response = await site.client.get("/api/collections/users/auth-methods?fields=password.enabled")
    assert response.json() == {"password": {"enabled": True}}


def test_what_is_off_shows_nothing_of_its_options() -> None:
    found = methods(
        password_auth=PasswordAuth(enabled=False, identity_fields=["email", "username"]),
        mfa=MFA(enabled=True, duration=60),
        otp=OTP(enabled=True, duration=90),
        oauth2=OAuth2(enabled=False, providers=[Provider(name="google")]),
    )
    assert found["password"] == {"identityFields": [], "enabled": False}
    assert (found["emailPassword"], found["usernamePassword"]) == (False, False)
    assert found["mfa"] == {"enabled": True, "duration": 60}
    assert found["otp"] == {"enabled": True, "duration": 90}
    assert (found["oauth2"]["providers"], found["authProviders"]) == ([], None)


async def test_a_provider_has_a_fresh_address_to_go_to(site: Any) -> None:
    async def offered(providers: list[Provider]) -> dict[str, Any]:
        options = AuthOptions(oauth2=OAuth2(enabled=True, providers=providers))
        collection = Collection(id="x", name="x", type="auth", options=options)
        return auth_methods(collection, await site.services.auth.oauth2.methods(collection))

    providers = [
        Provider(name="github", clientId="id & more"),
        Provider(name="nothing", clientId="x"),
        Provider(name="apple", clientId="x", displayName="Fruit"),
        Provider(name="oidc", clientId="x", authURL="https://a.b/auth?tenant=1", pkce=False),
        Provider(name="notion", clientId="x"),
    ]
    found = await offered(providers)
    shown = {each["name"]: each for each in found["oauth2"]["providers"]}
    assert list(shown) == ["github", "apple", "oidc", "notion"]
    github = shown["github"]
    assert list(github) == [
        "name", "displayName", "logo", "state", "authURL", "authUrl",
        "codeVerifier", "codeChallenge", "codeChallengeMethod",
    ]  # fmt: skip
    url = urlsplit(github["authURL"])
    assert github["authURL"] == github["authUrl"]
    assert github["authURL"].startswith("https://github.com/login/oauth/authorize?client_id=id+%26+more&")
    assert github["authURL"].endswith("&redirect_uri=")
    query = dict(parse_qsl(url.query))
    assert list(query) == sorted(query)
    assert query["scope"] == "read:user user:email"
    assert (query["state"], query["response_type"]) == (github["state"], "code")
    digest = hashlib.sha256(github["codeVerifier"].encode()).digest()
    assert query["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert (len(github["state"]), len(github["codeVerifier"])) == (30, 43)
    assert shown["apple"]["displayName"] == "Fruit"
    assert "response_mode=form_post&" in shown["apple"]["authURL"]
    assert shown["oidc"]["authURL"].startswith("https://a.b/auth?tenant=1&client_id=x&")
    assert [shown["oidc"][key] for key in ("codeVerifier", "codeChallenge", "codeChallengeMethod")] == [
        ""
    ] * 3
    assert "scope=" not in shown["notion"]["authURL"]
    assert {each["logo"] for each in found["authProviders"]} == {""}
    assert (await offered(providers))["oauth2"] != found["oauth2"]


@pytest.mark.parametrize(
    ("collection", "action", "status", "message"),
    [
        (
            "users",
            "auth-with-oauth2",
            403,
            "The collection is not configured to allow OAuth2 authentication.",
        ),
        ("users", "auth-with-otp", 403, "The collection is not configured to allow OTP authentication."),
        ("users", "request-otp", 403, "The collection is not configured to allow OTP authentication."),
        ("_superusers", "request-verification", 400, "All superusers are verified by default."),
        ("_superusers", "confirm-verification", 400, "All superusers are verified by default."),
        ("_superusers", "confirm-email-change", 400, "All superusers can change their emails directly."),
        ("users", "request-email-change", 401, "The request requires valid record authorization token."),
        ("_mfas", "request-otp", 404, "Missing or invalid auth collection context."),
        ("nothing", "request-otp", 404, "Missing or invalid collection context."),
    ],
)
async def test_a_method_that_is_off_says_so(
    site: Any, collection: str, action: str, status: int, message: str
) -> None:
    response = await site.client.post(f"/api/collections/{collection}/{action}", json={})
    assert (response.status_code, response.json()) == (
        status,
        {"data": {}, "message": message, "status": status},
    )


async def test_password_resets_are_off_where_passwords_are(site: Any) -> None:
    await site.collections.update("users", {"passwordAuth": {"enabled": False}})
    response = await site.client.post("/api/collections/users/request-password-reset", json={})
    assert (response.status_code, response.json()["message"]) == (
        400,
        "The collection is not configured to allow password authentication.",
    )


APPLE = "/api/settings/apple/generate-client-secret"


def private_key() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        .decode()
    )


async def test_a_superuser_makes_a_client_secret_for_apple(site: Any) -> None:
    root = await site.superuser()
    key = private_key()
    form = {"clientId": "c", "teamId": "t" * 10, "keyId": "k" * 10, "privateKey": key, "duration": 60}
    response = await site.client.post(APPLE, json=form, headers=root)
    assert response.status_code == 200
    token = jwt.decode(response.json()["secret"], ECKey.import_key(key), algorithms=["ES256"])
    assert token.header["kid"] == "k" * 10
    assert (token.claims["iss"], token.claims["sub"]) == ("t" * 10, "c")
    assert token.claims["aud"] == ["https://appleid.apple.com"]
    assert token.claims["exp"] - token.claims["iat"] == 60


async def test_what_makes_no_client_secret(site: Any) -> None:
    assert (await site.client.post(APPLE, json={})).status_code == 401
    root = await site.superuser()
    response = await site.client.post(
        APPLE, json={"teamId": "x", "privateKey": "x", "duration": 15_777_001}, headers=root
    )
    assert response.status_code == 400
    assert response.json()["message"] == "Invalid client secret data."
    assert {name: leaf["code"] for name, leaf in response.json()["data"].items()} == {
        "clientId": "validation_required",
        "duration": "validation_max_less_equal_than_required",
        "keyId": "validation_required",
        "privateKey": "validation_match_invalid",
        "teamId": "validation_length_invalid",
    }
    broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    form = {"clientId": "c", "teamId": "t" * 10, "keyId": "k" * 10, "privateKey": broken, "duration": 60}
    response = await site.client.post(APPLE, json=form, headers=root)
    assert response.status_code == 400
    assert response.json()["message"].startswith("Failed to generate client secret. Raw error: \n")
