"""Plugins in the console: how each is, and what to do."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_cards_say_how_plugins_are_and_lead_to_the_details(console: Console) -> None:
    page = await console.open("/_/plugins")
    await expect(
        page.locator(".card", has=page.get_by_role("link", name="history")).locator(".badge")
    ).to_have_text("on")
    await expect(
        page.locator(".card", has=page.get_by_role("link", name="kafka")).locator(".badge")
    ).to_have_text("off")
    await console.check(page)
    await page.get_by_role("link", name="history").click()
    await expect(page.get_by_text("groundplane plugin disable history").first).to_be_visible()
    await expect(page.locator(".facts")).to_contain_text("register_routes")
    await console.check(page)


async def test_they_are_readable_in_the_dark_and_on_a_phone(console: Console) -> None:
    await console.check(await console.open("/_/plugins", theme="dark", size=NARROW))
    page = await console.open("/_/plugins/nothing")
    await expect(page.locator("h1")).to_have_text("Not found")
