"""Code generators and recovery codes, with a generator that others have written."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest

from groundplane.config import Config, SecurityConfig
from groundplane.security.totp import code_at, matching_step, new_secret
from groundplane.testing.server import running

BASE = "/api/collections/users"
# RFC 6238, appendix B: SHA-1 with 8 digits, of which these are the last six.
RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
RFC_CODES = {59: "287082", 1111111109: "081804", 1234567890: "005924", 2000000000: "279037"}
BAD = "validation_invalid_value"


def test_the_codes_are_those_of_the_standard() -> None:
    for moment, code in RFC_CODES.items():
        assert code_at(RFC_SECRET, moment // 30) == code
    secret = new_secret()
    generator = pyotp.TOTP(secret)
    for moment in range(0, 3_000_000_000, 99_999_989):
        assert code_at(secret, moment // 30) == generator.at(moment)


def test_a_clock_may_be_wrong_by_one_step_and_a_code_counts_once() -> None:
    now = 1_700_000_015
    step = now // 30
    for drift in (-1, 0, 1):
        assert matching_step(RFC_SECRET, code_at(RFC_SECRET, step + drift), now, 0) == step + drift
        assert matching_step(RFC_SECRET, code_at(RFC_SECRET, step + drift), now, step + drift) is None
    for drift in (-2, 2):
        assert matching_step(RFC_SECRET, code_at(RFC_SECRET, step + drift), now, 0) is None
    for hostile in ("", "0", "\uff11\uff12\uff13\uff14\uff15\uff16", "\ud800", "9" * 500):
        assert matching_step(RFC_SECRET, hostile, now, 0) is None


class Person:
    """Somebody with a password and, once set up, a code generator."""

    def __init__(self, site: Any, email: str = "a@example.com", collection: str = "users") -> None:
        self.site, self.email = site, email
        self.base = f"/api/collections/{collection}"
        self.header: dict[str, str] = {}
        self.generator = pyotp.TOTP(pyotp.random_base32())
        self.recovery_codes: list[str] = []

    async def post(self, path: str, signed_in: bool = True, **body: Any) -> Any:
        headers = self.header if signed_in else {}
        return await self.site.client.post(f"{self.base}/{path}", json=body, headers=headers)

    async def password(self, **more: Any) -> Any:
        body = {"identity": self.email, "password": "1234567890"} | more
        return await self.post("auth-with-password", signed_in=False, **body)

    async def begin(self) -> str:
        """The id of a sign-in that waits for the second factor."""
        answer = await self.password()
        assert answer.status_code == 401, answer.text
        return str(answer.json()["mfaId"])

    async def sign_in(self) -> None:
        answer = await self.password()
        assert answer.status_code == 200, answer.text
        self.header = {"Authorization": answer.json()["token"]}

    async def set_up(self) -> None:
        await self.sign_in()
        begun = (await self.post("totp", password="1234567890")).json()
        self.generator = pyotp.parse_uri(begun["url"])  # type: ignore[assignment]
        answer = await self.post("totp/confirm", code=self.generator.at(time.time() - 30))
        assert answer.status_code == 200, answer.text
        self.recovery_codes = answer.json()["recoveryCodes"]


@pytest.fixture
async def person(site: Any) -> Person:
    await site.allow(totp={"enabled": True})
    await site.user("a@example.com")
    return Person(site)


async def test_who_has_set_up_a_generator_needs_it_from_then_on(person: Person) -> None:
    await person.sign_in()
    begun = (await person.post("totp")).json()
    parts = urlsplit(begun["url"])
    fields = parse_qs(parts.query)
    assert unquote(parts.path) == "/Acme:a@example.com"
    assert (parts.scheme, parts.netloc, fields["secret"]) == ("otpauth", "totp", [begun["secret"]])
    assert (await person.password()).status_code == 200, "not before it is confirmed"
    wrong = await person.post("totp/confirm", code="000000")
    assert wrong.json()["data"]["code"]["code"] == BAD
    person.generator = pyotp.TOTP(begun["secret"])
    confirmed = await person.post("totp/confirm", code=person.generator.now())
    assert len(set(confirmed.json()["recoveryCodes"])) == 10
    shown = (await person.site.client.get(f"{BASE}/totp", headers=person.header)).json()
    assert (shown["enabled"], shown["recoveryCodes"]) == (True, 10)
    mfa_id = await person.begin()
    code = person.generator.at(time.time() + 30)
    answer = await person.post("auth-with-totp", signed_in=False, mfaId=mfa_id, code=code)
    assert answer.status_code == 200, answer.text
    assert answer.json()["record"]["email"] == "a@example.com"
    assert (await person.site.client.get("/api/collections/users/auth-methods")).json()["totp"] == {
        "enabled": True
    }


async def test_a_code_counts_once_also_for_two_at_once(person: Person) -> None:
    await person.set_up()
    ids = [await person.begin(), await person.begin()]
    code = person.generator.now()
    answers = await asyncio.gather(
        *(person.post("auth-with-totp", signed_in=False, mfaId=id, code=code) for id in ids)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    again = await person.post("auth-with-totp", signed_in=False, mfaId=await person.begin(), code=code)
    assert again.json()["data"]["code"]["code"] == BAD


async def test_a_recovery_code_replaces_the_generator_once(person: Person) -> None:
    await person.set_up()
    ids = [await person.begin() for _ in range(3)]
    code = person.recovery_codes[0].upper().replace("-", " ")
    answers = await asyncio.gather(
        *(person.post("auth-with-totp", signed_in=False, mfaId=id, recoveryCode=code) for id in ids)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    shown = (await person.site.client.get(f"{BASE}/totp", headers=person.header)).json()
    assert shown["recoveryCodes"] == 9
    new = await person.post("totp/recovery-codes", code=person.generator.now())
    assert len(new.json()["recoveryCodes"]) == 10
    old = person.recovery_codes[1]
    answer = await person.post(
        "auth-with-totp", signed_in=False, mfaId=await person.begin(), recoveryCode=old
    )
    assert answer.json()["data"]["recoveryCode"]["code"] == BAD
    rows = str([dict(row) for row in await person.site.db.fetch("SELECT * FROM _recovery_codes")])
    assert not any(code in rows or code.replace("-", "") in rows for code in new.json()["recoveryCodes"])


async def test_guesses_are_counted_for_the_account_whoever_makes_them(person: Person) -> None:
    await person.set_up()
    mfa_id = await person.begin()
    for number in range(5):
        async with person.site.client_from(f"10.0.0.{number}") as client:
            body = {"mfaId": mfa_id, "code": f"00000{number}"}
            assert (await client.post(f"{BASE}/auth-with-totp", json=body)).status_code == 400
    body = {"mfaId": mfa_id, "code": person.generator.now()}
    for more in (body, {"mfaId": mfa_id, "recoveryCode": person.recovery_codes[0]}):
        answer = await person.site.client.post(f"{BASE}/auth-with-totp", json=more)
        assert answer.status_code == 429
        assert answer.json()["message"] == "Too many attempts, please try again later."
    await person.site.db.execute("UPDATE _factor_attempts SET started = started - interval '16 minutes'")
    assert (await person.site.client.post(f"{BASE}/auth-with-totp", json=body)).status_code == 200


async def test_a_second_factor_needs_a_first_one(person: Person) -> None:
    await person.set_up()
    code = person.generator.now()
    for mfa_id in ("", "x" * 15, "a\0b"):
        answer = await person.post("auth-with-totp", signed_in=False, mfaId=mfa_id, code=code)
        assert answer.json()["message"] == "Invalid or expired MFA session."
    other = Person(person.site, "b@example.com")
    await person.site.user("b@example.com")
    await other.set_up()
    mfa_id = await other.begin()
    answer = await person.post("auth-with-totp", signed_in=False, mfaId=mfa_id, code=code)
    assert answer.status_code == 400


async def test_a_token_alone_changes_nothing_about_the_second_factor(person: Person) -> None:
    await person.sign_in()
    stolen = person.header
    await person.site.db.execute("UPDATE _sessions SET created = created - interval '16 minutes'")
    for body in ({}, {"password": "wrong"}):
        assert (await person.post("totp", **body)).status_code == 403
    others = (await person.post("sessions/revoke-others")).json()
    person.header = stolen = {"Authorization": others["token"]}
    assert (await person.post("totp")).status_code == 403, "nothing was proven anew"
    root = await person.site.superuser()
    url = f"{BASE}/impersonate/{others['record']['id']}"
    acting = (await person.site.client.post(url, headers=root)).json()["token"]
    assert (
        await person.site.client.post(f"{BASE}/totp", headers={"Authorization": acting})
    ).status_code == 403
    await person.set_up()
    person.header = stolen
    for path in ("totp/disable", "totp/recovery-codes"):
        answer = await person.post(path)
        assert answer.json()["data"]["code"]["code"] == "validation_required", path
        assert (await person.post(path, code="123456")).status_code == 400
    assert (await person.post("totp", password="1234567890")).json()["message"].startswith("The code gen")
    assert (await person.post("totp/confirm", code="123456")).status_code == 400
    assert (await person.site.client.delete(f"{BASE}/totp", headers=stolen)).status_code == 403
    assert (await person.post("totp/disable", code=person.generator.now())).status_code == 204
    assert (await person.password()).status_code == 200


async def test_a_superuser_takes_the_generator_from_who_has_lost_it(person: Person) -> None:
    await person.set_up()
    user = (await person.site.db.fetch("SELECT id FROM users"))[0]["id"]
    root = await person.site.superuser()
    url = f"{BASE}/totp"
    shown = await person.site.client.get(url, headers=root, params={"record": user})
    assert shown.json()["enabled"] is True
    assert (await person.site.client.delete(url, headers=root, params={"record": user})).status_code == 204
    assert (await person.password()).status_code == 200
    assert (await person.site.client.delete(url, headers=root, params={"record": user})).status_code == 400


async def test_the_generator_of_a_deleted_record_does_not_come_back_with_its_id(person: Person) -> None:
    await person.set_up()
    user = (await person.site.db.fetch("SELECT id FROM users"))[0]["id"]
    root = await person.site.superuser()
    assert (await person.site.client.delete(f"{BASE}/records/{user}", headers=root)).status_code == 204
    for table in ("_totp", "_recovery_codes", "_sessions"):
        found = f"SELECT count(*) FROM {table} WHERE record = $1"
        assert await person.site.db.fetchval(found, user) == 0, table
    await person.site.user("a@example.com", id=user)
    assert (await person.password()).status_code == 200


async def test_who_set_up_a_generator_before_the_address_was_proven_does_not_keep_the_owner_out(
    person: Person,
) -> None:
    await person.set_up()
    user = (await person.site.db.fetch("SELECT id FROM users"))[0]["id"]
    root = await person.site.superuser()
    url = f"{BASE}/records/{user}"
    assert (await person.site.client.patch(url, json={"verified": True}, headers=root)).status_code == 200
    assert (await person.password()).status_code == 200


async def test_nothing_of_it_is_there_where_the_collection_does_not_allow_it(site: Any) -> None:
    await site.user("a@example.com")
    person = Person(site)
    await person.sign_in()
    for path in ("totp", "totp/confirm", "totp/disable", "totp/recovery-codes", "auth-with-totp"):
        answer = await person.post(path, code="123456", password="1234567890", mfaId="x")
        assert answer.status_code == 403, path
        assert answer.json()["message"] == "The collection is not configured to allow code generators."
    assert "totp" not in (await site.client.get(f"{BASE}/auth-methods")).json()
    root = await site.superuser()
    shown = (await site.client.get("/api/collections/users", headers=root)).json()
    assert not {"totp", "passkeys", "magicLink"} & shown.keys()
    assert (await site.client.get(f"{BASE}/totp")).status_code == 401


async def test_superusers_may_have_one_too(site: Any) -> None:
    await site.superuser()
    await site.allow("_superusers", totp={"enabled": True})
    person = Person(site, "root@example.com", "_superusers")
    await person.set_up()
    mfa_id = await person.begin()
    code = person.generator.now()
    answer = await person.post("auth-with-totp", signed_in=False, mfaId=mfa_id, code=code)
    assert answer.status_code == 200


async def test_secrets_are_sealed_where_there_is_a_key(
    server_database_url: str, tmp_path: Any, site_type: Any
) -> None:
    config = Config(data_dir=str(tmp_path), security=SecurityConfig(encryption_key="k" * 32))
    async with running(config, server_database_url) as server:
        person = Person(site_type(server))
        await person.site.allow(totp={"enabled": True})
        await person.site.user("a@example.com")
        await person.set_up()
        stored = await server.services.db.fetchval("SELECT secret FROM _totp")
        assert stored.startswith("gp1:")
        mfa_id = await person.begin()
        code = person.generator.now()
        assert (await person.post("auth-with-totp", mfaId=mfa_id, code=code)).status_code == 200
