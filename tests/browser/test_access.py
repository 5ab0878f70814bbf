"""Sessions and ways to sign in of an account, and service keys: seen, ended, replaced, revoked."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, PASSWORD, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def make_account(console: Console, address: str) -> str:
    account = {"email": address, "password": PASSWORD, "passwordConfirm": PASSWORD}
    return str((await console.make_record("users", **account))["id"])


async def sign_in(console: Console, address: str, agent: str) -> str:
    """A token of a new session."""
    answer = await console.api.post(
        "/api/collections/users/auth-with-password",
        json={"identity": address, "password": PASSWORD},
        headers={"User-Agent": agent, "Authorization": ""},
    )
    return str(answer.json()["token"])


async def is_signed_in(console: Console, token: str) -> bool:
    refreshed = await console.api.post(
        "/api/collections/users/auth-refresh", headers={"Authorization": token}
    )
    return refreshed.status_code == 200


async def test_one_session_of_an_account_is_ended_and_then_all(console: Console) -> None:
    address = "sessions@example.com"
    id = await make_account(console, address)
    one, two = await sign_in(console, address, FIREFOX), await sign_in(console, address, "curl/8")
    page = await console.open(f"/_/c/users/r/{id}/sessions")
    rows = page.locator(".account-list > li")
    await expect(rows).to_have_count(2)
    for theme, size in (("dark", (1440, 900)), ("light", NARROW)):
        await console.check(await console.open(f"/_/c/users/r/{id}/sessions", theme=theme, size=size))
    await page.get_by_role("button", name="End the session of Firefox, Linux").click()
    await expect(page.locator(".toast")).to_contain_text("has ended")
    await expect(rows).to_have_count(1)
    assert (await is_signed_in(console, one), await is_signed_in(console, two)) == (False, True)
    await page.get_by_text("End the one session").click()
    await page.get_by_role("button", name="End all sessions").click()
    await expect(page.get_by_text("Not signed in anywhere.")).to_be_visible()
    assert not await is_signed_in(console, two)


async def test_a_linked_account_is_shown_and_unlinked(console: Console) -> None:
    id = await make_account(console, "linked@example.com")
    made = await console.api.post(
        "/api/collections/_externalAuths/records",
        json={
            "collectionRef": "_pb_users_auth_",
            "recordRef": id,
            "provider": "github",
            "providerId": "<b>42",
        },
    )
    assert made.status_code == 200, made.text
    page = await console.open(f"/_/c/users/r/{id}/ways")
    await expect(page.locator("#panel")).to_contain_text("<b>42")
    await console.check(page)
    await console.check(await console.open(f"/_/c/users/r/{id}/ways", theme="dark"))
    await page.get_by_text("Unlink", exact=True).click()
    await page.get_by_role("button", name="Unlink github").click()
    await expect(page.get_by_text("None is linked.")).to_be_visible()
    assert await console.record("_externalAuths", made.json()["id"]) is None


async def test_a_key_is_made_shown_once_used_replaced_and_revoked(console: Console) -> None:
    await console.make_collection("keyed", [{"name": "title", "type": "text"}])
    page = await console.open("/_/access/keys/new")
    await page.get_by_role("button", name="Create key").click()
    await expect(page.locator("#key-name-error")).to_be_visible()
    await page.get_by_label("Name").fill("reader")
    await page.get_by_role("checkbox", name="keyed").check()
    await page.get_by_role("button", name="Create key").click()
    text = await page.locator("pre code").inner_text()
    assert text.startswith("gpk_")
    assert await status(console, text, "GET") == 200
    assert await status(console, text, "POST") == 403
    await console.check(page)
    await page.get_by_role("link", name="Go to the keys").click()
    await expect(page.locator("tbody tr", has_text="reader")).to_contain_text("keyed: list, view")
    assert text not in await page.content()
    for theme, size in (("dark", (1440, 900)), ("light", NARROW)):
        await console.check(await console.open("/_/access/keys", theme=theme, size=size))
    await page.get_by_role("link", name="reader").click()
    await page.locator("#key-grace").select_option("0")
    await page.get_by_role("button", name="Replace the key").click()
    await expect(page.locator("pre code")).not_to_have_text(text)
    newer = await page.locator("pre code").inner_text()
    assert (await status(console, text, "GET"), await status(console, newer, "GET")) == (403, 200)
    await page.get_by_role("link", name="Go to the keys").click()
    await page.get_by_role("link", name="reader").click()
    await console.check(page)
    await page.locator("summary", has_text="Revoke").click()
    await page.get_by_role("button", name="Revoke the key").click()
    await expect(page.locator(".toast")).to_contain_text("reader is revoked")
    assert await status(console, newer, "GET") == 403


async def status(console: Console, key: str, method: str) -> int:
    body: dict[str, Any] = {"json": {"title": "x"}} if method == "POST" else {}
    answer = await console.api.request(
        method, "/api/collections/keyed/records", headers={"Authorization": f"Bearer {key}"}, **body
    )
    return answer.status_code


async def test_an_account_that_nobody_has_is_told_beside_its_input(console: Console) -> None:
    page = await console.open("/_/access/keys/new")
    await page.get_by_label("Name").fill("ghost")
    await page.get_by_role("radio", name="As an account").check()
    await page.get_by_role("textbox", name="Acts as").fill("users/ghost@example.com")
    await page.get_by_role("checkbox", name="all of them").check()
    await page.get_by_role("button", name="Create key").click()
    await expect(page.locator("#key-record-error")).to_contain_text("no account")
    await expect(page.get_by_label("Name")).to_have_value("ghost")
    await console.check(page)
