"""The rule lab in a browser: a denial is explained clause by clause, also for a request of the log."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")

RULE = 'owner = @request.auth.id && (meta.rank > 3 || @request.body.title != "")'


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def record(shared_console: Console) -> str:
    """The id of a record of Ada's, beside whom there is Jon."""
    api = shared_console
    account = {"password": "12345678", "passwordConfirm": "12345678"}
    ada = await api.make_record("users", email="ada@example.com", **account)
    await api.make_record("users", email="jon@example.com", **account)
    users = (await api.api.get("/api/collections/users")).json()
    await api.make_collection(
        "letters",
        [
            {"name": "title", "type": "text"},
            {"name": "owner", "type": "relation", "collectionId": users["id"], "maxSelect": 1},
            {"name": "meta", "type": "json"},
        ],
        updateRule=RULE,
        viewRule='title = "Shown"',
    )
    made = await api.make_record("letters", title="Hello", owner=ada["id"])
    return str(made["id"])


async def test_a_denial_shows_each_clause_with_what_it_saw(console: Console, record: str) -> None:
    page = await console.open("/_/rules/lab")
    await console.check(page)
    await page.get_by_label("As", exact=True).fill("users/jon@example.com")
    await page.get_by_label("Collection", exact=True).select_option("letters")
    await page.get_by_label("Action").select_option("update")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".lab-verdict")).to_contain_text("Denied 404, as a client sees it")
    assert "collection=letters" in page.url
    clauses = page.locator(".lab-part", has_not=page.locator("ul"))
    await expect(clauses.nth(0)).to_contain_text("does not hold: owner = @request.auth.id")
    await expect(clauses.nth(1)).to_contain_text("unknown: meta.rank > 3")
    await expect(clauses.nth(1)).to_contain_text("unknown counts as no")
    await console.check(page)
    await page.get_by_label("As", exact=True).fill("users/ada@example.com")
    await page.get_by_label("Body").fill('{"title": "Mine"}')
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".lab-verdict")).to_contain_text("Allowed")
    await page.locator(".lab-sql summary").click()
    await expect(page.locator(".lab-sql pre")).to_contain_text("SELECT")
    await console.check(page)


async def test_what_cannot_be_asked_says_why(console: Console, record: str) -> None:
    address = f"/_/rules/lab?as=users/nobody@example.com&action=view&collection=letters&record={record}"
    page = await console.open(address, theme="dark")
    await expect(page.locator(".lab-answer .notice")).to_contain_text("no account nobody@example.com")
    await page.get_by_label("As", exact=True).fill("guest")
    await page.get_by_label("Body").fill("{nonsense")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".lab-answer .notice")).to_contain_text("not valid JSON")
    await console.check(page)
    locked = await console.open("/_/rules/lab?as=guest&action=delete&collection=letters", size=NARROW)
    await expect(locked.locator(".lab-verdict")).to_contain_text("403")
    await expect(locked.locator(".lab-answer")).to_contain_text("The rule is locked")
    await console.check(locked)


async def test_a_refused_request_in_the_log_leads_to_the_lab(console: Console, record: str) -> None:
    path = f"/api/collections/letters/records/{record}"
    await console.api.get(path, headers={"Authorization": ""})
    page = await console.open("/_/logs?filter=" + quote(f'data.url ~ "{record}" && data.status = 404'))
    await page.locator(".log-what a").first.click()
    await page.get_by_role("link", name="Why denied?").click()
    await expect(page.locator(".lab-verdict")).to_contain_text("Denied")
    await expect(page.locator(".lab-tree")).to_contain_text('title = "Shown"')
