"""Records: the list, the panel, a new record, a filter that is wrong, several selected, the history."""

from __future__ import annotations

import random
from typing import Any

from playwright.async_api import Page
from tests.browser.conftest import Console
from tests.browser.screenshots import Scene

WORDS = ("Tide", "Amber", "Signal", "Harbour", "Lantern", "Meadow", "Copper", "Drift", "Ember", "Quarry")
TAGS = ("news", "how-to", "release", "opinion")


async def arrange(console: Console) -> None:
    """A small publication: authors, posts with everything a field can hold, and comments."""
    chosen = random.Random(7)  # the same pictures each time
    people = []
    for name in ("Mira Okafor", "Jon Lindqvist", "Ada Moreau", "Lin Zhao"):
        email = f"{name.split()[0].lower()}@example.org"
        body = {"email": email, "password": "1234567890", "passwordConfirm": "1234567890", "name": name}
        people.append((await console.make_record("users", **body, verified=True))["id"])
    users = (await console.api.get("/api/collections/users")).json()
    fields: list[dict[str, Any]] = [
        {"name": "title", "type": "text", "required": True, "max": 120, "presentable": True},
        {"name": "views", "type": "number", "min": 0, "onlyInt": True},
        {"name": "published", "type": "bool"},
        {"name": "status", "type": "select", "values": ["draft", "review", "published"], "maxSelect": 1},
        {"name": "owner", "type": "relation", "collectionId": users["id"], "maxSelect": 1},
        {"name": "tags", "type": "select", "values": list(TAGS), "maxSelect": 3},
        {"name": "summary", "type": "text", "max": 2000},
        {"name": "body", "type": "editor"},
        {"name": "cover", "type": "file", "maxSelect": 1, "mimeTypes": ["image/png"]},
        {"name": "meta", "type": "json"},
        {"name": "place", "type": "geoPoint"},
        {"name": "published_at", "type": "date"},
        {"name": "created", "type": "autodate", "onCreate": True},
        {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
    ]
    essays = await console.make_collection("essays", fields, listRule="", viewRule="")
    comment = [
        {
            "name": "article",
            "type": "relation",
            "collectionId": essays["id"],
            "maxSelect": 1,
            "cascadeDelete": True,
        },
        {"name": "text", "type": "text"},
    ]
    await console.make_collection("remarks", comment)
    for number in range(64):
        made = await console.make_record(
            "essays",
            title=f"{chosen.choice(WORDS)} and {chosen.choice(WORDS).lower()}, part {number + 1}",
            views=chosen.randrange(12_000),
            published=chosen.random() < 0.6,
            status=chosen.choice(["draft", "review", "published"]),
            owner=chosen.choice(people),
            tags=chosen.sample(TAGS, chosen.randrange(3)),
            summary="What the tide leaves behind, and who picks it up." if number % 3 else "",
            body="<p>The <strong>harbour</strong> was quiet.</p>",
            meta={"rating": 4.5, "languages": ["en", "de"]},
            place={"lon": 13.4, "lat": 52.5},
            published_at=f"2026-0{chosen.randrange(1, 10)}-1{chosen.randrange(10)} 14:02:00.000Z",
        )
        if number % 4 == 0:
            await console.make_record("remarks", essay=made["id"], text="Well seen.")


async def open_first(page: Page) -> None:
    await page.locator("tbody tr").nth(2).locator("td.is-title").click()
    await page.locator("#panel .panel").wait_for()


async def change(page: Page) -> None:
    await open_first(page)
    await page.locator("#v-title").fill("The tide table")
    await page.locator("#v-views").fill("944")


async def show_history(page: Page) -> None:
    await change(page)
    await page.keyboard.press("Control+s")
    await page.locator(".toast").wait_for()
    await page.locator(".tab", has_text="History").click()
    await page.locator(".history").wait_for()


async def complete(page: Page) -> None:
    field = page.locator("[data-filter-input]")
    await field.press_sequentially('owner.name ~ "mira" && published = true && st')
    await page.locator(".expression-list [role=option]").first.wait_for()


async def select_some(page: Page) -> None:
    boxes = page.locator("[data-select]")
    await boxes.nth(1).click()
    await boxes.nth(4).click(modifiers=["Shift"])


async def ask_delete(page: Page) -> None:
    await open_first(page)
    await page.get_by_role("button", name="More").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await page.locator("#dialog[open]").wait_for()


SCENES = [
    Scene("records", "/_/c/essays"),
    Scene("record", "/_/c/essays", act=change),
    Scene("record-new", "/_/c/essays/new"),
    Scene("record-history", "/_/c/essays", act=show_history),
    Scene("record-delete", "/_/c/essays", act=ask_delete),
    Scene("records-filter", "/_/c/essays", act=complete, forms=("light", "dark")),
    Scene("records-filter-wrong", "/_/c/essays?filter=views%20%3E"),
    Scene("records-selected", "/_/c/essays", act=select_some, forms=("light", "dark")),
    Scene("records-empty", "/_/c/_otps"),
]
