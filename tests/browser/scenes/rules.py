"""All rules, and one in the panel."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.screenshots import Scene


async def plan(page: Page) -> None:
    await page.locator("#panel").get_by_label("Anyone").check()
    await page.get_by_role("button", name="Show the plan").click()
    await page.locator("#panel .notice.public").wait_for()


SCENES = [
    Scene("rules", "/_/rules"),
    Scene("rule", "/_/rules/articles/listRule", act=plan),
]
