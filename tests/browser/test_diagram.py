"""The schema diagram in a browser: relations are drawn, listed, and saved as a file."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_relations_are_drawn_and_listed_and_saved(console: Console) -> None:
    users = (await console.api.get("/api/collections/users")).json()["id"]
    relation = {"name": "keeper", "type": "relation", "collectionId": users, "maxSelect": 1}
    await console.make_collection("shelves", [relation])
    page = await console.open("/_/diagram?related=1")
    await expect(page.locator(".er-name", has_text="shelves")).to_be_visible()
    row = page.locator(".er-list tr", has_text="shelves.keeper")
    await expect(row).to_contain_text("users")
    await console.check(page)
    await page.get_by_label("Find a collection").fill("shelves")
    await page.get_by_label("Find a collection").press("Enter")
    await expect(page.locator(".er-box.is-lit")).to_contain_text("shelves")
    await expect(page.locator(".er-edge.is-lit")).to_have_count(1)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="SVG").click()
    path = await (await download.value).path()
    text = path.read_text(encoding="utf-8")
    assert text.lstrip().startswith("<svg xmlns=")
    assert "shelves" in text
    await console.check(await console.open("/_/diagram?system=1", theme="dark"))
    await console.check(await console.open("/_/diagram?at=shelves", size=NARROW))
