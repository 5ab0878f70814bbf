"""The API page of a collection: each endpoint is tried as whom one likes, and the code that it shows works."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from tests.browser.conftest import NARROW, PASSWORD, Console
from tests.compatibility.conftest import Node
from tests.compatibility.conftest import javascript as javascript  # noqa: PLC0414  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIELDS = [
    {"name": "title", "type": "text", "required": True, "min": 3},
    {"name": "stars", "type": "number", "min": 2, "max": 5},
    {"name": "state", "type": "select", "values": ["draft", "done"], "maxSelect": 1},
    {"name": "tags", "type": "select", "values": ["a", "b"], "maxSelect": 2},
    {"name": "seen", "type": "date"},
    {"name": "more", "type": "json"},
    {"name": "place", "type": "geoPoint"},
]
MEMBER = {"email": "api@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}


async def make(console: Console, name: str, **rules: str | None) -> None:
    await console.make_collection(name, FIELDS, **rules)
    found = await console.api.get(
        "/api/collections/users/records", params={"filter": "email = 'api@example.com'"}
    )
    if not found.json()["items"]:
        await console.make_record("users", **MEMBER)


async def shown_code(page: Page, language: str) -> str:
    await page.locator(".api-languages label", has_text=language).click()
    return await page.locator(".api-sample:visible code").inner_text()


async def test_a_list_is_tried_as_a_guest_and_as_an_account_with_the_rules_of_each(console: Console) -> None:
    await make(console, "api_notes", listRule="@request.auth.id != ''", viewRule="", createRule=None)
    await console.make_record("api_notes", title="first", stars=3)
    page = await console.open("/_/c/api_notes")
    await page.get_by_role("link", name="API", exact=True).click()
    await page.get_by_role("button", name="Send").click()
    result = page.locator(".api-result")
    await expect(result).to_contain_text("200")
    await expect(result.locator("pre")).to_contain_text('"items": []')
    await page.get_by_role("combobox", name="As").fill("users/api@example.com")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".api-result pre")).to_contain_text('"title": "first"')
    assert console.token not in await page.content()
    assert "ey" + "J" not in await page.locator("#api-answer").inner_text()
    await console.check(page)
    for theme, size in (("dark", (1440, 900)), ("light", NARROW)):
        await console.check(await console.open("/_/c/api_notes/api?do=create", theme=theme, size=size))


async def test_what_a_guest_may_not_is_refused_as_a_client_sees_it(console: Console) -> None:
    await make(console, "api_locked", listRule="", createRule=None)
    page = await console.open("/_/c/api_locked/api?do=create")
    await expect(page.locator(".api-who")).to_contain_text("only superusers")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".api-result")).to_contain_text("403")
    await expect(page.locator(".api-result pre")).to_contain_text("Only superusers")
    answer = await console.api.get("/api/collections/api_locked/records")
    assert answer.json()["totalItems"] == 0
    await page.get_by_role("combobox", name="As").fill("users/nobody@example.com")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("alert").filter(has_text="no account")).to_be_visible()
    await page.get_by_role("textbox", name="Body").fill("{")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("alert").filter(has_text="JSON object")).to_be_visible()
    await expect(page.get_by_role("textbox", name="Body")).to_have_value("{")


async def test_the_code_of_all_languages_makes_what_it_says(
    console: Console, javascript: Node, tmp_path: Path
) -> None:
    await make(console, "api_code", listRule="", viewRule="", createRule="", updateRule="", deleteRule="")
    page = await console.open("/_/c/api_code/api?do=create")
    for language in ("JavaScript", "Python", "curl"):
        text = await shown_code(page, language)
        said = await run(language, text, javascript, tmp_path)
        assert "A title" in said, said
    assert 'await pb.collection("api_code").create' in await shown_code(page, "Dart")
    made = (await console.api.get("/api/collections/api_code/records")).json()["items"]
    assert len(made) == 3
    assert {(each["stars"], each["state"], tuple(each["tags"])) for each in made} == {(2, "draft", ("a",))}
    page = await console.open("/_/c/api_code/api")
    await page.get_by_label("filter", exact=True).fill("title ~ 'it\"s' || stars = 2")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".api-result pre")).to_contain_text('"totalItems": 3')
    for language in ("JavaScript", "Python", "curl"):
        said = await run(language, await shown_code(page, language), javascript, tmp_path)
        assert made[0]["id"] in said, said
    page = await console.open(f"/_/c/api_code/api?do=delete&id={made[0]['id']}")
    await run("Python", await shown_code(page, "Python"), javascript, tmp_path)
    assert await console.record("api_code", made[0]["id"]) is None


async def test_without_script_an_endpoint_is_tried_all_the_same(console: Console) -> None:
    await make(console, "api_plain", listRule="", viewRule="")
    record = await console.make_record("api_plain", title="plain", stars=2)
    page = await console.open("/_/c/api_plain/api?do=view", script=False)
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".api-result pre")).to_contain_text(record["id"])
    assert re.search(r"\d ms", await page.locator(".api-result h3").inner_text())


async def run(language: str, text: str, node: Node, folder: Path) -> str:
    """Carry out code as it stands on the page; returns what it says."""
    if language == "JavaScript":
        file = folder / "code.mjs"
        file.write_text(text.replace('"pocketbase"', json.dumps(node.client.as_uri())))
        command = [*node.node, str(file)]
    elif language == "Python":
        command = [sys.executable, "-W", "ignore", "-c", text]
    else:
        if shutil.which("curl") is None:
            pytest.skip("needs the Debian package curl")
        command = ["sh", "-c", text]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout
