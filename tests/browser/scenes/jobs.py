"""Jobs and crons."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.conftest import Console
from tests.browser.screenshots import Scene


async def arrange(console: Console) -> None:
    for each in (await console.api.get("/api/crons")).json()[:6]:
        await console.api.post(f"/api/crons/{each['id']}")


async def open_first(page: Page) -> None:
    await page.locator(".job-kind a").first.click()
    await page.locator("#panel h2").wait_for()


SCENES = [Scene("jobs", "/_/jobs"), Scene("job", "/_/jobs", act=open_first), Scene("crons", "/_/crons")]
