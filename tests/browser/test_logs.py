"""The log in the console: found, looked into, followed, and harmless whatever is in it."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = "<img src=x onerror=alert(1)>'\"><script>alert(2)</script>"


async def test_a_filter_finds_entries_and_the_panel_shows_one_by_its_address(console: Console) -> None:
    for name in ("nowhere", "nowhere", "users"):
        await console.api.get(f"/api/collections/{name}/records?token=abc&mark=found")
    page = await console.open("/_/logs")
    await page.locator("#log-filter").fill('data.url ~ "mark=found" && data.status = 404')
    await page.locator("#log-filter").press("Enter")
    await expect(page.locator(".log-table tbody tr")).to_have_count(2)
    assert "filter=" in page.url
    await page.locator(".log-what a").first.click()
    panel = page.locator("#panel")
    await expect(panel.locator("pre")).to_contain_text('"status": 404')
    await expect(panel).not_to_contain_text("abc")
    await console.check(page)
    await page.reload()
    await expect(page.locator("#panel pre")).to_contain_text('"status": 404')


async def test_a_wrong_filter_says_where_and_what(console: Console) -> None:
    page = await console.open("/_/logs?filter=" + quote("level >= "))
    problem = page.locator("#log-problem")
    await expect(problem).to_be_visible()
    await expect(problem).to_contain_text("Column 9")
    await expect(page.locator("#log-filter")).to_have_value("level >=")
    await page.locator("#log-filter").fill("level >= 0")
    await page.locator("#log-filter").press("Enter")
    await expect(page.locator("#log-problem")).to_be_hidden()
    await console.check(page)


async def test_what_somebody_wrote_into_the_log_stays_text(console: Console) -> None:
    await console.api.get(
        f"/api/collections/users/records?x={quote(HOSTILE)}", headers={"User-Agent": HOSTILE}
    )
    address = "/_/logs?filter=" + quote('data.url ~ "onerror"')
    await console.check(await console.open(address, theme="dark", size=NARROW))
    for theme in ("light", "dark"):
        page = await console.open(address, theme=theme)
        await page.locator(".log-what a").first.click()
        await expect(page.locator("#panel pre")).to_contain_text("onerror=alert(1)")
        assert await page.locator("#main img, #panel img, #main script, #panel script").count() == 0
        await console.check(page)


async def test_live_entries_appear_by_themselves_and_the_export_is_lines_of_json(console: Console) -> None:
    address = "/_/logs?live=1&filter=" + quote('data.url ~ "mark=live"')
    page = await console.open(address)
    await expect(page.locator(".empty")).to_be_visible()
    await console.api.get("/api/collections/users/records?mark=live")
    await expect(page.locator(".log-table tbody tr")).to_have_count(1)
    link = page.locator("a[download]")
    async with page.expect_download() as download:
        await link.click()
    lines = (await (await download.value).path()).read_text().splitlines()
    assert ["mark=live" in json.loads(line)["message"] for line in lines] == [True]


async def test_without_script_the_log_is_read_and_searched(console: Console) -> None:
    await console.api.get("/api/collections/nowhere/records?mark=plain")
    page = await console.open("/_/logs?filter=" + quote('data.url ~ "mark=plain"'), script=False)
    await expect(page.locator(".log-table tbody tr")).to_have_count(1)
    await page.locator(".log-what a").first.click()
    await expect(page.locator("#panel pre")).to_contain_text("mark=plain")
