"""Where somebody has signed in before, and the mail about a new place."""

from __future__ import annotations

import pytest
from tests.mail.mail_site import MailSite
from tests.mail.postbox import html_of, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def from_place(mailed: MailSite, agent: str) -> int:
    response = await mailed.sign_in("a@example.com", headers={"User-Agent": agent})
    return response.status_code


async def origins(mailed: MailSite) -> int:
    return int(await mailed.db.fetchval('SELECT count(*) FROM "_authOrigins"'))


async def test_the_first_place_is_silent_and_a_new_one_is_told_before_the_answer(mailed: MailSite) -> None:
    await mailed.user("a@example.com")
    assert await from_place(mailed, "phone") == 200
    assert await from_place(mailed, "phone") == 200
    assert (mailed.box.mails, await origins(mailed)) == ([], 1)
    assert await from_place(mailed, "<b>laptop</b>") == 200
    (mail,) = mailed.box.mails
    assert mail["Subject"] == "Login from a new location"
    assert "127.0.0.1 <b>laptop</b>" in text_of(mail)
    assert "&lt;b&gt;laptop" in html_of(mail)
    assert await from_place(mailed, "<b>laptop</b>") == 200
    assert (len(mailed.box.mails), await origins(mailed)) == (1, 2)


async def test_a_notice_that_fails_lets_in_and_is_sent_the_next_time(
    mailed: MailSite, caplog: pytest.LogCaptureFixture
) -> None:
    await mailed.user("a@example.com")
    await from_place(mailed, "phone")
    mailed.box.answer = "451 later"
    assert await from_place(mailed, "laptop") == 200
    assert await origins(mailed) == 1
    assert "The notice of a sign-in from a new location was not sent" in caplog.text
    mailed.box.answer = ""
    assert await from_place(mailed, "laptop") == 200
    assert (len(mailed.box.mails), await origins(mailed)) == (1, 2)


async def test_five_places_are_remembered(mailed: MailSite) -> None:
    await mailed.user("a@example.com")
    for number in range(7):
        await from_place(mailed, f"agent {number}")
    assert await origins(mailed) == 5
    assert len(mailed.box.mails) == 6
    await from_place(mailed, "agent 0")
    assert len(mailed.box.mails) == 7


async def test_no_notice_where_they_are_off_nor_for_the_first_of_two_factors(mailed: MailSite) -> None:
    await mailed.user("a@example.com", verified=True)
    await from_place(mailed, "phone")
    await mailed.options(otp={"enabled": True}, mfa={"enabled": True})
    assert await from_place(mailed, "laptop") == 401
    await mailed.options(mfa={"enabled": False}, authAlert={"enabled": False})
    assert await from_place(mailed, "laptop") == 200
    assert (mailed.box.mails, await origins(mailed)) == ([], 1)
