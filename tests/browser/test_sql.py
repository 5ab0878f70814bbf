"""The SQL console: a statement, its errors at their place, files, saved queries, and writes that are confirmed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def type_in(page: Page, text: str) -> None:
    await page.get_by_label("SQL statement").fill(text)


async def download(page: Page, name: str) -> str:
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name=name).click()
    return Path(await (await waiting.value).path()).read_bytes().decode()


async def test_a_statement_runs_with_ctrl_enter_and_its_answer_is_a_table_and_a_file(
    console: Console,
) -> None:
    page = await console.open("/_/sql")
    await type_in(page, "select n, '<b>' || n as \"text\", null as gone from generate_series(1, 3) n")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".sql-table tbody tr")).to_have_count(3)
    await expect(page.locator(".sql-summary")).to_contain_text("3 rows")
    await expect(page.locator(".sql-table tbody tr").first).to_contain_text("<b>1")
    await console.check(page)
    assert await download(page, "CSV") == "n,text,gone\r\n1,<b>1,\r\n2,<b>2,\r\n3,<b>3,\r\n"
    assert json.loads(await download(page, "JSON"))[0] == {"n": "1", "text": "<b>1", "gone": None}
    await page.get_by_role("button", name="Explain").click()
    await expect(page.locator(".sql-plan")).to_contain_text("Function Scan")
    await console.check(page)


async def test_an_error_says_where_and_what_was_typed_stays(console: Console) -> None:
    page = await console.open("/_/sql", theme="dark")
    await type_in(page, "select email,\n  nothing\nfrom users")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".sql-problem").get_by_text("Line 2, column 3:")).to_be_visible()
    selected = await page.evaluate(
        "() => { const a = document.activeElement; return a.value.slice(a.selectionStart, a.selectionEnd) }"
    )
    assert selected == "nothing"
    await console.check(page)
    await page.reload()
    await expect(page.get_by_label("SQL statement")).to_have_value("select email,\n  nothing\nfrom users")
    await type_in(page, "select password from users")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".sql-problem")).to_contain_text(
        "Passwords and keys of records cannot be read here"
    )
    await console.check(await console.open("/_/sql", size=NARROW))


async def test_nothing_is_written_before_that_was_typed(console: Console) -> None:
    await console.make_collection("ledger", [{"name": "title", "type": "text"}])
    record = await console.make_record("ledger", title="before")
    page = await console.open("/_/sql")
    await type_in(page, "update ledger set title = 'after'")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".sql-problem")).to_contain_text("where writes are allowed")
    await page.get_by_text("Allow writes…").click()
    await page.get_by_label("to let the next statements write").fill("yes")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".sql-problem")).to_contain_text("Type write to allow writes")
    assert (await console.record("ledger", record["id"]) or {})["title"] == "before"
    await page.get_by_label("to let the next statements write").fill("write")
    await expect(page.locator("#sql-limits")).to_contain_text("writes allowed")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".sql-summary")).to_contain_text("UPDATE 1")
    assert (await console.record("ledger", record["id"]) or {})["title"] == "after"
    await console.check(page)
    answer = await console.api.get("/api/logs", params={"filter": "data.type = 'sql'"})
    assert answer.json()["items"][0]["data"]["auth"] == "mira@example.com"


async def test_a_query_is_saved_for_all_and_deleted_with_undo(console: Console) -> None:
    page = await console.open("/_/sql")
    await type_in(page, "select 42 as answer")
    await page.get_by_text("Save…").click()
    await page.get_by_label("Name").fill("The answer")
    await page.get_by_role("button", name="Save query").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("The answer")
    page = await console.open("/_/sql")
    await page.get_by_role("button", name="Saved").click()
    await page.get_by_role("menuitem", name="The answer").click()
    await expect(page.get_by_label("SQL statement")).to_have_value("select 42 as answer")
    await console.check(page)
    await page.get_by_role("button", name="Delete query").click()
    await expect(page.get_by_text("The answer is deleted.")).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_text("The answer is saved for all superusers.")).to_be_visible()


async def test_a_query_runs_without_script(console: Console) -> None:
    page = await console.open("/_/sql", script=False)
    await type_in(page, "select 1 as one")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator(".sql-table tbody td")).to_have_text("1")
    await expect(page.get_by_label("SQL statement")).to_have_value("select 1 as one")
