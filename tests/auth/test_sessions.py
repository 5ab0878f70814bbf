"""Refreshing, impersonating, and what a token is worth afterwards."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from groundplane.security import tokens

DEFAULT_404 = {"data": {}, "message": "The requested resource wasn't found.", "status": 404}
NO_TOKEN = {"data": {}, "message": "The request requires valid record authorization token.", "status": 401}
NOT_ALLOWED = {
    "data": {},
    "message": "The authorized record is not allowed to perform this action.",
    "status": 403,
}
REFRESH = "/api/collections/users/auth-refresh"


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


async def test_a_refresh_gives_a_new_token_of_full_length_and_the_current_record(site: Any) -> None:
    user = await site.user("a@example.com", name="Ann")
    header = site.token("users", user, duration_s=60)
    response = await site.client.post(REFRESH, headers=header)
    assert response.status_code == 200
    assert response.json()["record"]["name"] == "Ann"
    assert response.json()["record"]["email"] == "a@example.com"
    found = claims(response.json()["token"])
    assert found["refreshable"] is True
    assert abs(found["exp"] - time.time() - 432_000) < 5
    assert (await site.client.post(REFRESH, headers=header)).status_code == 200, "the old one stays valid"


async def test_a_static_token_comes_back_as_it_is(site: Any) -> None:
    user = await site.user("a@example.com")
    header = site.token("users", user, refreshable=False)
    response = await site.client.post(REFRESH, headers=header)
    assert response.status_code == 200
    assert response.json()["token"] == header["Authorization"]


async def test_a_refresh_needs_a_token_of_the_same_collection(site: Any) -> None:
    response = await site.client.post(REFRESH)
    assert (response.status_code, response.json()) == (401, NO_TOKEN)
    root = await site.superuser()
    response = await site.client.post(REFRESH, headers=root)
    assert response.status_code == 403
    assert response.json()["message"] == "The request requires auth record from _superusers collection."
    response = await site.client.post("/api/collections/_superusers/auth-refresh", headers=root)
    assert response.status_code == 200
    assert abs(claims(response.json()["token"])["exp"] - time.time() - 86_400) < 5
    response = await site.client.post("/api/collections/_mfas/auth-refresh", headers=root)
    assert response.status_code == 403
    response = await site.client.post("/api/collections/nothing/auth-refresh", headers=root)
    assert response.json()["message"] == "Missing or invalid collection context."


async def test_a_malformed_body_of_a_refresh_is_a_bad_request(site: Any) -> None:
    header = site.token("users", await site.user("a@example.com"))
    response = await site.client.post(
        REFRESH, headers=header | {"Content-Type": "application/json"}, content=b"{"
    )
    assert response.status_code == 400
    assert response.json()["message"] == "Something went wrong while processing your request."


async def test_a_refresh_asks_the_auth_rule_again(site: Any) -> None:
    user = await site.user("a@example.com", verified=True)
    header = site.token("users", user)
    # Written past the API: a changed rule gives the collection a new key.
    await site.db.execute(
        """UPDATE _collections SET options = jsonb_set(options::jsonb, '{authRule}', '"verified = false"')::json
           WHERE name = 'users'"""
    )
    await site.collections.refresh()
    header = site.token("users", user)
    response = await site.client.post(REFRESH, headers=header)
    assert response.status_code == 403
    assert response.json()["message"] == (
        "The request doesn't satisfy the collection requirements to authenticate."
    )


async def test_a_new_token_key_ends_every_session_at_once(site: Any) -> None:
    user = await site.user("a@example.com")
    header = site.token("users", user)
    assert (await site.client.post(REFRESH, headers=header)).status_code == 200
    await site.db.execute("""UPDATE users SET "tokenKey" = repeat('n', 50) WHERE id = $1""", user["id"])
    assert (await site.client.post(REFRESH, headers=header)).status_code == 401


async def test_a_deleted_record_has_no_session(site: Any) -> None:
    user = await site.user("a@example.com")
    header = site.token("users", user)
    await site.db.execute("DELETE FROM users WHERE id = $1", user["id"])
    assert (await site.client.post(REFRESH, headers=header)).status_code == 401


async def test_tokens_that_are_not_ours_make_a_guest(site: Any) -> None:
    user = await site.user("a@example.com")
    other = await site.user("b@example.com")
    options = site.schema.current.find("users").options
    key = user["tokenKey"] + options.auth_token.secret
    good = {"id": user["id"], "collectionId": "_pb_users_auth_", "type": "auth", "refreshable": True}

    async def status(changes: dict[str, Any], signed_with: str = key) -> int:
        token = tokens.sign(
            {name: value for name, value in (good | changes).items() if value != "absent"}, signed_with
        )
        response = await site.client.post(REFRESH, headers={"Authorization": token})
        return int(response.status_code)

    assert await status({}) == 200, "a token without exp does not expire"
    assert await status({"collectionId": "users"}) == 200, "a name will do where an id is usual"
    assert await status({"exp": time.time() + 9.5}) == 200
    assert await status({"aud": "other", "iss": "else", "sub": 1}) == 200
    refused: list[dict[str, Any]] = [
        {"exp": None},
        {"exp": 0},
        {"exp": "9999999999"},
        {"exp": time.time() - 0.5},
        {"nbf": time.time() + 60},
        {"type": "file"},
        {"type": ""},
        {"type": None},
        {"type": "absent"},
        {"id": other["id"]},
        {"id": "nobody"},
        {"id": "a\0"},
        {"id": 5},
        {"id": ""},
        {"collectionId": "_superusers"},
        {"collectionId": "pbc_3142635823"},
        {"collectionId": "_mfas"},
        {"collectionId": "nothing"},
        {"collectionId": None},
        {"collectionId": ["users"]},
    ]
    for changes in refused:
        assert await status(changes) == 401, changes
    assert await status({}, user["tokenKey"]) == 401
    assert await status({}, options.auth_token.secret) == 401
    assert await status({}, user["tokenKey"] + options.file_token.secret) == 401
    assert await status({}, other["tokenKey"] + options.auth_token.secret) == 401


async def test_a_record_with_an_empty_token_key_cannot_be_impersonated_with_the_secret_alone(
    site: Any,
) -> None:
    user = await site.user("a@example.com")
    await site.db.execute("""UPDATE users SET "tokenKey" = '' WHERE id = $1""", user["id"])
    options = site.schema.current.find("users").options
    token = tokens.sign(
        {"id": user["id"], "collectionId": "users", "type": "auth"}, options.auth_token.secret
    )
    assert (await site.client.post(REFRESH, headers={"Authorization": token})).status_code == 401


async def test_a_superuser_gets_a_static_token_of_somebody_else(site: Any) -> None:
    user = await site.user("a@example.com")
    root = await site.superuser()
    url = f"/api/collections/users/impersonate/{user['id']}"
    response = await site.client.post(url, headers=root)
    assert response.status_code == 200
    assert list(response.json()) == ["record", "token"]
    assert response.json()["record"]["email"] == "a@example.com"
    found = claims(response.json()["token"])
    assert found["refreshable"] is False
    assert abs(found["exp"] - time.time() - 432_000) < 5
    response = await site.client.post(url, headers=root, json={"duration": 100})
    assert abs(claims(response.json()["token"])["exp"] - time.time() - 100) < 5
    as_user = {"Authorization": response.json()["token"]}
    assert (await site.client.post(REFRESH, headers=as_user)).json()["token"] == as_user["Authorization"]
    me = (await site.client.get("/api/collections/_superusers/records", headers=root)).json()["items"][0]
    url = f"/api/collections/_superusers/impersonate/{me['id']}"
    assert (await site.client.post(url, headers=root)).status_code == 200


async def test_impersonation_has_its_checks_in_order(site: Any) -> None:
    user = await site.user("a@example.com")
    root = await site.superuser()
    base = "/api/collections/users/impersonate"
    response = await site.client.post(f"{base}/{user['id']}")
    assert (response.status_code, response.json()) == (401, NO_TOKEN)
    response = await site.client.post(f"{base}/{user['id']}", headers=site.token("users", user))
    assert (response.status_code, response.json()) == (403, NOT_ALLOWED)
    for name in ("nothing", "_mfas"):
        response = await site.client.post(f"/api/collections/{name}/impersonate/x", headers=root)
        assert response.status_code == 404
        assert response.json()["message"] == "Missing or invalid auth collection context."
    for unknown in ("x", "a%2Fb", "%00", "%ff", "%F0%9F%98%80"):
        response = await site.client.post(f"{base}/{unknown}", headers=root)
        assert (response.status_code, response.json()) == (404, DEFAULT_404), unknown
    response = await site.client.post(f"{base}/{user['id']}", headers=root, json={"duration": -1})
    assert response.json()["data"] == {
        "duration": {
            "code": "validation_min_greater_equal_than_required",
            "message": "Must be no less than 0.",
            "params": {"threshold": 0},
        }
    }
    assert response.json()["message"] == "An error occurred while validating the submitted data."
    loading = "An error occurred while loading the submitted data."
    response = await site.client.post(f"{base}/{user['id']}", headers=root, json={"duration": "x"})
    assert response.json()["message"] == loading
    response = await site.client.post(
        f"{base}/{user['id']}", headers=root | {"Content-Type": "text/plain"}, content=b"x"
    )
    assert response.json()["message"] == loading


async def test_superusers_may_come_from_listed_addresses_only(site: Any) -> None:
    root = await site.superuser()
    user = await site.user("a@example.com")
    await site.settings.change({"superuserIPs": ["10.0.0.0/8"]})
    refused = {"data": {}, "message": "You are not allowed to perform this request.", "status": 403}
    for path in ("/api/health", "/api/nothing", "/api/collections/users/records"):
        response = await site.client.get(path, headers=root)
        assert (response.status_code, response.json()) == (403, refused), path
    body = {"identity": "root@example.com", "password": "1234567890"}
    url = "/api/collections/_superusers/auth-with-password"
    assert (await site.client.post(url, json=body)).status_code == 403
    assert (await site.client.post(url, json=body | {"password": "wrong-one"})).status_code == 400
    async with site.client_from("10.1.2.3") as inside:
        assert (await inside.get("/api/health", headers=root)).status_code == 200
        assert (await inside.post(url, json=body)).status_code == 200
    assert (await site.client.post(REFRESH, headers=site.token("users", user))).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_tells_superusers_how_it_sees_them(site: Any, method: str) -> None:
    response = await site.client.request(method, "/api/health")
    assert response.status_code == 200
    expected = b'{"message":"API is healthy.","code":200,"data":{}}\n'
    assert response.content == (expected if method == "GET" else b"")
    assert response.headers["content-type"] == "application/json"
    root = await site.superuser()
    await site.settings.change({"trustedProxy": {"headers": ["X-Real-IP"]}})
    headers = root | {"X-Real-IP": "9.9.9.9", "CF-Connecting-IP": "8.8.8.8"}
    data = (await site.client.get("/api/health", headers=headers)).json()["data"]
    assert data == {"canBackup": True, "possibleProxyHeader": "X-Real-IP", "realIP": "9.9.9.9"}
    headers.pop("X-Real-IP")
    data = (await site.client.get("/api/health", headers=headers)).json()["data"]
    assert data == {"canBackup": True, "possibleProxyHeader": "CF-Connecting-IP", "realIP": "127.0.0.1"}
    assert list(data) == ["canBackup", "possibleProxyHeader", "realIP"]
