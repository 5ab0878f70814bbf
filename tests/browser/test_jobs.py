"""Jobs and crons in the console: found, looked into, run again and cancelled."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")

CRON = "__pbMFACleanup__"


async def test_a_cron_is_run_and_its_job_run_again(console: Console) -> None:
    page = await console.open("/_/crons")
    await console.check(page)
    await page.get_by_role("button", name=f"Run now: {CRON}").click()
    panel = page.locator("#panel")
    await expect(panel.locator("h2")).to_have_text(f"cron:{CRON}")
    await expect(page.get_by_text(f"{CRON} is queued.")).to_be_visible()
    await expect(panel.get_by_role("button", name="Run")).to_be_visible()
    job = page.url.rsplit("/", 1)[1]
    while (await console.api.get(f"/api/jobs/{job}")).json()["state"] != "done":
        await page.wait_for_timeout(100)
    await page.reload()
    await panel.get_by_role("button", name="Run again").click()
    await expect(page.get_by_text("The job is queued.")).to_be_visible()
    await console.check(page)
    await page.locator("[data-close-panel]").click()
    await expect(panel.locator("h2")).to_have_count(0)
    assert page.url.endswith("/_/jobs")


async def test_states_and_kinds_choose_and_an_empty_choice_says_so(console: Console) -> None:
    await console.api.post(f"/api/crons/{CRON}")
    page = await console.open("/_/jobs?kind=cron:" + CRON, theme="dark")
    await expect(page.locator(".job-table tbody tr").first).to_be_visible()
    await console.check(page)
    await page.get_by_role("link", name="held").click()
    await expect(page.get_by_role("heading", name="No job matches")).to_be_visible()
    await page.get_by_role("link", name="Show all jobs").click()
    await expect(page.locator(".job-table tbody tr").first).to_be_visible()
    await console.check(await console.open("/_/jobs", size=NARROW))


async def test_a_job_that_is_gone_is_said_to_be(console: Console) -> None:
    page = await console.open("/_/jobs/nothing")
    await expect(page.locator("h1")).to_have_text("Not found")
