"""Records in a browser: finding, opening, changing, creating and deleting them, and what goes wrong on the way."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from tests.browser.conftest import NARROW, WIDE, Console, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTACK = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{7*7}}"
FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text", "required": True, "presentable": True},
    {"name": "views", "type": "number"},
    {"name": "published", "type": "bool"},
    {"name": "status", "type": "select", "values": ["draft", "review", "out"], "maxSelect": 1},
    {"name": "body", "type": "editor"},
    {"name": "meta", "type": "json"},
    {"name": "place", "type": "geoPoint"},
    {"name": "day", "type": "date"},
    {"name": "site", "type": "url"},
    {"name": "files", "type": "file", "maxSelect": 3},
    {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def shop(shared_console: Console) -> Console:
    """A collection of posts with sixty records, and of notes that belong to them."""
    posts = await shared_console.make_collection("posts", FIELDS, listRule="")
    await shared_console.make_collection(
        "notes",
        [
            {"name": "text", "type": "text"},
            {
                "name": "post",
                "type": "relation",
                "collectionId": posts["id"],
                "maxSelect": 1,
                "cascadeDelete": True,
            },
        ],
    )
    for number in range(60):
        await shared_console.make_record("posts", title=f"Post {number:02}", views=number, status="draft")
    return shared_console


async def open_first(page: Page, title: str) -> None:
    await page.locator("tbody tr", has_text=title).first.locator("td.is-title").click()
    await expect(page.locator("#v-title")).to_be_visible()


@pytest.mark.usefixtures("shop")
async def test_a_record_is_found_opened_changed_and_saved(console: Console) -> None:
    made = await console.make_record("posts", title="To be changed", views=1)
    page = await console.open("/_/c/posts")
    await page.get_by_label("Filter expression").fill('title ~ "be changed"')
    await page.get_by_label("Filter expression").press("Enter")
    await expect(page.locator("tbody tr")).to_have_count(1)
    assert "filter=" in page.url
    await open_first(page, "To be changed")
    assert f"/_/c/posts/r/{made['id']}?" in page.url
    await page.locator("#v-title").fill("Changed")
    await expect(page.locator("[data-changes]")).to_have_text("1 change")
    await page.keyboard.press("Control+s")
    await expect(page.locator(".toast").last).to_contain_text("Saved.")
    await expect(page.locator("tbody tr td.is-title")).to_have_text("Changed")
    await expect(page.locator("#panel-title")).to_have_text("Changed")
    await expect(page.locator("[data-changes]")).to_have_text("")
    await console.check(page)
    assert (await console.record("posts", made["id"]) or {})["title"] == "Changed"
    await page.reload()
    await expect(page.locator("#v-title")).to_have_value("Changed")
    await page.locator("[data-close-panel]").click()
    await expect(page.locator("#panel .panel")).to_have_count(0)
    await page.go_back()
    await expect(page.locator("#v-title")).to_have_value("Changed")


@pytest.mark.usefixtures("shop")
async def test_a_record_is_made_and_deleted_and_brought_back(console: Console) -> None:
    page = await console.open("/_/c/posts")
    await page.keyboard.press("n")
    await page.locator("#v-title").fill("Made here")
    await page.locator("#v-views").fill("12.5")
    await page.locator("#v-meta").fill('{"rate": 4.50}')
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("#panel-title")).to_have_text("Made here")
    id = page.url.partition("/r/")[2].partition("?")[0]
    assert (await console.record("posts", id) or {})["views"] == 12.5
    await expect(page.locator("#v-meta")).to_have_value('{"rate":4.50}')
    await console.make_record("notes", text="goes along", post=id)
    await page.get_by_role("button", name="More").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await expect(page.locator("#dialog")).to_contain_text("1 record of notes that belongs to it goes too.")
    await console.check(page)
    await page.locator("#dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".toast").last).to_contain_text("Deleted 1 record.")
    assert await console.record("posts", id) is None
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("#panel-title")).to_have_text("Made here")
    assert await console.record("posts", id) is not None


@pytest.mark.usefixtures("shop")
async def test_what_the_api_refuses_stands_beside_its_field_and_nothing_typed_is_lost(
    console: Console,
) -> None:
    page = await console.open("/_/c/posts/new")
    await page.locator("#v-site").fill("no address")
    await page.locator("#v-views").fill("many")
    await page.locator("#v-body").fill("kept text")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("#v-views-error")).to_have_text("Must be a number.")
    await page.locator("#v-views").fill("3")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("#v-title-error")).to_contain_text("Cannot be blank.")
    await expect(page.locator("#v-site-error")).to_contain_text("Must be a valid url.")
    await expect(page.locator("#v-body")).to_have_value("kept text")
    await console.check(page)


@pytest.mark.usefixtures("shop")
async def test_a_wrong_filter_keeps_the_rows_and_says_where_it_is_wrong(console: Console) -> None:
    page = await console.open("/_/c/posts")
    rows = await page.locator("tbody tr").count()
    field = page.get_by_label("Filter expression")
    await field.fill("views > ")
    await expect(page.locator(".expression-note")).to_contain_text("expected an identifier")
    await field.press("Enter")
    await expect(page.locator("#filter-message")).to_contain_text("Column 8: expected an identifier")
    assert await page.locator("tbody tr").count() == rows
    await field.fill("views >= 58")
    await field.press("Enter")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await expect(page.locator("#filter-message")).to_have_text("")
    await expect(page.locator("#records-total")).to_have_text("2 records")
    await console.check(page)


@pytest.mark.usefixtures("shop")
async def test_a_filter_is_built_in_rows_and_read_back_into_them(console: Console) -> None:
    page = await console.open("/_/c/posts?filter=views%20%3E%2056%20%26%26%20title%20~%20%22Post%22")
    await page.locator("[data-build]").click()
    rows = page.locator(".build-row")
    await expect(rows.nth(0).get_by_label("Value")).to_have_value("56")
    await expect(rows.nth(1).get_by_label("Value")).to_have_value("Post")
    await rows.nth(0).get_by_label("Value").fill("57")
    await rows.nth(2).get_by_label("Field").select_option("status")
    await rows.nth(2).get_by_label("Value").fill("draft")
    await console.check(page)
    await page.locator("#dialog").get_by_role("button", name="Filter").click()
    await expect(page.get_by_label("Filter expression")).to_have_value(
        'views > 57 && title ~ "Post" && status = "draft"'
    )
    await expect(page.locator("tbody tr")).to_have_count(2)


@pytest.mark.usefixtures("shop")
async def test_words_are_completed_with_the_keyboard(console: Console) -> None:
    page = await console.open("/_/c/notes")
    field = page.get_by_label("Filter expression")
    await field.press_sequentially("post.ti")
    await expect(page.locator(".expression-list [role=option]").first).to_have_text("post.titletext")
    await page.keyboard.press("Tab")
    await expect(field).to_have_value("post.title ")
    await field.press_sequentially("~ 'no such'")
    await field.press("Enter")
    await expect(
        page.get_by_role("heading", name="No records yet").or_(
            page.get_by_role("heading", name="Nothing matches")
        )
    ).to_be_visible()


@pytest.mark.usefixtures("shop")
async def test_two_who_change_one_record_choose_what_is_kept(console: Console) -> None:
    made = await console.make_record("posts", title="Base", views=1, status="draft")
    page = await console.open(f"/_/c/posts/r/{made['id']}")
    await page.locator("#v-title").fill("Mine")
    await page.locator("#v-status").select_option("review")
    await console.api.patch(
        f"/api/collections/posts/records/{made['id']}", json={"title": "Theirs", "views": 7}
    )
    await page.get_by_role("button", name="Save").click()
    dialog = page.locator("#dialog")
    await expect(dialog).to_contain_text("This record was changed meanwhile")
    await expect(dialog.locator("tr", has_text="title")).to_contain_text("changed on both sides")
    await console.check(page)
    await dialog.get_by_role("button", name="Save merged").click()
    await expect(page.locator(".toast").last).to_contain_text("Saved.")
    await expect(dialog).not_to_be_visible()
    stored = await console.record("posts", made["id"]) or {}
    assert (stored["title"], stored["views"], stored["status"]) == ("Mine", 7, "review")


@pytest.mark.usefixtures("shop")
async def test_who_is_signed_out_elsewhere_signs_in_again_and_finds_the_draft(console: Console) -> None:
    made = await console.make_record("posts", title="Before")
    account = {"email": "jon@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    jon = await console.make_record("_superusers", **account)
    page = await console.open("/_/sign-in", signed_in=False)
    await sign_in(page, "jon@example.com", "1234567890")
    await page.wait_for_url(f"{console.url}/_/")
    await page.goto(f"/_/c/posts/r/{made['id']}")
    await page.locator("body[data-ready]").wait_for()
    await page.locator("#v-title").fill("Typed before the end")
    changed = {"password": "0987654321", "passwordConfirm": "0987654321"}
    answer = await console.api.patch(f"/api/collections/_superusers/records/{jon['id']}", json=changed)
    assert answer.status_code == 200, answer.text
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_url(re.compile(r"/_/sign-in\?next="))
    await expect(page.locator(".notice")).to_contain_text("You were signed out.")
    await sign_in(page, "jon@example.com", "0987654321")
    await page.locator("body[data-ready]").wait_for()
    await page.get_by_role("button", name="Restore it").click()
    await expect(page.locator("#v-title")).to_have_value("Typed before the end")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".toast").last).to_contain_text("Saved.")
    assert (await console.record("posts", made["id"]) or {})["title"] == "Typed before the end"


@pytest.mark.usefixtures("shop")
async def test_a_lost_connection_loses_nothing_that_was_typed(console: Console) -> None:
    made = await console.make_record("posts", title="On line")
    page = await console.open(f"/_/c/posts/r/{made['id']}")
    await page.locator("#v-title").fill("Typed off line")
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".toast").last).to_contain_text("No connection. What you typed is kept here.")
    await expect(page.locator("#v-title")).to_have_value("Typed off line")
    await page.context.set_offline(False)
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator(".toast").last).to_contain_text("Saved.")


@pytest.mark.usefixtures("shop")
async def test_changes_are_not_lost_by_a_click_elsewhere(console: Console) -> None:
    made = await console.make_record("posts", title="Guarded")
    page = await console.open(f"/_/c/posts/r/{made['id']}")
    await page.locator("#v-title").fill("Not saved")
    await page.get_by_role("link", name="notes").first.click()
    await expect(page.get_by_role("heading", name="Keep your changes?")).to_be_visible()
    await page.get_by_role("button", name="Stay").click()
    await expect(page.locator("#v-title")).to_have_value("Not saved")
    await page.get_by_role("link", name="notes").first.click()
    await page.get_by_role("button", name="Discard").click()
    await page.wait_for_url("**/_/c/notes")
    assert (await console.record("posts", made["id"]) or {})["title"] == "Guarded"


@pytest.mark.usefixtures("shop")
async def test_a_change_elsewhere_shows_in_the_row_and_a_new_record_waits(console: Console) -> None:
    made = await console.make_record("posts", title="Seen live")
    page = await console.open("/_/c/posts")
    await expect(page.locator("[data-live]")).to_be_visible()
    await expect(page.locator("[data-live]:not(.is-off)")).to_be_visible()
    await console.api.patch(f"/api/collections/posts/records/{made['id']}", json={"title": "Seen changing"})
    await expect(page.locator("tbody tr").first.locator("td.is-title")).to_have_text("Seen changing")
    await console.make_record("posts", title="Newest of all")
    await expect(page.locator("[data-fresh]")).to_have_text("1 new row")
    await expect(page.locator("tbody")).not_to_contain_text("Newest of all")
    await page.locator("[data-fresh]").click()
    await expect(page.locator("tbody tr").first).to_contain_text("Newest of all")


@pytest.mark.usefixtures("shop")
async def test_several_are_selected_changed_and_deleted(console: Console) -> None:
    for number in range(4):
        await console.make_record("posts", title=f"Bulk {number}", status="draft")
    page = await console.open("/_/c/posts?filter=title~%22Bulk%22&sort=title")
    boxes = page.locator("[data-select]")
    await boxes.nth(0).click()
    await boxes.nth(2).click(modifiers=["Shift"])
    await expect(page.locator("[data-bulk-count]")).to_have_text("3 selected")
    await page.locator("#bulk").get_by_role("button", name="Edit").click()
    await page.get_by_label("Field").select_option("status")
    await page.get_by_role("button", name="Go on").click()
    await page.locator("#dialog #v-status").select_option("out")
    await page.get_by_role("button", name="Change them").click()
    await expect(page.locator(".toast").last).to_contain_text("Changed 3 records.")
    answer = await console.api.get(
        "/api/collections/posts/records", params={"filter": 'title~"Bulk" && status="out"'}
    )
    assert answer.json()["totalItems"] == 3
    await page.locator("[data-select-page]").check()
    await page.locator("[data-bulk-delete]").click()
    await expect(page.locator("#dialog")).to_contain_text("Delete 4 records of posts?")
    await page.locator("#dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".toast").last).to_contain_text("Deleted 4 records.")
    await expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    await console.check(page)


@pytest.mark.usefixtures("shop")
async def test_a_table_is_worked_with_the_keyboard_alone(console: Console) -> None:
    page = await console.open("/_/c/posts?sort=title&filter=title~%22Post%20%22")
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    assert await page.evaluate("document.activeElement.textContent.includes('Post 01')")
    await page.keyboard.press(" ")
    await expect(page.locator("[data-bulk-count]")).to_have_text("1 selected")
    await page.keyboard.press("Enter")
    await expect(page.locator("#v-title")).to_have_value("Post 01")
    await page.keyboard.press("Escape")
    await expect(page.locator("#panel .panel")).to_have_count(0)
    assert await page.evaluate("document.activeElement.textContent.includes('Post 01')")
    await page.keyboard.press("?")
    await expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("Control+k")
    await page.get_by_role("combobox", name="Go to").fill("#notes")
    await expect(page.locator("#palette-1")).to_contain_text("notes")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/_/c/notes")


@pytest.mark.usefixtures("shop")
async def test_a_cell_is_changed_in_its_place_and_back(console: Console) -> None:
    made = await console.make_record("posts", title="In its place", views=3)
    page = await console.open("/_/c/posts?filter=title~%22In%20its%22")
    await page.locator("td[data-label=views]").dblclick()
    field = page.locator(".cell-form input[name='v:views']")
    await field.fill("many")
    await field.press("Enter")
    await expect(page.locator(".cell-form .error")).to_contain_text("Must be a number.")
    await expect(field).to_have_value("many")
    await field.fill("8")
    await field.press("Enter")
    await expect(page.locator("td[data-label=views]")).to_have_text("8")
    assert (await console.record("posts", made["id"]) or {})["views"] == 8
    await page.locator(".toast").last.get_by_role("button", name="Undo").click()
    await expect(page.locator("#v-views")).to_have_value("3")


@pytest.mark.usefixtures("shop")
async def test_columns_are_hidden_for_one_superuser(console: Console) -> None:
    page = await console.open("/_/c/notes")
    await console.make_record("notes", text="a note")
    await page.locator("[data-tip=Columns]").click()
    await page.locator("#dialog").get_by_role("checkbox", name="post relation").uncheck()
    await page.get_by_role("button", name="Show these").click()
    await expect(page.locator("th[data-column=text]")).to_be_visible()
    await expect(page.locator("th[data-column=post]")).to_have_count(0)
    await page.reload()
    await expect(page.locator("th[data-column=post]")).to_have_count(0)


@pytest.mark.usefixtures("shop")
async def test_reading_and_the_form_work_without_script(console: Console) -> None:
    made = await console.make_record("posts", title="Plain form", views=5)
    page = await console.open("/_/c/posts?filter=title~%22Plain%22", script=False)
    await page.locator("tbody tr").first.locator("a").first.click()
    await page.locator("#v-title").fill("Plain and saved")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#v-title")).to_have_value("Plain and saved")
    assert (await console.record("posts", made["id"]) or {})["views"] == 5
    await page.locator("[data-close-panel]").click()
    await expect(page.locator("tbody tr")).to_have_count(1)


@pytest.mark.usefixtures("shop")
async def test_what_records_hold_stays_text(console: Console) -> None:
    made = await console.make_record(
        "posts", title=ATTACK, body=ATTACK, meta={"x": ATTACK}, site="https://example.com/?" + "'\"><b>"
    )
    upload = {"files": ("<img src=x onerror=alert(3)>.png", b"not a picture", "image/png")}
    await console.api.patch(f"/api/collections/posts/records/{made['id']}", files=upload)
    await console.make_record("notes", text=ATTACK, post=made["id"])
    note = (await console.api.get("/api/collections/notes/records?sort=-@rowid&perPage=1")).json()["items"][0]
    page = await console.open("/_/keys")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    for path in (
        "/_/c/posts",
        f"/_/c/posts/r/{made['id']}",
        f"/_/c/posts/r/{made['id']}/json",
        f"/_/c/posts/r/{made['id']}/history",
        f"/_/c/notes/r/{note['id']}",
        f"/_/c/posts?filter={ATTACK.replace('&', '%26').replace('#', '%23')}",
        f"/_/palette?q={made['id']}",
    ):
        await page.goto(path)
        await page.locator("body[data-ready]").wait_for()
        assert dialogs == [], path
        assert console.problems[page] == [], path
        assert await page.locator("img[src=x], [onerror], script:not([src])").count() == 0, path
    await page.goto(f"/_/c/notes/r/{note['id']}")
    await page.locator("[data-module=relation] input:not([type=hidden])").fill("<img")
    await expect(page.locator(".listbox [role=option]").first).to_contain_text("<img src=x")
    assert await page.locator("img[src=x]").count() == 0
    assert dialogs == []


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", WIDE), ("dark", NARROW)])
async def test_list_and_panel_have_no_violation(console: Console, theme: str, size: tuple[int, int]) -> None:
    page = await console.open("/_/c/posts", theme=theme, size=size)
    await console.check(page)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.locator("tbody tr").first.locator("td.is-title").click()
    await expect(page.locator("#v-title")).to_be_visible()
    await console.check(page)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.usefixtures("shop")
async def test_the_records_page_is_light(console: Console) -> None:
    weight = await console.weigh("/_/c/posts")
    assert weight.total < 150_000, weight
    assert weight.kinds["Script"] < 50_000, weight
    assert weight.kinds["Stylesheet"] < 15_000, weight
