"""The collection editor and the plan of a change."""

from __future__ import annotations

from playwright.async_api import Page
from tests.browser.conftest import Console
from tests.browser.screenshots import Scene


async def arrange(console: Console) -> None:
    notes = await console.make_collection(
        "articles",
        [
            {"name": "title", "type": "text", "required": True, "max": 200},
            {"name": "body", "type": "editor"},
            {"name": "views", "type": "number", "min": 0},
            {"name": "legacy_score", "type": "number"},
            {"name": "status", "type": "select", "values": ["draft", "out"], "maxSelect": 1},
            {"name": "created", "type": "autodate", "onCreate": True},
        ],
        listRule='status = "out"',
        viewRule="",
        createRule='@request.auth.id != ""',
        indexes=["CREATE INDEX `idx_articles_status` ON `articles` (`status`)"],
    )
    users = (await console.api.get("/api/collections/users")).json()
    fields = [
        *notes["fields"],
        {"name": "owner", "type": "relation", "collectionId": users["id"], "maxSelect": 1},
    ]
    await console.api.patch("/api/collections/articles", json={"fields": fields})
    for number in range(12):
        await console.make_record("articles", title=f"Article {number}", legacy_score=number)


async def open_field(page: Page) -> None:
    await page.locator(".field-row", has_text="views").locator("summary").click()


async def change(page: Page) -> None:
    if not await page.get_by_role("button", name="Remove legacy_score").count():
        return  # the draft is kept from the picture before
    row = page.locator(".field-row", has_text="body")
    await row.locator("summary").click()
    await row.get_by_label("Field name").fill("content")
    await page.get_by_role("button", name="Remove legacy_score").click()
    await page.locator(".field-row.is-gone").wait_for()
    await page.get_by_label("New field").fill("summary")
    await page.get_by_role("button", name="Add field").click()
    await page.locator(".field-row.is-new").wait_for()
    await page.get_by_role("button", name="Rules").click()
    await page.locator("#rule-listRule").get_by_label("Anyone").check()


async def plan(page: Page) -> None:
    await change(page)
    await page.get_by_role("button", name="Review changes").click()
    await page.locator(".plan").wait_for()


SCENES = [
    Scene("collection-new", "/_/new-collection"),
    Scene("schema-fields", "/_/c/articles/schema", act=open_field),
    Scene("schema-rules", "/_/c/articles/schema/rules"),
    Scene("schema-indexes", "/_/c/articles/schema/indexes"),
    Scene("schema-options", "/_/c/users/schema/options"),
    Scene("schema-danger", "/_/c/articles/schema/danger"),
    Scene("schema-plan", "/_/c/articles/schema", act=plan),
]
