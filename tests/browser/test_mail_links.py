"""Links in mails in a real browser: whoever opens them, they lead to the page that does what they say."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("signed_in", [False, True])
async def test_the_link_of_a_mail_opens_its_page_with_the_token_in_the_form(
    console: Any, signed_in: bool
) -> None:
    link = "/_/#/auth/confirm-password-reset/aaa.bbb.ccc"
    page = await console.open("/_/" if signed_in else link, signed_in=signed_in)
    if signed_in:
        await page.goto(console.url + link)
    await page.wait_for_url("**/_/auth/confirm-password-reset")
    assert await page.locator("#f-token").input_value() == "aaa.bbb.ccc"
    assert not await page.locator("#f-token").is_visible()
    await page.fill("#f-password", "battery staple")
    await page.fill("[name=passwordConfirm]", "battery staple")
    await page.click("button.primary")
    await page.get_by_role("alert").wait_for()
    await console.check(page)


async def test_a_link_that_signs_in_goes_on_to_the_app(console: Any) -> None:
    before = (await console.api.get("/api/settings")).json()["meta"]["appURL"]
    users = "/api/collections/users"
    app = f"{console.url}/app"
    try:
        await console.api.patch("/api/settings", json={"meta": {"appURL": app}})
        changed = await console.api.patch(users, json={"magicLink": {"enabled": True}})
        assert changed.status_code == 200, changed.text
        token = f"{changed.json()['id']}.abcdef"
        page = await console.open(f"/_/#/auth/confirm-magic-link/{token}", signed_in=False)
        await page.wait_for_url("**/_/auth/confirm-magic-link")
        assert not await page.locator("#f-token").is_visible()
        await console.check(page)
        await page.click("button.primary")
        await page.wait_for_url(f"{app}#magic-link={token}")
    finally:
        await console.api.patch(users, json={"magicLink": {"enabled": False}})
        await console.api.patch("/api/settings", json={"meta": {"appURL": before}})
