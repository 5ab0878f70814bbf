"""Webhooks and their deliveries."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.conftest import Console
from tests.browser.screenshots import Scene


async def arrange(console: Console) -> None:
    for name, url in (("billing", f"{console.url}/api/health"), ("search", f"{console.url}/api/nowhere")):
        made = await console.api.post(
            "/api/webhooks", json={"name": name, "url": url, "collections": ["users"], "actions": ["update"]}
        )
        assert made.status_code == 200, made.text
        await console.api.post(f"/api/webhooks/{made.json()['id']}/test")


async def open_first(page: Page) -> None:
    await page.get_by_role("link", name="search", exact=True).click()
    await page.locator(".hook-event a").first.click()
    await page.locator("#panel h2").wait_for()


SCENES = [
    Scene("webhooks", "/_/webhooks"),
    Scene("webhook-new", "/_/webhooks/new"),
    Scene("delivery", "/_/webhooks", act=open_first),
]
