"""Signing in, and what the frame has of its own."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.screenshots import Scene


async def open_palette(page: Page) -> None:
    await page.keyboard.press("Control+k")
    await page.get_by_role("combobox").wait_for()


SCENES = [
    Scene("sign-in", "/_/sign-in", signed_in=False),
    Scene("palette", "/_/", act=open_palette),
]
