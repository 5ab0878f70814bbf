"""Signing in with a password, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import bcrypt
import pytest

from groundplane.clock import now
from groundplane.security import passwords

FAILED = {"data": {}, "message": "Failed to authenticate.", "status": 400}
BLANK = {"code": "validation_required", "message": "Cannot be blank."}
INVALID = "An error occurred while validating the submitted data."


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def old_hash(plain: str) -> str:
    return bcrypt.hashpw(plain.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2a$", 1)


async def set_options(site: Any, name: str, **options: Any) -> None:
    """Change a collection as an administrator does."""
    await site.collections.update(name, options)


async def test_the_answer_holds_the_own_record_and_a_token_of_five_days(site: Any) -> None:
    user = await site.user("a@example.com")
    response = await site.sign_in("a@example.com")
    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["record", "token"]
    assert body["record"]["id"] == user["id"]
    assert body["record"]["email"] == "a@example.com"
    assert "password" not in body["record"]
    assert "tokenKey" not in body["record"]
    assert list(body["record"]) == sorted(body["record"])
    found = claims(body["token"])
    assert found == {
        "collectionId": "_pb_users_auth_",
        "exp": found["exp"],
        "id": user["id"],
        "refreshable": True,
        "type": "auth",
    }
    assert abs(found["exp"] - time.time() - 432_000) < 5


async def test_the_token_signs_requests(site: Any) -> None:
    user = await site.user("a@example.com")
    token = (await site.sign_in("a@example.com")).json()["token"]
    for header in (token, f"Bearer {token}", f"bearer {token}", f"BEARER {token}"):
        url = f"/api/collections/users/records/{user['id']}"
        response = await site.client.get(url, headers={"Authorization": header})
        assert response.status_code == 200, header
    for header in (f"Bearer  {token}", f"Basic {token}", token[:-2], "", "Bearer "):
        response = await site.client.get(url, headers={"Authorization": header})
        assert response.status_code == 404, header


async def test_fields_cut_the_answer_down(site: Any) -> None:
    await site.user("a@example.com")
    url = "/api/collections/users/auth-with-password?fields=token,record.email"
    response = await site.client.post(url, json={"identity": "a@example.com", "password": "1234567890"})
    assert set(response.json()) == {"token", "record"}
    assert response.json()["record"] == {"email": "a@example.com"}


async def test_wrong_password_unknown_account_and_no_password_are_one_answer(site: Any) -> None:
    await site.user("a@example.com")
    await site.user("none@example.com", password="")
    for identity, password in (
        ("a@example.com", "wrong-password"),
        ("nobody@example.com", "1234567890"),
        ("not an address", "1234567890"),
        ("a\0b", "1234567890"),
        ("none@example.com", "1234567890"),
    ):
        response = await site.sign_in(identity, password)
        assert (response.status_code, response.json()) == (400, FAILED), identity


async def test_every_refusal_costs_exactly_one_comparison(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.user("new@example.com")
    await site.user("old@example.com", password=old_hash("1234567890"))
    await site.user("none@example.com", password="")
    compared: list[str] = []
    original = passwords.HASHER.verify, passwords.bcrypt.checkpw

    def argon2(*args: Any) -> bool:
        compared.append("argon2")
        return bool(original[0](*args))

    def checkpw(*args: Any) -> bool:
        compared.append("bcrypt")
        return original[1](*args)

    monkeypatch.setattr(passwords, "HASHER", _Counting(passwords.HASHER, argon2))
    monkeypatch.setattr(passwords.bcrypt, "checkpw", checkpw)
    expected = {"new@example.com": {"argon2"}, "old@example.com": {"bcrypt"}, "none@example.com": {"argon2"}}
    for identity, kinds in expected.items():
        compared.clear()
        assert (await site.sign_in(identity, "wrong-password")).status_code == 400
        assert len(compared) == 1
        assert set(compared) == kinds
    seen: dict[str, list[str]] = {}
    for identity in [f"nobody{number}@example.com" for number in range(12)] * 2:
        compared.clear()
        await site.sign_in(identity, "wrong-password")
        assert len(compared) == 1
        seen.setdefault(identity, []).append(compared[0])
    assert all(one == other for one, other in seen.values()), "an account looks the same every time"


class _Counting:
    """A hasher whose verify is watched."""

    def __init__(self, hasher: Any, verify: Callable[..., bool]) -> None:
        self.hash = hasher.hash
        self.check_needs_rehash = hasher.check_needs_rehash
        self.verify = verify


async def test_an_old_hash_is_replaced_at_sign_in_and_nobody_is_signed_out(site: Any) -> None:
    user = await site.user("a@example.com", password=old_hash("1234567890"))
    session = site.token("users", user)
    response = await site.sign_in("a@example.com")
    assert response.status_code == 200
    row = await site.db.fetchrow('SELECT password, "tokenKey", updated FROM users WHERE id = $1', user["id"])
    assert row["password"].startswith("$argon2id$")
    assert (row["tokenKey"], row["updated"]) == (user["tokenKey"], user["updated"])
    refreshed = await site.client.post("/api/collections/users/auth-refresh", headers=session)
    assert refreshed.status_code == 200
    assert (await site.sign_in("a@example.com")).status_code == 200


async def test_a_long_password_that_matched_an_old_hash_still_matches_after_the_upgrade(site: Any) -> None:
    await site.user("a@example.com", password=old_hash("x" * 72))
    for password in ("x" * 72 + "more", "x" * 100, "x" * 72):
        assert (await site.sign_in("a@example.com", password)).status_code == 200
    assert (await site.sign_in("a@example.com", "x" * 71)).status_code == 400


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ({}, {"identity": BLANK, "password": BLANK}),
        ({"identity": "a", "password": ""}, {"password": BLANK}),
        (
            {"identity": "ä" * 128, "password": "x"},
            {
                "identity": {
                    "code": "validation_length_out_of_range",
                    "message": "The length must be between 1 and 255.",
                    "params": {"max": 255, "min": 1},
                }
            },
        ),
        (
            {"identity": "a", "password": "x", "identityField": "name"},
            {"identityField": {"code": "validation_in_invalid", "message": "Must be a valid value."}},
        ),
    ],
)
async def test_what_the_form_must_hold(site: Any, body: dict[str, Any], data: dict[str, Any]) -> None:
    response = await site.client.post("/api/collections/users/auth-with-password", json=body)
    assert response.status_code == 400
    assert response.json() == {"data": data, "message": INVALID, "status": 400}


async def test_a_body_that_cannot_be_read(site: Any) -> None:
    url = "/api/collections/users/auth-with-password"
    for content in (b"{", b"[]", b'{"identity":1,"password":"x"}'):
        response = await site.client.post(url, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 400
        assert response.json()["message"] == "An error occurred while loading the submitted data."
    response = await site.client.post(url, content=b"x", headers={"Content-Type": "text/plain"})
    assert response.json()["message"] == "Unsupported Content-Type."


async def test_forms_sign_in_too_and_digits_stay_text(site: Any) -> None:
    await site.user("a@example.com", password="1234567890")
    data = {"identity": "a@example.com", "password": "1234567890"}
    for kind in ({"data": data}, {"files": {key: (None, value) for key, value in data.items()}}):
        response = await site.client.post("/api/collections/users/auth-with-password", **kind)
        assert response.status_code == 200


async def test_unknown_and_other_collections(site: Any) -> None:
    response = await site.client.post("/api/collections/nothing/auth-with-password", json={})
    assert (response.status_code, response.json()["message"]) == (
        404,
        "Missing or invalid collection context.",
    )
    response = await site.client.post("/api/collections/_mfas/auth-with-password", json={})
    assert response.status_code == 404
    assert response.json()["message"] == "Missing or invalid auth collection context."
    for name in ("USERS", "_pb_users_auth_"):
        assert (await site.client.get(f"/api/collections/{name}/auth-methods")).status_code == 200
    for method, path in (("GET", "auth-with-password"), ("POST", "auth-methods"), ("PUT", "auth-refresh")):
        response = await site.client.request(method, f"/api/collections/users/{path}")
        assert response.status_code == 404
        assert response.json()["message"] == "The requested resource wasn't found."


async def test_password_sign_in_can_be_switched_off(site: Any) -> None:
    await site.user("a@example.com")
    await set_options(site, "users", passwordAuth={"enabled": False})
    response = await site.sign_in("a@example.com")
    assert response.status_code == 403
    assert response.json()["message"] == (
        "The collection is not configured to allow password authentication."
    )


async def test_a_null_auth_rule_refuses_all_but_superusers_and_an_expression_decides(site: Any) -> None:
    await site.user("in@example.com", verified=True)
    await site.user("out@example.com", verified=False)
    await set_options(site, "users", authRule="verified = true && @request.context = 'password'")
    assert (await site.sign_in("in@example.com")).status_code == 200
    response = await site.sign_in("out@example.com")
    assert response.status_code == 403
    assert response.json()["message"] == (
        "The request doesn't satisfy the collection requirements to authenticate."
    )
    await set_options(site, "users", authRule=None)
    assert (await site.sign_in("in@example.com")).status_code == 403
    root = await site.superuser()
    body = {"identity": "out@example.com", "password": "1234567890"}
    url = "/api/collections/users/auth-with-password"
    assert (await site.client.post(url, json=body, headers=root)).status_code == 200


async def test_several_identity_fields_are_tried_the_email_first(site: Any) -> None:
    users = site.schema.current.find("users")
    await set_options(
        site,
        "users",
        fields=[
            *(field.to_json() for field in users.fields),
            {"name": "nick", "type": "text"},
        ],
        indexes=[
            *users.indexes,
            "CREATE UNIQUE INDEX `nick` ON `users` (`nick` COLLATE NOCASE) WHERE `nick` != ''",
        ],
        passwordAuth={"enabled": True, "identityFields": ["nick", "email"]},
    )
    one = await site.user("one@example.com", nick="two@example.com")
    two = await site.user("two@example.com", nick="Pete")

    async def who(identity: str, **more: Any) -> str:
        response = await site.sign_in(identity, **more)
        return str(response.json()["record"]["id"]) if response.status_code == 200 else ""

    assert await who("two@example.com") == two["id"]
    assert await who("two@example.com", identityField="nick") == one["id"]
    assert await who("pete") == two["id"]
    assert await who("PETE", identityField="nick") == two["id"]
    assert await who("Pete", identityField="email") == ""
    assert await who("ONE@example.com") == ""


async def test_the_second_factor_is_used_once_and_is_another_method(site: Any) -> None:
    user = await site.user("a@example.com")
    other = await site.user("b@example.com")
    await set_options(
        site,
        "users",
        mfa={"enabled": True, "duration": 600},
        otp={"enabled": True},
        authAlert={"enabled": True},
    )
    response = await site.sign_in("a@example.com")
    assert response.status_code == 401
    assert list(response.json()) == ["mfaId"]
    mfa_id = response.json()["mfaId"]
    row = await site.db.fetchrow("SELECT * FROM _mfas WHERE id = $1", mfa_id)
    assert (row["collectionRef"], row["recordRef"], row["method"]) == (
        "_pb_users_auth_",
        user["id"],
        "password",
    )
    assert await site.db.fetchval('SELECT count(*) FROM "_authOrigins"') == 0

    async def second(**more: Any) -> tuple[int, str]:
        response = await site.sign_in("a@example.com", **more)
        return response.status_code, response.json().get("message", "")

    assert await second(mfaId=mfa_id) == (400, "A different authentication method is required.")
    assert await second(mfaId="unknown") == (400, "Invalid or expired MFA session.")
    assert await second(mfaId="a\0") == (400, "Invalid or expired MFA session.")
    await site.db.execute("UPDATE _mfas SET \"recordRef\" = $1, method = 'otp'", other["id"])
    assert await second(mfaId=mfa_id) == (400, "Invalid MFA session.")
    await site.db.execute('UPDATE _mfas SET "recordRef" = $1', user["id"])
    assert await second(mfaId=mfa_id) == (200, "")
    assert await second(mfaId=mfa_id) == (400, "Invalid or expired MFA session.")


async def test_an_expired_first_factor_is_refused_and_removed(site: Any) -> None:
    user = await site.user("a@example.com")
    await set_options(site, "users", mfa={"enabled": True, "duration": 600}, otp={"enabled": True})
    await site.db.execute(
        """INSERT INTO _mfas (id, "collectionRef", "recordRef", method, created, updated)
           VALUES ('m', '_pb_users_auth_', $1, 'otp', $2, $2)""",
        user["id"],
        now() - timedelta(seconds=601),
    )
    response = await site.sign_in("a@example.com", mfaId="m")
    assert response.json()["message"] == "Invalid or expired MFA session."
    assert await site.db.fetchval("SELECT count(*) FROM _mfas") == 0


async def test_the_second_factor_may_be_asked_of_some_only(site: Any) -> None:
    await site.user("in@example.com", verified=True)
    await site.user("out@example.com", verified=False)
    await set_options(site, "users", mfa={"enabled": True, "rule": "verified = true"}, otp={"enabled": True})
    assert (await site.sign_in("in@example.com")).status_code == 401
    assert (await site.sign_in("out@example.com")).status_code == 200


async def test_where_a_record_signed_in_from_is_kept_for_the_last_five_places(site: Any) -> None:
    user = await site.user("a@example.com")

    async def sign_in(agent: str) -> None:
        body = {"identity": "a@example.com", "password": "1234567890"}
        url = "/api/collections/users/auth-with-password"
        response = await site.client.post(url, json=body, headers={"User-Agent": agent})
        assert response.status_code == 200

    for agent in ("one", "two", "one", "x" * 300):
        await sign_in(agent)
    rows = await site.db.fetch('SELECT * FROM "_authOrigins" ORDER BY created, _row')
    assert [row["recordRef"] for row in rows] == [user["id"]] * 3
    assert rows[0]["fingerprint"] == _md5("127.0.0.1one")
    assert rows[0]["updated"] > rows[0]["created"]
    assert rows[2]["fingerprint"] == _md5("127.0.0.1" + "x" * 200 + "...")
    for agent in ("three", "four", "five"):
        await sign_in(agent)
    kept = await site.db.fetch('SELECT fingerprint FROM "_authOrigins"')
    assert len(kept) == 5
    assert _md5("127.0.0.1one") not in [row["fingerprint"] for row in kept]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.mark.parametrize("option", ["authRule", "mfa"])
async def test_a_rule_that_cannot_be_evaluated_any_more_refuses(site: Any, option: str) -> None:
    await site.user("a@example.com")
    value = {"enabled": True, "duration": 60, "rule": "gone = 1"} if option == "mfa" else "gone = 1"
    # Written past the API, which would refuse it: this is what a removed field leaves behind.
    await site.db.execute(
        "UPDATE _collections SET options = jsonb_set(options::jsonb, $1, $2::jsonb)::json WHERE name = 'users'",
        [option],
        json.dumps(value),
    )
    await site.collections.refresh()
    response = await site.sign_in("a@example.com")
    if option == "mfa":
        assert (response.status_code, response.json()) == (400, FAILED)
    else:
        assert response.status_code == 403


async def test_the_record_is_expanded_by_its_own_rights(site: Any) -> None:
    await site.collections.create(
        {
            "name": "teams",
            "type": "base",
            "viewRule": "@request.auth.id != ''",
            "fields": [{"name": "title", "type": "text"}],
        }
    )
    users = site.schema.current.find("users")
    team = {"name": "team", "type": "relation", "collectionId": site.schema.current.find("teams").id}
    await set_options(site, "users", fields=[*(field.to_json() for field in users.fields), team])
    stored = await site.record("teams", title="Red")
    await site.user("a@example.com", team=stored["id"])
    url = "/api/collections/users/auth-with-password?expand=team"
    response = await site.client.post(url, json={"identity": "a@example.com", "password": "1234567890"})
    assert response.json()["record"]["expand"]["team"]["title"] == "Red"
