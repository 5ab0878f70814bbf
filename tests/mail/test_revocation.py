"""Who is out after a reset, a change of the address and a proof of it: everybody else, with every token."""

from __future__ import annotations

from typing import Any

import pytest
from tests.mail.mail_site import PASSWORD, MailSite, token_in
from tests.mail.postbox import text_of

from groundplane.auth.callers import EMAIL_CHANGE, TYPES, VERIFICATION, issue

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEW = "battery staple"
OWNER = "owner@example.com"


async def by_reset(mailed: MailSite, user: dict[str, Any]) -> None:
    token = await mailed.token_for("request-password-reset", OWNER)
    body = {"token": token, "password": NEW, "passwordConfirm": NEW}
    assert (await mailed.post("confirm-password-reset", body)).status_code == 204


async def by_new_address(mailed: MailSite, user: dict[str, Any]) -> None:
    body = {"newEmail": "new@example.com"}
    await mailed.post("request-email-change", body, headers=mailed.header(user))
    token = token_in(text_of(mailed.box.mails[-1]))
    answer = await mailed.post("confirm-email-change", {"token": token, "password": PASSWORD})
    assert answer.status_code == 204


async def by_code(mailed: MailSite, user: dict[str, Any]) -> None:
    otp_id, code = await mailed.code_for(OWNER)
    assert (await mailed.post("auth-with-otp", {"otpId": otp_id, "password": code})).status_code == 200


@pytest.mark.parametrize("prove", [by_reset, by_new_address, by_code])
async def test_every_token_from_before_is_refused(mailed: MailSite, prove: Any) -> None:
    await mailed.options(otp={"enabled": True})
    user = await mailed.user(OWNER)
    users = mailed.services.schema.current.find("users")
    more = {VERIFICATION: {}, EMAIL_CHANGE: {"newEmail": "x@example.com"}}
    tokens = {kind: issue(users, user, kind, **more.get(kind, {})) for kind in TYPES}
    waiting = await mailed.services.otp.issue(users, user)
    callers = mailed.services.auth.callers
    for kind, token in tokens.items():
        assert await callers.from_token(token, kind) is not None
    await prove(mailed, user)
    for kind, token in tokens.items():
        assert await callers.from_token(token, kind) is None, kind
    answer = await mailed.post("auth-with-otp", {"otpId": waiting[0], "password": waiting[1]})
    assert answer.status_code == 400


@pytest.mark.parametrize("prove", [by_reset, by_code])
async def test_who_took_an_address_first_loses_the_account_to_its_owner(mailed: MailSite, prove: Any) -> None:
    await mailed.options(otp={"enabled": True})
    body = {"email": OWNER, "password": PASSWORD, "passwordConfirm": PASSWORD}
    await mailed.client.post("/api/collections/users/records", json=body)
    thief = (await mailed.sign_in(OWNER)).json()
    await prove(mailed, thief["record"])
    assert (await mailed.sign_in(OWNER)).status_code == 400
    header = {"Authorization": thief["token"]}
    assert (await mailed.post("auth-refresh", {}, headers=header)).status_code == 401
    assert (
        await mailed.post("request-email-change", {"newEmail": "t@x.io"}, headers=header)
    ).status_code == 401
