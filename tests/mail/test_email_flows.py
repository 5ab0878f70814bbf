"""Verification, password reset and change of address, with the mails that a real SMTP server receives."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.mail.mail_site import PASSWORD, MailSite, token_in
from tests.mail.postbox import html_of, text_of

from groundplane.auth.callers import EMAIL_CHANGE, PASSWORD_RESET, VERIFICATION, issue

pytestmark = pytest.mark.asyncio(loop_scope="module")
INVALID = "An error occurred while validating the submitted data."
NEW = "battery staple"


def codes(response: Any) -> dict[str, str]:
    assert response.status_code == 400, response.text
    return {name: error["code"] for name, error in response.json()["data"].items()}


# Verification


async def test_a_mailed_link_verifies_the_address(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    token = await mailed.token_for("request-verification", "a@example.com")
    mail = mailed.box.mails[0]
    assert (mail["To"], mail["From"]) == ("a@example.com", "Support <support@example.com>")
    assert mail["Subject"] == "Verify your Club email"
    link = f"https://app.example.com/_/#/auth/confirm-verification/{token}"
    assert link in text_of(mail)
    assert link in html_of(mail)
    response = await mailed.post("confirm-verification", {"token": token})
    assert (response.status_code, response.content) == (204, b"")
    stored = await mailed.stored(user)
    assert stored["verified"]
    assert stored["tokenKey"] == user["tokenKey"]
    assert (await mailed.post("confirm-verification", {"token": token})).status_code == 204


@pytest.mark.parametrize("action", ["request-verification", "request-password-reset"])
async def test_nobody_and_somebody_who_was_mailed_a_moment_ago_get_no_mail(
    mailed: MailSite, action: str
) -> None:
    await mailed.user("a@example.com")
    for email in ("nobody@example.com", "a@example.com", "a@example.com"):
        response = await mailed.post(action, {"email": email})
        assert (response.status_code, response.content) == (204, b"")
        assert await mailed.run_jobs()
    assert [mail["To"] for mail in mailed.box.mails] == ["a@example.com"]


async def test_several_requests_before_the_mail_is_sent_are_one_mail(mailed: MailSite) -> None:
    await mailed.user("a@example.com")
    ask = [mailed.post("request-password-reset", {"email": "a@example.com"}) for _ in range(5)]
    await asyncio.gather(*ask)
    await mailed.run_jobs()
    assert len(mailed.box.mails) == 1


async def test_a_verified_record_gets_no_verification_mail(mailed: MailSite) -> None:
    await mailed.user("a@example.com", verified=True)
    await mailed.post("request-verification", {"email": "a@example.com"})
    await mailed.run_jobs()
    assert mailed.box.mails == []


async def test_a_verification_after_another_one_is_mailed_at_once(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    token = await mailed.token_for("request-verification", "a@example.com")
    assert (await mailed.post("confirm-verification", {"token": token})).status_code == 204
    users = mailed.services.schema.current.find("users")
    await mailed.services.records.save_fields(users, user["id"], {"verified": False})
    await mailed.token_for("request-verification", "a@example.com")


async def test_what_is_no_address_is_refused(mailed: MailSite) -> None:
    for action in ("request-verification", "request-password-reset"):
        for email, code in (
            ("", "validation_required"),
            ("nobody", "validation_is_email"),
            ("a" * 251 + "@x.io", "validation_length_out_of_range"),
            ("a@x.io\r\nBcc: b@x.io", "validation_is_email"),
        ):
            response = await mailed.post(action, {"email": email})
            assert codes(response) == {"email": code}
            assert response.json()["message"] == INVALID


async def test_verification_tokens_that_are_not_right_are_named_by_code(mailed: MailSite) -> None:
    schema = mailed.services.schema.current
    users, superusers = schema.find("users"), schema.find("_superusers")
    user = await mailed.user("a@example.com")
    await mailed.services.collections.create({"name": "others", "type": "auth"})
    other = await mailed.record("others", email="a@example.com")
    others = mailed.services.schema.current.find("others")
    root = await mailed.record("_superusers", email="r@example.com")
    good = issue(users, user, VERIFICATION)
    cases = {
        "": "validation_required",
        "nonsense": "validation_invalid_token_claims",
        mailed.header(user)["Authorization"]: "validation_invalid_token_claims",
        good[:-3]: "validation_invalid_token",
        issue(users, user, VERIFICATION, duration_s=-5): "validation_invalid_token",
        issue(users, user, PASSWORD_RESET): "validation_invalid_token",
        issue(others, other, VERIFICATION): "validation_token_collection_mismatch",
        issue(superusers, root, VERIFICATION): "validation_token_collection_mismatch",
        issue(users, {**user, "email": "b@example.com"}, VERIFICATION): "validation_token_email_mismatch",
    }
    for token, code in cases.items():
        assert codes(await mailed.post("confirm-verification", {"token": token})) == {"token": code}, token
    assert not (await mailed.stored(user))["verified"]


async def test_a_password_set_before_the_verification_is_worth_nothing_where_passwords_are_off(
    mailed: MailSite,
) -> None:
    user = await mailed.user("a@example.com")
    await mailed.options(passwordAuth={"enabled": False}, otp={"enabled": True})
    token = await mailed.token_for("request-verification", "a@example.com")
    await mailed.post("confirm-verification", {"token": token})
    stored = await mailed.stored(user)
    assert stored["password"] != user["password"]
    assert stored["tokenKey"] != user["tokenKey"]


async def test_superusers_neither_verify_nor_change_their_address_by_mail(mailed: MailSite) -> None:
    header = await mailed.superuser()
    for action, message in (
        ("request-verification", "All superusers are verified by default."),
        ("confirm-verification", "All superusers are verified by default."),
        ("request-email-change", "All superusers can change their emails directly."),
        ("confirm-email-change", "All superusers can change their emails directly."),
    ):
        response = await mailed.post(action, {}, collection="_superusers", headers=header)
        assert (response.status_code, response.json()["message"]) == (400, message)


# Password reset


async def test_a_reset_gives_a_new_password_and_ends_the_sessions(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    header = mailed.header(user)
    token = await mailed.token_for("request-password-reset", "a@example.com")
    body = {"token": token, "password": NEW, "passwordConfirm": NEW}
    assert (await mailed.post("confirm-password-reset", body)).status_code == 204
    assert (await mailed.sign_in("a@example.com", PASSWORD)).status_code == 400
    assert (await mailed.sign_in("a@example.com", NEW)).status_code == 200
    assert (await mailed.post("auth-refresh", {}, headers=header)).status_code == 401
    assert (await mailed.stored(user))["verified"]
    # The token was signed with what the reset has changed.
    assert codes(await mailed.post("confirm-password-reset", body)) == {"token": "validation_invalid_token"}


async def test_of_two_resets_with_one_token_only_one_goes_through(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    token = issue(mailed.services.schema.current.find("users"), user, PASSWORD_RESET)
    asks = [
        mailed.post("confirm-password-reset", {"token": token, "password": each, "passwordConfirm": each})
        for each in (f"password {number}" for number in range(6))
    ]
    statuses = [response.status_code for response in await asyncio.gather(*asks)]
    assert sorted(statuses) == [204, 400, 400, 400, 400, 400]


async def test_a_reset_says_all_that_is_wrong(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    token = issue(mailed.services.schema.current.find("users"), user, PASSWORD_RESET)
    for body, expected in (
        ({}, {name: "validation_required" for name in ("token", "password", "passwordConfirm")}),
        (
            {"token": "x", "password": "1", "passwordConfirm": "2"},
            {
                "token": "validation_invalid_token",
                "password": "validation_length_out_of_range",
                "passwordConfirm": "validation_values_mismatch",
            },
        ),
        (
            {"token": token, "password": NEW, "passwordConfirm": "x"},
            {"passwordConfirm": "validation_values_mismatch"},
        ),
    ):
        response = await mailed.post("confirm-password-reset", body)
        assert codes(response) == expected
        assert response.json()["message"] == INVALID
    long = "é" * 40
    response = await mailed.post(
        "confirm-password-reset", {"token": token, "password": long, "passwordConfirm": long}
    )
    assert codes(response) == {"password": "validation_invalid_value"}
    assert response.json()["message"] == "Failed to set new password."


async def test_a_reset_mail_needs_passwords_to_be_allowed_but_its_link_does_not(mailed: MailSite) -> None:
    await mailed.user("a@example.com")
    token = await mailed.token_for("request-password-reset", "a@example.com")
    await mailed.options(passwordAuth={"enabled": False}, otp={"enabled": True})
    response = await mailed.post("request-password-reset", {"email": "a@example.com"})
    message = "The collection is not configured to allow password authentication."
    assert (response.status_code, response.json()["message"]) == (400, message)
    body = {"token": token, "password": NEW, "passwordConfirm": NEW}
    assert (await mailed.post("confirm-password-reset", body)).status_code == 204


async def test_superusers_get_reset_mails_and_the_installer_none(mailed: MailSite) -> None:
    await mailed.services.superusers.setup_link("http://x")
    for email in ("__pbinstaller@example.com", "root@example.com"):
        if email.startswith("root"):
            await mailed.superuser()
        response = await mailed.post("request-password-reset", {"email": email}, collection="_superusers")
        assert response.status_code == 204
        await mailed.run_jobs()
    assert [mail["To"] for mail in mailed.box.mails] == ["root@example.com"]


# Change of the address


async def change_token(mailed: MailSite, user: dict[str, Any], email: str) -> str:
    response = await mailed.post("request-email-change", {"newEmail": email}, headers=mailed.header(user))
    assert (response.status_code, response.content) == (204, b"")
    assert mailed.box.mails[-1]["To"] == email
    return token_in(text_of(mailed.box.mails[-1]))


async def test_a_new_address_is_confirmed_with_the_password_and_ends_the_sessions(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    token = await change_token(mailed, user, "new@example.com")
    response = await mailed.post("confirm-email-change", {"token": token, "password": "wrong"})
    assert codes(response) == {"password": "validation_invalid_password"}
    response = await mailed.post("confirm-email-change", {"token": token, "password": PASSWORD})
    assert response.status_code == 204
    stored = await mailed.stored(user)
    assert (stored["email"], stored["verified"]) == ("new@example.com", True)
    header = mailed.header(user)
    assert (await mailed.post("auth-refresh", {}, headers=header)).status_code == 401
    response = await mailed.post("confirm-email-change", {"token": token, "password": PASSWORD})
    assert codes(response) == {
        "token": "validation_invalid_token",
        "password": "validation_invalid_password",
    }


async def test_a_new_address_must_be_one_that_nobody_has(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    await mailed.user("b@example.com")
    for email, code in (
        ("", "validation_required"),
        ("nonsense", "validation_is_email"),
        ("a@example.com", "validation_not_in_invalid"),
        ("b@example.com", "validation_invalid_new_email"),
    ):
        response = await mailed.post("request-email-change", {"newEmail": email}, headers=mailed.header(user))
        assert codes(response) == {"newEmail": code}
    assert mailed.box.mails == []


async def test_an_address_that_was_taken_meanwhile_is_refused(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    token = await change_token(mailed, user, "new@example.com")
    await mailed.user("new@example.com")
    response = await mailed.post("confirm-email-change", {"token": token, "password": PASSWORD})
    assert codes(response) == {"token": "validation_invalid_token_email"}


async def test_tokens_of_another_kind_change_no_address(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    users = mailed.services.schema.current.find("users")
    both = {"password": "validation_invalid_password"}
    for token, code in (
        ("", "validation_required"),
        ("x", "validation_invalid_token_payload"),
        (issue(users, user, VERIFICATION), "validation_invalid_token_payload"),
        (issue(users, user, EMAIL_CHANGE), "validation_invalid_token_payload"),
        (issue(users, user, VERIFICATION, newEmail="b@example.com"), "validation_invalid_token"),
    ):
        response = await mailed.post("confirm-email-change", {"token": token, "password": PASSWORD})
        expected = {"token": code} | (both if code != "" else {})
        assert codes(response) == expected, token


async def test_a_mail_that_does_not_go_out_is_told_to_who_waits_for_it(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    mailed.box.answer = "451 later"
    response = await mailed.post(
        "request-email-change", {"newEmail": "new@example.com"}, headers=mailed.header(user)
    )
    assert (response.status_code, response.json()["message"]) == (400, "Failed to request email change.")


async def test_guests_and_others_change_no_address(mailed: MailSite) -> None:
    response = await mailed.post("request-email-change", {"newEmail": "n@example.com"})
    assert response.status_code == 401
    header = await mailed.superuser()
    response = await mailed.post("request-email-change", {"newEmail": "n@example.com"}, headers=header)
    assert response.status_code == 403


async def test_hostile_headers_change_no_link(mailed: MailSite) -> None:
    await mailed.user("a@example.com")
    hostile = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "ftp",
        "Forwarded": "host=evil.example",
        "Origin": "https://evil.example",
        "Referer": "https://evil.example/",
    }
    for action in ("request-verification", "request-password-reset"):
        await mailed.post(action, {"email": "a@example.com"}, headers=hostile)
    await mailed.run_jobs()
    assert len(mailed.box.mails) == 2
    for mail in mailed.box.mails:
        assert b"evil" not in bytes(mail)
        assert "https://app.example.com/_/#/auth/" in text_of(mail)


async def test_the_queue_holds_no_token(mailed: MailSite) -> None:
    await mailed.user("a@example.com")
    token = await mailed.token_for("request-password-reset", "a@example.com")
    rows = await mailed.db.fetch('SELECT j::text AS text FROM "_jobs" AS j')
    assert rows
    assert not any(token.split(".")[2] in row["text"] for row in rows)


async def test_a_throttle_ends_after_two_minutes(mailed: MailSite) -> None:
    await mailed.user("a@example.com")
    await mailed.token_for("request-password-reset", "a@example.com")
    await mailed.db.execute(
        'UPDATE "_sign_in_counters" SET "expires" = "expires" - $1::interval', timedelta(minutes=2)
    )
    await mailed.token_for("request-password-reset", "a@example.com")
