"""Webhooks in the console: made, tried, looked into, sent again and deleted."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def made(console: Console, name: str, path: str) -> str:
    values = {"name": name, "url": f"{console.url}{path}", "collections": ["users"]}
    answer = await console.api.post("/api/webhooks", json=values)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_a_webhook_is_made_with_errors_beside_their_fields_and_a_secret_that_is_shown_once(
    console: Console,
) -> None:
    page = await console.open("/_/webhooks")
    await page.get_by_role("link", name="New webhook").first.click()
    await page.get_by_label("Name").fill("billing")
    await page.get_by_label("Address").fill("http://127.0.0.1:9/hook")
    await page.get_by_label("Condition").fill("nope = ")
    await page.get_by_label("users").check()
    await page.get_by_role("button", name="Create webhook").click()
    await expect(page.locator("#f-condition-error")).to_be_visible()
    await expect(page.get_by_label("Name")).to_have_value("billing")
    await console.check(page)
    await page.get_by_label("Condition").fill("verified = true")
    await page.get_by_label("Headers").fill("X-Key: very-secret")
    await page.get_by_role("button", name="Create webhook").click()
    await expect(page.locator("pre code")).to_contain_text("whsec_")
    await console.check(page)
    await page.get_by_role("link", name="Go to its deliveries").click()
    await page.get_by_role("button", name="More").click()
    await page.get_by_role("menuitem", name="Edit billing").click()
    await expect(page.get_by_label("Headers")).to_have_value("X-Key")
    await page.get_by_label("Name").fill("invoices")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("invoices is saved.")).to_be_visible()
    assert "very-secret" not in await page.content()
    hook = (await console.api.get("/api/webhooks?perPage=1")).json()["items"][0]
    assert (hook["name"], hook["condition"], list(hook["headers"])) == (
        "invoices",
        "verified = true",
        ["X-Key"],
    )


async def test_a_test_message_shows_what_was_said_and_is_sent_again(console: Console) -> None:
    hook = await made(console, "failing", "/api/nowhere")
    page = await console.open(f"/_/webhooks/{hook}", theme="dark")
    await page.get_by_role("button", name="Send test").click()
    panel = page.locator("#panel")
    await expect(panel.locator("h2")).to_have_text("webhook.test")
    await expect(panel.get_by_text("The receiver answered 404.").first).to_be_visible()
    await expect(panel.locator("pre").first).to_contain_text("webhook-signature: v1,")
    await console.check(page)
    await panel.get_by_role("button", name="Send again").click()
    await expect(page.get_by_text("It is queued and sent in a moment.")).to_be_visible()
    await panel.locator("[data-close-panel]").click()
    await expect(panel.locator("h2")).to_have_count(0)
    await console.check(await console.open(f"/_/webhooks/{hook}", size=NARROW))


async def test_a_webhook_is_turned_off_and_deleted_after_a_question(console: Console) -> None:
    hook = await made(console, "going", "/api/health")
    page = await console.open(f"/_/webhooks/{hook}")
    await page.get_by_role("button", name="More").click()
    await page.get_by_role("menuitem", name="Turn off").click()
    await expect(page.locator(".header .badge")).to_contain_text("off")
    await page.get_by_role("button", name="More").click()
    await page.get_by_role("menuitem", name="Delete webhook").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("heading")).to_have_text("Delete going")
    await console.check(page)
    await dialog.get_by_role("button", name="Delete webhook").click()
    await expect(page.get_by_text("going is deleted.")).to_be_visible()
    assert (await console.api.get(f"/api/webhooks/{hook}")).status_code == 404
