"""The pages behind links in mails, as a browser uses them without a script."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from tests.mail.mail_site import PASSWORD, MailSite, token_in
from tests.mail.postbox import text_of

from groundplane.auth.callers import EMAIL_CHANGE, PASSWORD_RESET, VERIFICATION, issue

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEW = "battery staple"


async def submit(mailed: MailSite, kind: str, **fields: str) -> httpx.Response:
    """Load the page, fill its form in and send it, in a browser of its own."""
    mailed.client.cookies.clear()
    page = await mailed.client.get(f"/_/auth/{kind}")
    assert page.status_code == 200
    found = re.search(r'name="_csrf" value="([^"]+)"', page.text)
    assert found is not None
    return await mailed.client.post(
        f"/_/auth/{kind}", data={"_csrf": found[1], **fields}, headers={"Origin": "http://server.test"}
    )


def token(mailed: MailSite, user: dict[str, Any], token_type: str, **claims: str) -> str:
    return issue(mailed.services.schema.current.find("users"), user, token_type, **claims)


async def test_the_verification_page_verifies(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    answer = await submit(mailed, "confirm-verification", token=token(mailed, user, VERIFICATION))
    assert answer.status_code == 200
    assert "Your email address is verified." in answer.text
    assert (await mailed.stored(user))["verified"]


async def test_opening_the_page_does_nothing_by_itself(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    link = f"/_/auth/confirm-verification?token={token(mailed, user, VERIFICATION)}"
    assert (await mailed.client.get(link)).status_code == 200
    assert not (await mailed.stored(user))["verified"]


async def test_the_reset_page_says_what_is_wrong_and_sets_a_password(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    good = token(mailed, user, PASSWORD_RESET)
    answer = await submit(mailed, "confirm-password-reset", token=good, password=NEW, passwordConfirm="other")
    assert answer.status_code == 422
    assert "Values don&#39;t match." in answer.text
    answer = await submit(mailed, "confirm-password-reset", token=good, password=NEW, passwordConfirm=NEW)
    assert "Your new password is set." in answer.text
    assert good not in answer.text
    assert (await mailed.sign_in("a@example.com", NEW)).status_code == 200
    answer = await submit(mailed, "confirm-password-reset", token=good, password=NEW, passwordConfirm=NEW)
    assert "Invalid or expired token." in answer.text


async def test_the_page_for_a_new_address_wants_the_password(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    good = token(mailed, user, EMAIL_CHANGE, newEmail="new@example.com")
    answer = await submit(mailed, "confirm-email-change", token=good, password="wrong")
    assert answer.status_code == 422
    assert (await mailed.stored(user))["email"] == "a@example.com"
    answer = await submit(mailed, "confirm-email-change", token=good, password=PASSWORD)
    assert answer.status_code == 200
    assert (await mailed.stored(user))["email"] == "new@example.com"


async def test_the_page_sets_the_password_of_a_superuser(mailed: MailSite) -> None:
    await mailed.superuser()
    body = {"email": "root@example.com"}
    await mailed.post("request-password-reset", body, collection="_superusers")
    await mailed.run_jobs()
    good = token_in(text_of(mailed.box.mails[0]))
    answer = await submit(mailed, "confirm-password-reset", token=good, password=NEW, passwordConfirm=NEW)
    assert answer.status_code == 200
    assert (await mailed.sign_in("root@example.com", NEW)).status_code == 400
    response = await mailed.post(
        "auth-with-password", {"identity": "root@example.com", "password": NEW}, collection="_superusers"
    )
    assert response.status_code == 200


@pytest.mark.parametrize(
    "text", ["", "nonsense", "a.b.c", "e30.e30.e30", "<script>alert(1)</script>", "x" * 9000]
)
async def test_a_text_that_is_no_token_is_refused_in_words(mailed: MailSite, text: str) -> None:
    for kind in ("confirm-verification", "confirm-password-reset", "confirm-email-change"):
        answer = await submit(mailed, kind, token=text, password=NEW, passwordConfirm=NEW)
        assert answer.status_code == 422
        assert "The link is not complete, or too old." in answer.text
        assert "<script>alert" not in answer.text


async def test_a_form_from_elsewhere_is_refused(mailed: MailSite) -> None:
    user = await mailed.user("a@example.com")
    fields = {"token": token(mailed, user, VERIFICATION)}
    answer = await mailed.client.post("/_/auth/confirm-verification", data=fields)
    assert answer.status_code == 403
    assert not (await mailed.stored(user))["verified"]


async def test_the_window_of_another_service_ends_at_a_page_that_says_how_it_went(mailed: MailSite) -> None:
    good = await mailed.client.get("/_/auth/oauth2-redirect-success")
    assert (good.status_code, "You are signed in" in good.text) == (200, True)
    bad = await mailed.client.get("/_/auth/oauth2-redirect-failure")
    assert (bad.status_code, "The sign-in did not work" in bad.text) == (200, True)


async def test_other_pages_are_not_there(mailed: MailSite) -> None:
    assert (await mailed.client.get("/_/auth/confirm-nothing")).status_code == 404
