"""The log."""

from __future__ import annotations

import asyncio

from playwright.async_api import Page
from tests.browser.conftest import Console
from tests.browser.screenshots import Scene


async def arrange(console: Console) -> None:
    for number in range(40):
        await console.api.get(f"/api/collections/users/records?page={number}&token=secret")
        if number % 7 == 0:
            await console.api.get(f"/api/collections/nowhere/records?page={number}")
            await asyncio.sleep(0.2)


async def open_first(page: Page) -> None:
    await page.locator(".log-what a").first.click()
    await page.locator("#panel h2").wait_for()


SCENES = [Scene("logs", "/_/logs?range=15m"), Scene("log", "/_/logs?range=15m", act=open_first)]
