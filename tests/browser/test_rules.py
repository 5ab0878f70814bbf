"""All rules in a browser: what is public is seen at a glance, and a change shows its plan before it is made."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_public_rules_are_found_and_one_is_closed_after_its_plan(console: Console) -> None:
    fields = [{"name": "title", "type": "text"}]
    await console.make_collection("opened", fields, listRule="", viewRule='title = "x"')
    await console.make_collection("closed", fields)
    page = await console.open("/_/rules")
    await expect(page.locator("tr", has_text="closed").locator(".locked")).to_have_count(5)
    await console.check(page)
    await page.get_by_role("link", name="Public only").click()
    await expect(page.locator("tr", has_text="closed")).to_have_count(0)
    await page.get_by_role("link", name="opened, List: anyone").click()
    panel = page.locator("#panel")
    await panel.get_by_label("Expression").check()
    await panel.locator("textarea").fill("title !=")
    await panel.get_by_role("button", name="Show the plan").click()
    await expect(panel.locator("fieldset .error")).to_contain_text("Invalid rule")
    await console.check(page)
    await panel.locator("textarea").fill('title != ""')
    await panel.get_by_role("button", name="Show the plan").click()
    await expect(panel.locator(".rule-step")).to_contain_text("listRule from everyone")
    await expect(panel.locator(".notice.info")).to_contain_text("no longer open to everyone")
    await panel.get_by_role("button", name="Apply").click()
    await expect(page.get_by_text("The listRule of opened is changed.")).to_be_visible()
    assert (await console.api.get("/api/collections/opened")).json()["listRule"] == 'title != ""'


async def test_a_rule_that_opens_says_so_in_dark_and_on_a_phone(console: Console) -> None:
    await console.make_collection("secrets", [{"name": "title", "type": "text"}])
    page = await console.open("/_/rules/secrets/viewRule", theme="dark")
    await page.locator("#panel").get_by_label("Anyone").check()
    await page.get_by_role("button", name="Show the plan").click()
    await expect(page.locator("#panel .notice.public")).to_contain_text("anyone on the internet can read")
    await console.check(page)
    narrow = await console.open("/_/rules?q=secrets", size=NARROW)
    await expect(narrow.locator("tbody tr")).to_have_count(1)
    await console.check(narrow)
    assert (await console.api.get("/api/collections/secrets")).json()["viewRule"] is None
