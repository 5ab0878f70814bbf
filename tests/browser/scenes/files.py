"""Stored files after a test of the store."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.screenshots import Scene


async def run(page: Page) -> None:
    await page.get_by_role("button", name="Count now").click()
    await page.get_by_role("button", name="Run test").click()
    await page.locator(".files-steps").wait_for()


SCENES = [Scene("files", "/_/files", act=run)]
