"""Stored files in the console: counted, tried out, and rid of what no record names after a plan."""

from __future__ import annotations

import os

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_files_are_counted_by_collection(console: Console) -> None:
    await console.make_collection("albums", [{"name": "cover", "type": "file"}])
    answer = await console.api.post(
        "/api/collections/albums/records", files={"cover": ("a.txt", b"x" * 1500, "text/plain")}
    )
    assert answer.status_code == 200, answer.text
    page = await console.open("/_/files")
    await page.get_by_role("button", name="Count now").click()
    row = page.get_by_role("row", name="albums")
    await expect(row).to_contain_text("1.5 kB")
    await console.check(page)
    await console.check(await console.open("/_/files", size=NARROW))


async def test_orphans_are_shown_before_they_are_deleted(console: Console) -> None:
    collection = await console.make_collection("left", [{"name": "cover", "type": "file"}])
    folder = console.server.data_dir / "storage" / collection["id"] / "abcdefghijklmno"
    folder.mkdir(parents=True)
    orphan = folder / "<b>old.txt"
    orphan.write_bytes(b"nobody names me")
    os.utime(orphan, (1_000_000_000, 1_000_000_000))
    page = await console.open("/_/files", theme="dark")
    await page.get_by_role("button", name="Find orphans").click()
    await expect(page.get_by_role("row", name="<b>old.txt")).to_contain_text("no such record")
    assert orphan.exists()
    await console.check(page)
    await page.get_by_role("button", name="Delete 1 orphan").click()
    await expect(page.get_by_text("1 orphan is deleted.")).to_be_visible()
    assert not orphan.exists()
    await page.get_by_role("button", name="Find orphans").click()
    await expect(page.get_by_text("There are no orphans.")).to_be_visible()


async def test_the_store_is_tried_out_step_by_step(console: Console) -> None:
    page = await console.open("/_/files")
    await page.get_by_role("button", name="Run test").click()
    await expect(page.locator(".files-steps tr")).to_have_count(4)
    await expect(page.locator(".files-steps")).to_contain_text("Delete")
    await console.check(page)
    s3 = {
        "enabled": True,
        "endpoint": "http://127.0.0.1:9",
        "bucket": "b",
        "region": "r",
        "accessKey": "a",
        "secret": "s",
        "forcePathStyle": True,
    }
    assert (await console.api.patch("/api/settings", json={"s3": s3})).status_code == 200
    try:
        await page.get_by_role("button", name="Run test").click()
        await expect(page.locator(".files-steps")).to_contain_text("failed")
        await console.check(page)
    finally:
        await console.api.patch("/api/settings", json={"s3": {"enabled": False}})
