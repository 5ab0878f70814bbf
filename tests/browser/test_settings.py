"""Settings in the console: changed with errors beside their fields, tried out, with their sources, without secrets."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.browser.conftest import NARROW, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_mail_is_set_up_with_errors_beside_their_fields_and_a_secret_that_stays_behind(
    console: Console,
) -> None:
    page = await console.open("/_/settings/mail")
    await page.get_by_label("Host").fill("not a host")
    await page.get_by_label("Port").fill("many")
    await expect(page.get_by_text("2 changes")).to_be_visible()
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#f-smtp_port-error")).to_have_text("Must be a whole number.")
    await page.get_by_label("Port").fill("2525")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#f-smtp_host-error")).to_have_text("Must be a valid IP address or DNS name.")
    await expect(page.get_by_label("Port")).to_have_value("2525")
    await console.check(page)
    await page.get_by_label("Host").fill("127.0.0.1")
    await page.get_by_label("Password").fill("very-secret")
    await page.keyboard.press("Control+s")
    await expect(page.get_by_text("Saved, and known to every process.")).to_be_visible()
    await expect(page.locator("[id='smtp.host'] .settings-source")).to_have_text("set here")
    await expect(page.locator("[id='smtp.tls'] .settings-source")).to_have_text("default")
    await expect(page.locator("[id='smtp.password']")).to_contain_text("•••••• set")
    assert "very-secret" not in await page.content()
    # Saved again with the field left empty, the secret is still there; it goes only when that is asked for.
    await page.get_by_label("User").fill("mira")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_label("User")).to_have_value("mira")
    await expect(page.locator("[id='smtp.password']")).to_contain_text("•••••• set")
    await page.get_by_text("Replace").click()
    await page.get_by_label("Remove it instead").check()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("•••••• set")).to_have_count(0)
    stored = (await console.api.get("/api/settings")).json()["smtp"]
    assert (stored["host"], stored["port"], stored["username"]) == ("127.0.0.1", 2525, "mira")
    await console.check(await console.open("/_/settings/mail", theme="dark"))
    await console.check(await console.open("/_/settings/mail", size=NARROW))


async def test_a_test_mail_says_where_it_went_or_why_it_did_not(console: Console) -> None:
    page = await console.open("/_/settings/mail")
    outcome = page.locator("#settings-trial")
    await page.get_by_role("button", name="Send test").click()
    await expect(outcome).to_contain_text("Written to the outbox folder")
    answer = await console.api.patch(
        "/api/settings", json={"smtp": {"enabled": True, "host": "127.0.0.1", "port": 9}}
    )
    assert answer.status_code == 200
    await page.get_by_role("button", name="Send test").click()
    await expect(outcome.locator(".notice.danger")).to_be_visible()
    await console.check(page)
    await console.api.patch("/api/settings", json={"smtp": {"enabled": False}})


async def test_rate_limits_are_edited_row_by_row_and_begin_from_a_preset(console: Console) -> None:
    page = await console.open("/_/settings/rate-limits", theme="dark")
    await page.get_by_role("link", name="Only sign-in").click()
    await expect(page.get_by_text("These limits are not saved yet.")).to_be_visible()
    await expect(page.get_by_label("For 2")).to_have_count(0)
    await page.get_by_role("button", name="Add limit").click()
    await page.get_by_label("For 2").fill("*:auth")
    await page.get_by_label("Requests 2").fill("1")
    await page.get_by_label("Seconds 2").fill("1")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".settings-rule-error")).to_contain_text("conflicts with another rule")
    await console.check(page)
    await page.get_by_role("button", name="Remove limit 2").click()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved, and known to every process.")).to_be_visible()
    rules = (await console.api.get("/api/settings")).json()["rateLimits"]["rules"]
    assert [(each["label"], each["maxRequests"], each["duration"]) for each in rules] == [("*:auth", 10, 60)]
    await console.check(await console.open("/_/settings/rate-limits", size=NARROW))


async def test_superusers_do_not_lock_themselves_out(console: Console) -> None:
    page = await console.open("/_/settings/network")
    await page.get_by_label("Allowed addresses").fill("203.0.113.0/24")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#f-superuserIPs-error")).to_contain_text("you would be locked out")
    await page.get_by_label("Allowed addresses").fill("127.0.0.1\nnope")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#f-superuserIPs-error")).to_have_text("Line 2: Invalid IP or CIDR subnet.")
    await console.check(page)


async def test_leaving_typed_settings_asks_first(console: Console) -> None:
    page = await console.open("/_/settings/application")
    await page.get_by_label("Name").fill("Something else")
    await page.get_by_role("link", name="Logs").last.click()
    await page.get_by_role("button", name="Stay").click()
    await expect(page.get_by_label("Name")).to_have_value("Something else")
    await console.check(page)


async def test_the_configuration_shows_each_value_with_its_source_and_no_secret(console: Console) -> None:
    page = await console.open("/_/settings/server")
    await expect(page.locator("[id='server.port']")).to_contain_text("flag --port")
    await expect(page.locator("[id='outgoing.allow_http']")).to_contain_text("groundplane.toml, line 5")
    await expect(page.locator("[id='database.url']")).to_contain_text(
        "GROUNDPLANE_DATABASE__URL (environment)"
    )
    await expect(page.locator("[id='database.url'] td").first).to_contain_text("••••••")
    assert "postgresql://" not in await page.content()
    await console.check(page)
    await console.check(await console.open("/_/settings/server", theme="dark"))
    await console.check(await console.open("/_/settings/server", size=NARROW))


async def test_settings_are_saved_without_script(console: Console) -> None:
    page = await console.open("/_/settings/batch", script=False)
    await page.get_by_label("Requests in one batch").fill("25")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_label("Requests in one batch")).to_have_value("25")
    assert (await console.api.get("/api/settings")).json()["batch"]["maxRequests"] == 25


async def test_the_object_store_is_tried_out_only_when_it_is_on(console: Console) -> None:
    page = await console.open("/_/settings/storage")
    await expect(page.get_by_role("button", name="Run test")).to_be_disabled()
    s3 = {
        "enabled": True,
        "endpoint": "http://127.0.0.1:9",
        "bucket": "b",
        "region": "r",
        "accessKey": "a",
        "secret": "s",
        "forcePathStyle": True,
    }
    assert (await console.api.patch("/api/settings", json={"backups": {"s3": s3}})).status_code == 200
    page = await console.open("/_/settings/backups")
    await page.get_by_role("button", name="Run test").click()
    await expect(page.locator("#settings-trial")).to_contain_text("The object store failed at: Write.")
    await console.check(page)
    await console.api.patch("/api/settings", json={"backups": {"s3": {"enabled": False}}})
