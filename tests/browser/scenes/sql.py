"""The SQL console with an answer."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.screenshots import Scene


async def run(page: Page) -> None:
    await page.get_by_label("SQL statement").fill(
        "select name, setting, short_desc\n  from pg_settings\n where name like 'max_%'\n order by name"
    )
    await page.keyboard.press("Control+Enter")
    await page.locator(".sql-table").wait_for()


async def fail(page: Page) -> None:
    await page.get_by_label("SQL statement").fill("select email,\n       pasword\n  from users")
    await page.get_by_text("Allow writes…").click()
    await page.keyboard.press("Control+Enter")
    await page.locator(".sql-problem").wait_for()


SCENES = [Scene("sql", "/_/sql", act=run), Scene("sql-error", "/_/sql", act=fail)]
