"""Import in a browser: a file is tried out, then imported; what does not fit is said with its row."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = b"title,year\nHeat,1995\nAlien,1979\n"


async def test_a_file_is_tried_out_and_then_imported(console: Console) -> None:
    page = await console.open("/_/import")
    await page.get_by_label("File").set_input_files({"name": "f.csv", "mimeType": "text/csv", "buffer": ROWS})
    await page.get_by_label("Collection", exact=True).fill("films")
    await page.get_by_role("button", name="Try it out").click()
    await expect(page.locator("#import-outcome")).to_contain_text("Would import 2 records into films.")
    await expect(page.locator("#import-outcome tr", has_text="year")).to_contain_text("number")
    await console.check(page)
    assert (await console.api.get("/api/collections/films")).status_code == 404
    await page.get_by_role("button", name="Import").click()
    await expect(page.locator("#import-outcome")).to_contain_text("Imported 2 records into films.")
    found = (await console.api.get("/api/collections/films/records?sort=year")).json()["items"]
    assert [each["title"] for each in found] == ["Alien", "Heat"]


async def test_a_row_that_does_not_fit_stops_or_is_left_out(console: Console) -> None:
    await console.make_collection("measured", [{"name": "value", "type": "number", "required": True}])
    bad = b"value\n1\nnot a number\n"
    page = await console.open("/_/import?collection=measured", theme="dark", size=NARROW)
    await page.get_by_label("File").set_input_files({"name": "f.csv", "mimeType": "text/csv", "buffer": bad})
    await page.get_by_role("button", name="Import").click()
    await expect(page.locator("#import-outcome")).to_contain_text("Nothing was imported.")
    await console.check(page)
    await page.get_by_label("Rows that do not fit").select_option("skip")
    await page.get_by_role("button", name="Import").click()
    await expect(page.locator("#import-outcome")).to_contain_text("1 rows are left out")
    assert (await console.api.get("/api/collections/measured/records")).json()["totalItems"] == 1
