"""The start page: what is wrong comes first, what anyone can read is said, and every number leads somewhere."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_anyone_can_read_is_listed_with_about_how_many_records(console: Console) -> None:
    fields = [{"name": "title", "type": "text"}]
    await console.make_collection("home_open", fields, listRule="", viewRule="")
    await console.make_collection("home_link", fields, listRule=None, viewRule="")
    await console.make_collection("home_shut", fields, listRule="@request.auth.id != ''", viewRule=None)
    await console.make_record("home_open", title="one")
    page = await console.open("/_/")
    exposed = page.locator(".home-exposed")
    await expect(exposed.locator("li", has_text="home_open")).to_contain_text("list")
    await expect(exposed.locator("li", has_text="home_link")).to_contain_text("view, by its id")
    await expect(exposed).not_to_contain_text("home_shut")
    await exposed.get_by_role("link", name="home_open", exact=True).click()
    await expect(page.locator("h1")).to_contain_text("home_open")
    await console.check(page)


async def test_a_failing_webhook_stands_first_and_leads_to_its_deliveries(console: Console) -> None:
    await console.make_collection("home_hooked", [{"name": "title", "type": "text"}])
    hook = {"name": "home hook", "url": "http://127.0.0.1:9/x", "collections": ["home_hooked"]}
    id = (await console.api.post("/api/webhooks", json=hook)).json()["id"]
    await console.make_record("home_hooked", title="one")
    async with asyncio.timeout(30):
        while (await console.api.get(f"/api/webhooks/{id}")).json()["state"] == "active":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    page = await console.open("/_/")
    finding = page.locator(".home-finding", has_text="home hook")
    await expect(finding).to_contain_text("has been failing since")
    for theme, size in (("dark", (1440, 900)), ("light", NARROW)):
        await console.check(await console.open("/_/", theme=theme, size=size))
    await finding.get_by_role("link").click()
    await page.wait_for_url(re.compile(f"/_/webhooks/{id}"))
    await console.api.delete(f"/api/webhooks/{id}")
    page = await console.open("/_/")
    await expect(page.locator(".home-finding", has_text="home hook")).to_have_count(0)


async def test_requests_are_counted_and_lead_into_the_log_for_the_chosen_time(console: Console) -> None:
    for _ in range(3):
        await console.api.get("/api/collections/users/records")
    page = await console.open("/_/")
    await page.get_by_role("link", name="last 1 h").click()
    await page.wait_for_url(re.compile("range=1h"))
    requests = page.get_by_role("link", name=re.compile("^Requests: "))
    counted = (await requests.get_attribute("aria-label") or "").removeprefix("Requests: ")
    assert int(counted.replace(",", "")) >= 3
    await page.get_by_text("Numbers as a table").click()
    await expect(page.locator(".home-table tbody tr").first).to_be_visible()
    await console.check(page)
    await requests.click()
    await page.wait_for_url(re.compile(r"/_/logs\?range=1h"))


async def test_mail_that_is_not_set_up_is_told_and_how_each_part_does(console: Console) -> None:
    page = await console.open("/_/")
    await expect(page.locator(".home-parts")).to_contain_text("answers in")
    await expect(page.locator(".home-finding", has_text="Mail is not set up")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_record_that_was_changed_is_listed_and_leads_to_it(console: Console) -> None:
    fields = [{"name": "title", "type": "text"}]
    await console.make_collection("home_news", fields)
    record = await console.make_record("home_news", title="one")
    page = await console.open("/_/")
    changes = page.locator(".home-changes")
    await expect(changes).to_contain_text(f"{record['id']} created in home_news")
    await changes.get_by_role("link", name=record["id"]).click()
    await page.wait_for_url(re.compile(record["id"]))


async def test_without_script_the_page_says_the_same(console: Console) -> None:
    page = await console.open("/_/", script=False)
    await expect(page.locator(".home-parts")).to_contain_text("answers in")
    await expect(page.locator(".home-plot")).to_have_count(3)
