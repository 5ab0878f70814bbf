"""The console's frame: signing in and out, the policy, keys, the palette, what forged requests meet."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import EMAIL, NARROW, PASSWORD, Console, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_guest_signs_in_and_comes_to_the_page_that_was_asked_for(console: Console) -> None:
    page = await console.open("/_/keys", signed_in=False)
    assert page.url == f"{console.url}/_/sign-in?next=/_/keys"
    await console.check(page)
    await sign_in(page)
    await page.wait_for_url(f"{console.url}/_/keys")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Keyboard shortcuts")
    await console.check(page)


async def test_a_wrong_password_keeps_the_address_and_says_no_more_than_needed(console: Console) -> None:
    page = await console.open("/_/sign-in", signed_in=False)
    await sign_in(page, EMAIL, "not this one")
    await expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    await expect(page.get_by_label("Email")).to_have_value(EMAIL)
    await console.check(page)


async def test_signing_in_and_out_works_without_script(console: Console) -> None:
    page = await console.open("/_/keys", signed_in=False, script=False)
    await sign_in(page)
    await page.wait_for_url(f"{console.url}/_/keys")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Keyboard shortcuts")
    assert PASSWORD not in await page.content()


@pytest.mark.parametrize(
    ("theme", "size"),
    [("light", (1440, 900)), ("dark", (1440, 900)), ("light", (1100, 800)), ("dark", NARROW)],
)
async def test_the_frame_has_no_violation(console: Console, theme: str, size: tuple[int, int]) -> None:
    page = await console.open("/_/keys", theme=theme, size=size)
    await console.check(page)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
