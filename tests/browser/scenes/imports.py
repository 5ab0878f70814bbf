"""The import of a file, tried out."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.screenshots import Scene

ROWS = b"title,year,seen\nHeat,1995,true\nAlien,1979,false\n"


async def try_out(page: Page) -> None:
    await page.get_by_label("File").set_input_files(
        {"name": "films.csv", "mimeType": "text/csv", "buffer": ROWS}
    )
    await page.get_by_label("Collection", exact=True).fill("films")
    await page.get_by_role("button", name="Try it out").click()
    await page.locator("#import-outcome .notice").wait_for()


SCENES = [Scene("import", "/_/import", act=try_out)]
