"""Mails in the console: a template is edited, seen as it will look, tried out, and harmless whatever is in it."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_template_is_previewed_saved_and_sent(console: Console) -> None:
    page = await console.open("/_/mail")
    await page.locator("a[href='/_/mail/users/password-reset']").click()
    frame = page.frame_locator("iframe")
    await expect(frame.locator("body")).to_contain_text("password")
    await page.get_by_label("Subject").fill("Another word for {APP_NAME}")
    await page.get_by_label("Body").fill("<p>Hello {RECORD:name}</p><script>document.title='bad'</script>")
    await page.get_by_role("button", name="Preview").click()
    await expect(frame.get_by_text("Hello __pb_test_name__")).to_be_visible()
    # Nothing of what was typed is stored yet.
    stored = (await console.api.get("/api/collections/users")).json()["resetPasswordTemplate"]
    assert stored["subject"] != "Another word for {APP_NAME}"
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("The template is saved.")).to_be_visible()
    stored = (await console.api.get("/api/collections/users")).json()["resetPasswordTemplate"]
    assert stored["subject"] == "Another word for {APP_NAME}"
    await page.get_by_role("button", name="Send test").click()
    await expect(page.get_by_text("Sent to mira@example.com.")).to_be_visible()
    page = await console.open("/_/mail", theme="dark")
    await expect(page.get_by_role("row", name="Another word for").last).to_contain_text("mira@example.com")
    await console.check(page)
    await console.check(await console.open("/_/mail", size=NARROW))


async def test_a_template_that_is_refused_keeps_what_was_typed(console: Console) -> None:
    page = await console.open("/_/mail/users/verification", theme="dark")
    await console.check(page, exclude=["iframe"])
    await page.get_by_label("Subject").fill("")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#f-subject-error")).to_have_text("Cannot be blank.")
    await expect(page.get_by_label("Subject")).to_have_value("")
    await console.check(page, exclude=["iframe"])


async def test_a_preview_may_neither_run_nor_load_anything(console: Console) -> None:
    page = await console.open("/_/mail/users/otp")
    answer = await page.request.get(f"{console.url}/_/mail/users/otp/preview")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox")
    assert await page.locator("iframe").get_attribute("sandbox") == ""
