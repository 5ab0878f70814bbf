"""One-time passwords, from the request over the mail to the sign-in."""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_asyncio
from tests.mail.mail_site import PASSWORD, MailSite

from groundplane.jobs.job import Job
from groundplane.testing.captured import run_due

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXPIRED = {"data": {}, "message": "Invalid or expired OTP.", "status": 400}
TOO_MANY = "Too many attempts, please try again later with a new OTP."
OTHER_METHOD = "A different authentication method is required."


@pytest_asyncio.fixture(loop_scope="module")
async def site(mailed: MailSite) -> MailSite:
    await mailed.options(otp={"enabled": True})
    return mailed


async def age_otps(site: MailSite, seconds: int) -> None:
    await site.db.execute(
        'UPDATE "_otps" SET "created" = "created" - $1::interval', timedelta(seconds=seconds)
    )


async def with_code(site: MailSite, otp_id: str, code: str, **more: str) -> tuple[int, dict[str, object]]:
    response = await site.post("auth-with-otp", {"otpId": otp_id, "password": code, **more})
    return response.status_code, response.json()


async def test_a_mailed_code_signs_in_once_and_proves_the_address(site: MailSite) -> None:
    user = await site.user("a@example.com")
    otp_id, code = await site.code_for("a@example.com")
    assert (len(otp_id), len(code)) == (15, 8)
    row = await site.db.fetchrow('SELECT * FROM "_otps"')
    assert row is not None
    assert (row["id"], row["sentTo"]) == (otp_id, "a@example.com")
    assert code not in row["password"]
    status, body = await with_code(site, otp_id, code)
    assert status == 200
    assert list(body) == ["record", "token"]
    assert body["record"]["verified"]
    # Whoever set the password before need not own the address.
    assert (await site.sign_in("a@example.com", PASSWORD)).status_code == 400
    assert (await with_code(site, otp_id, code))[1] == EXPIRED
    assert (await site.stored(user))["verified"]


async def test_a_verified_record_keeps_its_password(site: MailSite) -> None:
    await site.user("a@example.com", verified=True)
    assert (await with_code(site, *await site.code_for("a@example.com")))[0] == 200
    assert (await site.sign_in("a@example.com", PASSWORD)).status_code == 200


async def test_a_code_for_an_address_that_has_changed_since_proves_nothing(site: MailSite) -> None:
    user = await site.user("a@example.com")
    otp_id, code = await site.code_for("a@example.com")
    await site.db.execute('UPDATE "users" SET "email" = \'b@example.com\' WHERE "id" = $1', user["id"])
    assert (await with_code(site, otp_id, code))[0] == 200
    assert not (await site.stored(user))["verified"]


async def test_nobody_gets_an_id_that_matches_nothing(site: MailSite) -> None:
    response = await site.post("request-otp", {"email": "nobody@example.com"})
    assert response.status_code == 200
    assert list(response.json()) == ["otpId"]
    assert len(response.json()["otpId"]) == 15
    await site.run_jobs()
    assert site.box.mails == []
    assert await site.db.fetchval('SELECT count(*) FROM "_otps"') == 0
    assert (await with_code(site, response.json()["otpId"], "12345678"))[1] == EXPIRED


async def test_every_failure_is_one_answer(site: MailSite) -> None:
    await site.user("a@example.com")
    await site.services.collections.create({"name": "others", "type": "auth", "otp": {"enabled": True}})
    otp_id, code = await site.code_for("a@example.com")
    body = {"otpId": otp_id, "password": code}
    response = await site.post("auth-with-otp", body, collection="others")
    assert response.json() == EXPIRED
    for wrong in ((otp_id, "00000000x"), ("nothing", code), ("a\0b", code)):
        assert (await with_code(site, *wrong))[1] == EXPIRED
    await age_otps(site, 181)
    assert (await with_code(site, otp_id, code))[1] == EXPIRED
    assert await site.db.fetchval('SELECT count(*) FROM "_otps"') == 1
    await site.services.crons.run("__pbOTPCleanup__")
    await run_due(site.services)
    assert await site.db.fetchval('SELECT count(*) FROM "_otps"') == 0


async def test_inputs_have_lengths(site: MailSite) -> None:
    response = await site.post("auth-with-otp", {})
    data = response.json()["data"]
    assert {name: error["code"] for name, error in data.items()} == {
        "otpId": "validation_required",
        "password": "validation_required",
    }
    response = await site.post("auth-with-otp", {"otpId": "x" * 256, "password": "1" * 72})
    assert set(response.json()["data"]) == {"otpId", "password"}


@pytest.mark.parametrize("email", ["a@example.com", "nobody@example.com"])
async def test_the_sixth_attempt_is_refused_whether_there_is_an_account_or_not(
    site: MailSite, email: str
) -> None:
    await site.user("a@example.com", verified=True)
    for _ in range(2):
        response = await site.post("request-otp", {"email": email})
    otp_id = response.json()["otpId"]
    await site.run_jobs()
    for _ in range(5):
        assert (await with_code(site, otp_id, "wrong"))[1] == EXPIRED
    # A code of another request counts for the same account.
    other = (await site.post("request-otp", {"email": email})).json()["otpId"]
    assert other != otp_id
    for each in (otp_id, other):
        status, body = await with_code(site, each, "wrong")
        assert (status, body["message"]) == (429, TOO_MANY)
    await site.db.execute('UPDATE "_sign_in_counters" SET "expires" = now() - interval \'1 s\'')
    assert (await with_code(site, otp_id, "wrong"))[1] == EXPIRED


async def test_ten_codes_are_enough(site: MailSite) -> None:
    user = await site.user("a@example.com")
    users = site.services.schema.current.find("users")
    ids = [(await site.services.otp.issue(users, user))[0] for _ in range(9)]
    ids.append((await site.code_for("a@example.com"))[0])
    response = await site.post("request-otp", {"email": "a@example.com"})
    assert response.json()["otpId"] == ids[-1]
    await site.run_jobs()
    assert len(site.box.mails) == 1


async def test_a_code_that_was_not_mailed_signs_in_and_proves_nothing(site: MailSite) -> None:
    user = await site.user("a@example.com")
    users = site.services.schema.current.find("users")
    status, body = await with_code(site, *await site.services.otp.issue(users, user))
    assert status == 200
    assert body["record"]["verified"] is False


async def test_a_code_that_cannot_be_mailed_is_forgotten(site: MailSite) -> None:
    await site.user("a@example.com")
    site.box.answer = "550 nobody here"
    response = await site.post("request-otp", {"email": "a@example.com"})
    assert response.status_code == 200
    (job,) = await site.run_jobs()
    assert await state(site, job) == "dead"
    assert await site.db.fetchval('SELECT count(*) FROM "_otps"') == 0


async def state(site: MailSite, job: Job) -> str:
    return (await site.services.jobs.view(job.id)).state


async def test_each_attempt_to_mail_makes_another_code(site: MailSite) -> None:
    await site.user("a@example.com")
    site.box.answer = "451 later"
    otp_id = (await site.post("request-otp", {"email": "a@example.com"})).json()["otpId"]
    (job,) = await site.run_jobs()
    assert await state(site, job) == "waiting"
    first = await site.db.fetchval('SELECT "password" FROM "_otps"')
    site.box.answer = ""
    await site.services.jobs.retry(job.id)
    await site.run_jobs()
    assert await site.db.fetchval('SELECT "id" FROM "_otps"') == otp_id
    assert await site.db.fetchval('SELECT "password" FROM "_otps"') != first
    assert len(site.box.mails) == 1


async def test_otps_are_refused_where_they_are_off(mailed: MailSite) -> None:
    message = "The collection is not configured to allow OTP authentication."
    for action in ("request-otp", "auth-with-otp"):
        response = await mailed.post(action, {})
        assert (response.status_code, response.json()["message"]) == (403, message)


# With a second factor


async def test_password_and_code_are_two_factors_in_either_order(site: MailSite) -> None:
    await site.user("a@example.com", verified=False)
    await site.options(mfa={"enabled": True})
    first = await site.sign_in("a@example.com")
    assert (first.status_code, list(first.json())) == (401, ["mfaId"])
    again = await site.sign_in("a@example.com", mfaId=first.json()["mfaId"])
    assert (again.status_code, again.json()["message"]) == (400, OTHER_METHOD)
    otp_id, code = await site.code_for("a@example.com")
    assert (await with_code(site, otp_id, code, mfaId=first.json()["mfaId"]))[0] == 200
    # Verified by the code, and the password is kept: it was one of the factors.
    otp_id, code = await site.code_for("a@example.com")
    status, body = await with_code(site, otp_id, code)
    assert (status, list(body)) == (401, ["mfaId"])
    second = await site.sign_in("a@example.com", mfaId=body["mfaId"])
    assert second.status_code == 200
    used = await site.sign_in("a@example.com", mfaId=body["mfaId"])
    assert used.json()["message"] == "Invalid or expired MFA session."


async def test_the_mfa_rule_says_who_needs_two(site: MailSite) -> None:
    await site.user("a@example.com", verified=True, name="staff")
    await site.user("b@example.com", verified=True)
    await site.options(mfa={"enabled": True, "rule": "name = 'staff'"})
    assert (await site.sign_in("a@example.com")).status_code == 401
    assert (await site.sign_in("b@example.com")).status_code == 200


async def test_a_first_factor_expires_and_is_nobody_elses(site: MailSite) -> None:
    await site.user("a@example.com", verified=True)
    await site.user("b@example.com", verified=True)
    await site.options(mfa={"enabled": True, "duration": 100})
    mfa_id = (await site.sign_in("a@example.com")).json()["mfaId"]
    otp_id, code = await site.code_for("b@example.com")
    status, body = await with_code(site, otp_id, code, mfaId=mfa_id)
    assert (status, body["message"]) == (400, "Invalid MFA session.")
    await site.db.execute('UPDATE "_mfas" SET "created" = "created" - interval \'101 s\'')
    otp_id, code = await site.code_for("a@example.com")
    status, body = await with_code(site, otp_id, code, mfaId=mfa_id)
    assert (status, body["message"]) == (400, "Invalid or expired MFA session.")
    assert await site.db.fetchval('SELECT count(*) FROM "_mfas"') == 0


async def test_a_code_is_used_up_also_when_the_auth_rule_refuses(site: MailSite) -> None:
    await site.user("a@example.com", verified=True)
    await site.options(authRule="name = 'staff'")
    otp_id, code = await site.code_for("a@example.com")
    assert (await with_code(site, otp_id, code))[0] == 403
    assert (await with_code(site, otp_id, code))[1] == EXPIRED


async def test_superusers_who_use_codes_need_a_second_factor(site: MailSite) -> None:
    await site.options("_superusers", otp={"enabled": True})
    options = site.services.schema.current.find("_superusers").options
    assert options is not None
    assert options.mfa.enabled
    await site.options("_superusers", otp={"enabled": False}, mfa={"enabled": False})
