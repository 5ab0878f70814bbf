"""The API of a collection."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.conftest import Console
from tests.browser.screenshots import Scene


async def arrange(console: Console) -> None:
    fields = [
        {"name": "title", "type": "text", "required": True},
        {"name": "stars", "type": "number", "min": 1, "max": 5},
        {"name": "state", "type": "select", "values": ["draft", "published"]},
    ]
    rules = {
        "listRule": "",
        "viewRule": "",
        "createRule": "@request.auth.id != ''",
        "updateRule": "stars < 5",
    }
    await console.make_collection("reviews", fields, **rules)
    for number in range(3):
        await console.make_record("reviews", title=f"Review {number}", stars=number + 1, state="published")


async def send(page: Page) -> None:
    await page.get_by_role("button", name="Send").click()
    await page.locator(".api-result").wait_for()


SCENES = [
    Scene("api", "/_/c/reviews/api", act=send),
    Scene("api-create", "/_/c/reviews/api?do=create", act=send),
]
