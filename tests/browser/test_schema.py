"""The collection editor in a browser: a collection is made, changed, reviewed and deleted, and nothing is lost by a slip."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def make(console: Console, name: str, **options: Any) -> None:
    await console.make_collection(
        name,
        [
            {"name": "title", "type": "text", "required": True},
            {"name": "body", "type": "text"},
            {"name": "score", "type": "number"},
        ],
        **options,
    )
    await console.make_record(name, title="One", body="kept", score=7)


async def stored(console: Console, name: str) -> dict[str, Any]:
    answer = await console.api.get(f"/api/collections/{name}")
    found: dict[str, Any] = answer.json()
    return found


def row_of(page: Page, name: str) -> Locator:
    """A field's line in the list."""
    return page.locator(".field-row").filter(
        has=page.locator(".field-name", has_text=re.compile(f"^{name}$"))
    )


async def review(page: Page) -> None:
    await page.get_by_role("button", name="Review changes").click()
    await expect(page.locator(".plan")).to_be_visible()


async def test_a_collection_is_made_with_fields_and_rules_after_its_plan_was_shown(console: Console) -> None:
    page = await console.open("/_/new-collection")
    await console.check(page)
    await page.get_by_label("Name", exact=True).fill("movies")
    await page.get_by_role("button", name="Go on to the fields").click()
    await page.get_by_label("New field").fill("title")
    await page.get_by_label("New field").press("Enter")
    await expect(row_of(page, "title")).to_be_visible()
    await page.get_by_label("New field").fill("released_on")
    await page.get_by_role("button", name="Add field").click()
    await expect(row_of(page, "released_on").locator(".field-type")).to_have_text("date")
    await console.check(page)
    await page.get_by_role("button", name="Rules").click()
    await page.locator("#rule-listRule").get_by_label("Expression").check()
    await page.locator("#rule-listRule textarea").fill('title != ""')
    await review(page)
    assert page.url.endswith("/_/new-collection/plan")
    await expect(page.locator(".plan")).to_contain_text("Create base collection movies")
    await console.check(page)
    await page.get_by_role("button", name="Create collection").click()
    await expect(page.get_by_text("movies is created.")).to_be_visible()
    made = await stored(console, "movies")
    assert [field["name"] for field in made["fields"]] == ["id", "title", "released_on"]
    assert (made["listRule"], made["viewRule"]) == ('title != ""', None)


async def test_a_renamed_field_keeps_its_values_and_a_lost_one_needs_its_name(console: Console) -> None:
    await make(console, "pages")
    page = await console.open("/_/c/pages/schema", theme="dark")
    row = row_of(page, "body")
    await row.locator("summary").click()
    await row.get_by_label("Field name").fill("content")
    await page.get_by_role("button", name="Remove score").click()
    await expect(page.locator(".field-row.is-gone")).to_contain_text("score")
    await expect(page.get_by_text("2 changes")).to_be_visible()
    await console.check(page)
    await page.goto("/_/c/pages")
    await page.goto("/_/c/pages/schema/plan")
    await expect(page.locator(".plan")).to_contain_text("Rename field pages.body to content.")
    await expect(page.locator(".is-lossy")).to_contain_text("Loses its value in 1 records.")
    await console.check(page)
    await page.get_by_role("button", name="Apply").click()
    await expect(page.locator(".notice.danger")).to_contain_text("Nothing was changed")
    assert "score" in [field["name"] for field in (await stored(console, "pages"))["fields"]]
    await page.get_by_label("To lose the values of score").fill("score")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_text("The changes to pages are applied.")).to_be_visible()
    found = (await console.api.get("/api/collections/pages/records")).json()["items"][0]
    assert found["content"] == "kept"
    assert "score" not in found


async def test_what_is_wrong_stands_beside_its_field_and_its_rule(console: Console) -> None:
    await make(console, "wrongs")
    page = await console.open("/_/c/wrongs/schema")
    row = row_of(page, "body")
    await row.locator("summary").click()
    await row.get_by_label("Field name").fill("title")
    await page.get_by_role("button", name="Rules").click()
    rule = page.locator("#rule-viewRule")
    await rule.get_by_label("Expression").check()
    await rule.locator("textarea").fill('nothing = "x"')
    await expect(rule.locator(".expression-note")).to_be_visible()
    await page.get_by_role("button", name="Review changes").click()
    await expect(page.locator(".notice.danger")).to_contain_text("to correct")
    await expect(page.locator(".tab .badge.danger").first).to_be_visible()
    await expect(rule.locator(".error")).to_contain_text("Invalid rule")
    await console.check(page)
    await page.get_by_role("button", name="Fields").click()
    await expect(page.locator(".field-row")).to_have_count(4)
    await page.get_by_role("button", name="Discard").click()
    await expect(page.get_by_text("The draft is discarded.")).to_be_visible()
    await console.check(await console.open("/_/c/wrongs/schema", size=NARROW))


async def test_a_rule_that_lets_everyone_in_is_said_in_the_plan(console: Console) -> None:
    await make(console, "leaks")
    page = await console.open("/_/c/leaks/schema/rules")
    await page.locator("#rule-listRule").get_by_label("Anyone").check()
    await review(page)
    await expect(page.locator(".notice.public")).to_contain_text(
        "anyone on the internet can list all 1 records"
    )
    await console.check(page)


async def test_fields_are_moved_and_indexes_added_and_options_shown(console: Console) -> None:
    await make(console, "orders")
    page = await console.open("/_/c/orders/schema")
    await page.get_by_role("button", name="Move score up").click()
    await expect(page.locator(".field-row").nth(2)).to_contain_text("score")
    await page.get_by_role("button", name="Move score", exact=True).press("Alt+ArrowUp")
    await expect(page.locator(".field-row").nth(1)).to_contain_text("score")
    await page.get_by_role("button", name="Indexes").click()
    await page.locator(".index-add").get_by_label("title").check()
    await page.get_by_role("button", name="Add index").click()
    await expect(page.get_by_label("Index 1", exact=True)).to_have_value(
        "CREATE INDEX `idx_orders_title` ON `orders` (`title`)"
    )
    await console.check(page)
    await review(page)
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_text("The changes to orders are applied.")).to_be_visible()
    found = await stored(console, "orders")
    assert [field["name"] for field in found["fields"]] == ["id", "score", "title", "body"]
    assert len(found["indexes"]) == 1
    await console.check(await console.open("/_/c/users/schema/options"))


async def test_deleting_needs_the_name(console: Console) -> None:
    await make(console, "doomed")
    page = await console.open("/_/c/doomed/schema/danger")
    await console.check(page)
    await page.get_by_role("button", name="Delete collection").click()
    await expect(page.get_by_text("This is not the name.")).to_be_visible()
    await page.locator("#confirm-truncate").fill("doomed")
    await page.get_by_role("button", name="Delete 1 records").click()
    await expect(page.get_by_text("All records of doomed are deleted.")).to_be_visible()
    await page.goto("/_/c/doomed/schema/danger")
    await page.locator("#confirm-delete").fill("doomed")
    await page.get_by_role("button", name="Delete collection").click()
    await expect(page.get_by_text("doomed is deleted.")).to_be_visible()
    assert (await console.api.get("/api/collections/doomed")).status_code == 404


async def test_without_script_a_field_is_added_and_applied(console: Console) -> None:
    await make(console, "plain")
    page = await console.open("/_/c/plain/schema", script=False)
    await page.get_by_label("New field").fill("is_draft")
    await page.get_by_role("button", name="Add field").click()
    await page.get_by_role("button", name="Review changes").click()
    await expect(page.locator(".plan")).to_contain_text("Add bool field plain.is_draft.")
    await page.get_by_role("button", name="Apply").click()
    assert "is_draft" in [field["name"] for field in (await stored(console, "plain"))["fields"]]


async def test_a_view_is_previewed_before_it_is_made(console: Console) -> None:
    await make(console, "sources")
    page = await console.open("/_/new-collection")
    await page.get_by_label("Name", exact=True).fill("scores")
    await page.get_by_label("View").check()
    await page.get_by_role("button", name="Go on to the fields").click()
    await page.get_by_label("SELECT", exact=True).fill("SELECT id, nothing FROM sources")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("#view-preview")).to_contain_text("Invalid view query")
    await page.get_by_label("SELECT", exact=True).fill("SELECT id, score FROM sources")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("#view-preview td").nth(1)).to_have_text("7")
    await console.check(page)
    await review(page)
    await page.get_by_role("button", name="Create collection").click()
    await expect(page.get_by_text("scores is created.")).to_be_visible()
