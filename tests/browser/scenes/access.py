"""Accounts' sessions and ways to sign in; service keys."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.conftest import PASSWORD, Console
from tests.browser.screenshots import Scene

ADDRESS = "ann@example.com"
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Version/19 Safari/605",
)


async def arrange(console: Console) -> None:
    await console.make_record("users", email=ADDRESS, password=PASSWORD, passwordConfirm=PASSWORD)
    for agent in AGENTS:
        body = {"identity": ADDRESS, "password": PASSWORD}
        await console.api.post(
            "/api/collections/users/auth-with-password", json=body, headers={"User-Agent": agent}
        )
    for name, access, extra in (
        ("importer", "full", {"scopes": [{"collections": ["users"], "actions": ["list", "create"]}]}),
        ("terminal", "superuser", {}),
    ):
        await console.api.post("/api/service-keys", json={"name": name, "access": access, **extra})


async def open_tab(page: Page, tab: str) -> None:
    link = page.locator("tr", has_text=ADDRESS).locator("a").first
    address = await link.get_attribute("href") or ""
    await page.goto(f"{address.partition('?')[0]}/{tab}")
    await page.locator("#panel .panel-body").wait_for()


async def open_sessions(page: Page) -> None:
    await open_tab(page, "sessions")


async def open_ways(page: Page) -> None:
    await open_tab(page, "ways")


async def open_key(page: Page) -> None:
    await page.get_by_role("link", name="importer").first.click()
    await page.locator("#key-grace").wait_for()


SCENES = [
    Scene("keys", "/_/access/keys"),
    Scene("key-new", "/_/access/keys/new"),
    Scene("key", "/_/access/keys", act=open_key),
    Scene("sessions", "/_/c/users", act=open_sessions),
    Scene("ways", "/_/c/users", act=open_ways),
]
